"""The section ``redis`` of a configuration, in the form of version 2 or 3 of Distribution::

redis:
  addr: redis.example.com:6379
  username: registry
  password: secret
  db: 0
  dialtimeout: 200ms
  readtimeout: 200ms
  writetimeout: 200ms
  pool:
    maxactive: 64
  tls:
    enabled: true
    clientcas: [/etc/ssl/redis-ca.pem]
    certificate: /etc/ssl/redis-client.pem
    key: /etc/ssl/redis-client.key
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

# Seconds that Redis gets for a response: to ask the storage instead takes less than to wait any longer.
_TIMEOUT = 0.2


def _address(value: object, name: str) -> tuple[str, int]:
    found = parse.host_and_port(value.strip() if isinstance(value, str) else value)
    if found is None or not all(found):
        # The value is not repeated: people write passwords into URLs.
        raise ConfigError(f"{name}: must be a host and a port; write it like redis.example.com:6379")
    return found


def _only_address(value: object, name: str) -> tuple[str, int]:
    addresses = value if isinstance(value, list) else [value]
    if len(addresses) != 1:
        raise ConfigError(f"{name}: must have one address; clusters and sentinels are not supported")
    return _address(addresses[0], f"{name}[0]")


def _pool(value: object, name: str) -> int:
    found: int = parse.read(parse.section(value, name), {"maxactive": parse.integer}, f"{name}.").get(
        "maxactive", 0
    )
    return found


@dataclass(frozen=True)
class RedisTLSOptions:
    """How connections to Redis are secured.

    :param enabled: whether TLS is spoken; true by default if one of the other options is given. Redis's
        certificate must be valid for the host in ``addr``.
    :param certificate: the file of the registry's own certificate, as PEM.
    :param key: the file of its private key, as PEM, without a password.
    :param clientcas: files of authorities that may issue Redis's certificate, besides the machine's own.
    """

    enabled: bool = False
    certificate: Path | None = None
    key: Path | None = None
    clientcas: tuple[Path, ...] = ()

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "enabled": parse.boolean,
        "certificate": parse.text,
        "key": parse.text,
        "clientcas": parse.words,
    }


@dataclass(frozen=True)
class RedisOptions:
    """The Redis that several workers and machines share.

    :param addr: its host and port, ``redis.example.com:6379``; IPv6 addresses in brackets. Required.
    :param addrs: the same, as version 3 of Distribution has it: a list of one. Clusters and sentinels are
        refused.
    :param username: a user of Redis's access control lists.
    :param password: the user's password; in quotes if it consists of digits, in ``REGISTRY_REDIS_PASSWORD``
        too.
    :param db: the number of the database.
    :param dialtimeout: how long a connection may take.
    :param readtimeout: how long a response may take, ``200ms`` by default.
    :param writetimeout: how long a request may take. The longer of *readtimeout* and *writetimeout* counts
        for both.
    :param poolsize: the same as ``pool.maxactive``, as version 3 of Distribution has it.
    :param pool: ``maxactive``: how many connections each worker has at the most, 0 for no limit. A thread
        that asks Redis uses one; if none is free, it waits, for *readtimeout* at the most.
    :param tls: how the connections are secured.
    """

    addr: tuple[str, int] | None = None
    addrs: tuple[str, int] | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    dialtimeout: float = _TIMEOUT
    readtimeout: float | None = None
    writetimeout: float | None = None
    poolsize: int | None = None
    pool: int = field(default=0, metadata={"form": "section"})
    tls: RedisTLSOptions = RedisTLSOptions()

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "addr": _address,
        "addrs": _only_address,
        "username": parse.exact_text,
        "password": parse.exact_text,
        "db": parse.integer,
        "dialtimeout": parse.short_seconds,
        "readtimeout": parse.short_seconds,
        "writetimeout": parse.short_seconds,
        "poolsize": parse.positive,
        "pool": _pool,
        "tls": parse.section,
    }

    def __post_init__(self) -> None:
        if self.addr and self.addrs:
            raise ConfigError("addrs: goes without 'addr'; they say the same")
        if not (self.addr or self.addrs):
            raise ConfigError("addr: this option is required; write it like redis.example.com:6379")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        found = self.addr or self.addrs
        assert found is not None  # noqa: S101 (see __post_init__)
        return found

    @property
    def timeout(self) -> float:
        """Seconds for either direction: redis-py has one timeout for both."""
        given = [seconds for seconds in (self.readtimeout, self.writetimeout) if seconds is not None]
        return max(given, default=_TIMEOUT)


def read_redis(section: Mapping[str, Any], here: Path) -> RedisOptions | None:
    """Return the options of the section, or None for an empty one.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    given = dict(section)
    tls = _read_tls(parse.section(given.pop("tls", None), "redis.tls"), here)
    return parse.options(RedisOptions, given, "redis", tls=tls) if section else None


def _read_tls(section: Mapping[str, Any], here: Path) -> RedisTLSOptions:
    read = parse.read(section, RedisTLSOptions.PARSERS, "redis.tls.")
    for name in ("certificate", "key"):
        if name in read:
            read[name] = here / read[name]
    if ("certificate" in read) != ("key" in read):
        raise ConfigError("redis.tls: 'certificate' and 'key' go together")
    read["clientcas"] = tuple(here / file for file in read.get("clientcas", ()))
    read.setdefault("enabled", bool("certificate" in read or read["clientcas"]))
    return RedisTLSOptions(**read)
