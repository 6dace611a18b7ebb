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
    rootcas: [/etc/ssl/redis-ca.pem]
    certificate: /etc/ssl/redis-client.pem
    key: /etc/ssl/redis-client.key
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

# Seconds that Redis gets for a response: to ask the storage instead takes less than to wait any longer.
_TIMEOUT = 0.2

# What Redis takes in CLIENT SETNAME.
_CLIENT_NAME = re.compile(r"[!-~]{1,200}")


def _address(value: object, name: str) -> tuple[str, int]:
    found = parse.host_and_port(value.strip() if isinstance(value, str) else value)
    if found is None or not all(found):
        # The value is not repeated: people write passwords into URLs.
        raise ConfigError(f"{name}: must be a host and a port; write it like redis.example.com:6379")
    return found


def _addresses(value: object, name: str) -> tuple[tuple[str, int], ...]:
    addresses = value.split(",") if isinstance(value, str) else value
    if not isinstance(addresses, list) or not addresses:
        raise ConfigError(f"{name}: must be a list of hosts and ports, such as [redis.example.com:6379]")
    return tuple(_address(each, f"{name}[{index}]") for index, each in enumerate(addresses))


def _retries(value: object, name: str) -> int:
    return max(0, parse.integer(value, name, minimum=-1, maximum=100))


def _backoff(value: object, name: str) -> float:
    return 0.0 if str(value).strip() in ("-1", "0", "0s") else parse.short_seconds(value, name)


def _protocol(value: object, name: str) -> int:
    return parse.integer(value, name, minimum=2, maximum=3)


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
    :param rootcas: files of authorities that may issue Redis's certificate, besides the machine's own.
    :param clientcas: the same, by the name that version 2 of Distribution has.
    """

    enabled: bool = False
    certificate: Path | None = None
    key: Path | None = None
    rootcas: tuple[Path, ...] = ()
    clientcas: tuple[Path, ...] = ()

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "enabled": parse.boolean,
        "certificate": parse.text,
        "key": parse.text,
        "rootcas": parse.words,
        "clientcas": parse.words,
    }


@dataclass(frozen=True)
class RedisOptions:
    """The Redis that several workers and machines share.

    :param addr: its host and port, ``redis.example.com:6379``; IPv6 addresses in brackets. Required.
    :param addrs: the same as a list, as version 3 of Distribution has it. Several addresses are nodes of a
        Redis Cluster, of which it is enough that one answers, or with *mastername* the Sentinels.
    :param mastername: the name by which the Sentinels in *addrs* know the master. They are asked which Redis
        it is, each time that a connection is made.
    :param sentinelusername: a user of the Sentinels themselves.
    :param sentinelpassword: the user's password.
    :param username: a user of Redis's access control lists.
    :param password: the user's password; in quotes if it consists of digits, in ``REGISTRY_REDIS_PASSWORD``
        too.
    :param db: the number of the database; a cluster has 0 alone.
    :param clientname: what connections are called in Redis's ``CLIENT LIST``.
    :param protocol: 2 or 3; version 2 is spoken in any case, which every Redis does.
    :param maxretries: how often a request is sent again over a new connection; -1 for never.
    :param minretrybackoff: how long the first of them waits; ``-1`` for not at all, which is the default.
    :param maxretrybackoff: how long a later one waits at the most.
    :param maxredirects: how often a cluster's request follows to another node, or waits for its new master.
    :param dialtimeout: how long a connection may take.
    :param readtimeout: how long a response may take, ``200ms`` by default.
    :param writetimeout: how long a request may take. The longer of *readtimeout* and *writetimeout* counts
        for both.
    :param poolsize: the same as ``pool.maxactive``, as version 3 of Distribution has it.
    :param maxactiveconns: the same, if it is given.
    :param pooltimeout: how long a thread waits for a free connection, *readtimeout* by default.
    :param pool: ``maxactive``: how many connections each worker has at the most, 0 for no limit. A thread
        that asks Redis uses one; if none is free, it waits.
    :param tls: how the connections are secured.
    """

    addr: tuple[str, int] | None = None
    addrs: tuple[tuple[str, int], ...] = ()
    mastername: str = ""
    sentinelusername: str | None = None
    sentinelpassword: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    clientname: str | None = None
    protocol: int = 2
    maxretries: int = 1
    minretrybackoff: float | None = None
    maxretrybackoff: float | None = None
    maxredirects: int = 3
    dialtimeout: float = _TIMEOUT
    readtimeout: float | None = None
    writetimeout: float | None = None
    poolsize: int | None = None
    maxactiveconns: int = 0
    pooltimeout: float | None = None
    pool: int = field(default=0, metadata={"form": "section"})
    tls: RedisTLSOptions = RedisTLSOptions()

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "addr": _address,
        "addrs": _addresses,
        "mastername": parse.exact_text,
        "sentinelusername": parse.exact_text,
        "sentinelpassword": parse.exact_text,
        "username": parse.exact_text,
        "password": parse.exact_text,
        "db": parse.integer,
        "clientname": parse.text,
        "protocol": _protocol,
        "maxretries": _retries,
        "minretrybackoff": _backoff,
        "maxretrybackoff": _backoff,
        "maxredirects": _retries,
        "dialtimeout": parse.short_seconds,
        "readtimeout": parse.short_seconds,
        "writetimeout": parse.short_seconds,
        "poolsize": parse.positive,
        "maxactiveconns": parse.integer,
        "pooltimeout": parse.short_seconds,
        "pool": _pool,
        "tls": parse.section,
    }

    def __post_init__(self) -> None:
        if self.addr and self.addrs:
            raise ConfigError("addrs: goes without 'addr'; they say the same")
        if not (self.addr or self.addrs):
            raise ConfigError("addr: this option is required; write it like redis.example.com:6379")
        if self.is_cluster and self.db:
            raise ConfigError("db: several addresses are a cluster, which has database 0 alone")
        if self.clientname is not None and not _CLIENT_NAME.fullmatch(self.clientname):
            raise ConfigError("clientname: must be printable and without blanks")
        for name in ("sentinelusername", "sentinelpassword"):
            if getattr(self, name) and not self.mastername:
                raise ConfigError(f"{name}: goes with 'mastername', without which no Sentinel is asked")

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports: of the Redis, of nodes of a cluster, or of Sentinels."""
        return self.addrs or ((self.addr,) if self.addr else ())

    @property
    def is_cluster(self) -> bool:
        """Whether the addresses are nodes of a cluster."""
        return len(self.addresses) > 1 and not self.mastername

    @property
    def connections(self) -> int | None:
        """How many connections each worker has at the most; None for no limit."""
        return self.maxactiveconns or self.poolsize or self.pool or None

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
    for name in ("rootcas", "clientcas"):
        read[name] = tuple(here / file for file in read.get(name, ()))
    read.setdefault("enabled", bool("certificate" in read or read["rootcas"] or read["clientcas"]))
    return RedisTLSOptions(**read)
