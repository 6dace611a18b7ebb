"""What ``storage.cache`` and ``redis`` of a configuration say: where descriptors of blobs are remembered.

They are Distribution's, in the form of its version 2 or 3, but for ``blobdescriptorttl``::

    storage:
      cache:
        blobdescriptor: redis       # or inmemory
        blobdescriptorsize: 10000   # how many each worker remembers (inmemory)
        blobdescriptorttl: 60s      # for how long
    redis:
      addr: redis.example.com:6379
      username: registry
      password: secret
      db: 0
      dialtimeout: 200ms
      readtimeout: 200ms
      writetimeout: 200ms
      pool:
        maxactive: 64               # connections of each worker
      tls:
        enabled: true
        clientcas: [/etc/ssl/redis-ca.pem]
        certificate: /etc/ssl/redis-client.pem
        key: /etc/ssl/redis-client.key
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.cache.descriptors import (
    DEFAULT_SECONDS,
    DEFAULT_SIZE,
    Descriptors,
    InMemoryDescriptors,
)
from cfmiddleware.registry.cache.redisdescriptors import RedisDescriptors
from cfmiddleware.wsgi.client import parse_address

_log = logging.getLogger("cfmiddleware")

_KINDS = ("inmemory", "redis")

# Seconds that Redis gets for an answer: asking the storage instead takes less than waiting any longer.
_TIMEOUT = 0.2

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_ADDRESS = re.compile(rf"(?:\[([0-9A-Fa-f:.]+)\]|({_LABEL}(?:\.{_LABEL})*\.?)):([0-9]{{1,5}})")

#: Options of the pool that redis-py has nothing for: a worker has as many connections as it needs at a time.
_ABSENT = ("maxidle", "idletimeout")
_ABSENT_3 = ("maxidleconns", "minidleconns", "maxactiveconns", "connmaxidletime")


def descriptors(cache: object, redis: object, namespace: Callable[[], str], here: Path) -> Descriptors | None:
    """Return what remembers where blobs are, or None where nothing is to.

    Redis is not contacted, and a mistake in its section is one whether or not it is used.

    :param cache: the section ``storage.cache``.
    :param redis: the section ``redis``.
    :param namespace: tells this registry's descriptors from others' in the same Redis; asked for only then.
    :param here: what relative paths are relative to.
    :raises ConfigError: for options that cannot be.
    """
    given = _section(cache, "storage.cache")
    parsers: dict[str, parse.Parser] = {
        "blobdescriptor": _kind,
        "layerinfo": _kind,  # as it was called first; Distribution still takes it
        "blobdescriptorsize": _at_least_one,
        "blobdescriptorttl": parse.seconds,
    }
    read = parse.read(given, parsers, "storage.cache.")
    settings = _redis_settings(_section(redis, "redis"), here)
    kind = read.get("blobdescriptor", read.get("layerinfo"))
    seconds = read.get("blobdescriptorttl", DEFAULT_SECONDS)
    if kind == "inmemory":
        return InMemoryDescriptors(read.get("blobdescriptorsize", DEFAULT_SIZE), seconds)
    if kind == "redis":
        if not settings:
            raise ConfigError("storage.cache.blobdescriptor: redis needs a section 'redis' with 'addr'")
        return _redis_descriptors(settings, namespace(), seconds)
    return None


def namespace(storage: str, where: Mapping[str, Any], here: Path) -> str:
    """Return a short name for the place where a registry's blobs are.

    :param storage: the driver's name.
    :param where: the driver's options.
    :param here: what relative paths are relative to.
    """
    if storage == "inmemory":  # gone with the process, and no other process has it
        return secrets.token_hex(8)
    if storage == "filesystem":
        root = str(here / str(where.get("rootdirectory") or "/var/lib/registry"))
        with contextlib.suppress(OSError, ValueError):  # the driver says what is wrong with it
            root = os.path.realpath(root)
        where = {"rootdirectory": root}
    names = ("bucket", "region", "regionendpoint", "rootdirectory")
    place = "\0".join([storage, *(str(where.get(name) or "").strip("/") for name in names)])
    return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _redis_descriptors(settings: Mapping[str, Any], namespace: str, seconds: int) -> RedisDescriptors:
    try:
        from redis import BlockingConnectionPool, ChildDeadlockedError, Connection, Redis, RedisError
        from redis import SSLConnection as SecureConnection
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as NotConnected
        from redis.retry import Retry
    except ImportError:
        raise ConfigError(
            "storage.cache.blobdescriptor: redis is not installed; install cfmiddleware[redis]"
        ) from None
    # Once more, at once, over a new connection: Redis was restarted, or a firewall has dropped an idle one.
    retry = Retry(NoBackoff(), 1, (NotConnected,))
    # A ValueError is what it makes of answers that are not of Redis's protocol.
    errors = (RedisError, OSError, ValueError, ChildDeadlockedError)
    # Version 2 of the protocol is what every Redis, and what calls itself compatible, speaks.
    settings = {**settings, "retry": retry, "protocol": 2}
    secrets = [settings[name] for name in ("password", "username") if settings[name]]
    if settings["max_connections"] is not None:
        # The usual pool refuses a thread for which there is no connection; in this one it waits its turn.
        secure = settings.pop("ssl", False)
        pool = BlockingConnectionPool(  # type: ignore[no-untyped-call]
            connection_class=SecureConnection if secure else Connection,
            timeout=settings["socket_timeout"],
            **settings,
        )
        settings = {"connection_pool": pool}
    return RedisDescriptors(Redis(**settings), errors, namespace, seconds, secrets)


def _redis_settings(given: Mapping[str, Any], here: Path) -> dict[str, Any]:
    """Return the section ``redis`` as keyword arguments of :class:`redis.Redis`."""
    parsers: dict[str, parse.Parser] = {
        "addr": _address,
        "addrs": _only_address,
        "username": parse.exact_text,
        "password": parse.exact_text,
        "db": parse.integer,
        "dialtimeout": parse.short_seconds,
        "readtimeout": parse.short_seconds,
        "writetimeout": parse.short_seconds,
        "poolsize": _at_least_one,
        **dict.fromkeys(_ABSENT_3, _anything),
    }
    read = parse.read(
        {name: value for name, value in given.items() if name not in ("pool", "tls")}, parsers, "redis."
    )
    pool = parse.read(
        _section(given.get("pool"), "redis.pool"),
        {"maxactive": parse.integer, **dict.fromkeys(_ABSENT, _anything)},
        "redis.pool.",
    )
    absent = [f"redis.{name}" for name in _ABSENT_3 if name in read]
    absent += [f"redis.pool.{name}" for name in _ABSENT if name in pool]
    if absent:
        _log.warning("not acted on by this version: %s", ", ".join(absent))
    tls = _tls_settings(_section(given.get("tls"), "redis.tls"), here)
    if not given:
        return {}
    if "addr" in read and "addrs" in read:
        raise ConfigError("redis.addrs: goes without 'addr'; they say the same")
    address = read.get("addr", read.get("addrs"))
    if address is None:
        raise ConfigError("redis.addr: this option is required; write it like redis.example.com:6379")
    timeouts = [read[name] for name in ("readtimeout", "writetimeout") if name in read]
    return {
        "host": address[0],
        "port": address[1],
        "username": read.get("username"),
        "password": read.get("password"),
        "db": read.get("db", 0),
        "socket_connect_timeout": read.get("dialtimeout", _TIMEOUT),
        "socket_timeout": max(timeouts, default=_TIMEOUT),  # it has one for both directions
        "max_connections": read.get("poolsize", pool.get("maxactive")) or None,
        **tls,
    }


def _tls_settings(given: Mapping[str, Any], here: Path) -> dict[str, Any]:
    """Return the section ``redis.tls`` as keyword arguments of :class:`redis.Redis`."""
    parse.refuse_unknown(given, ("enabled", "certificate", "key", "clientcas"), "redis.tls.")
    files = {
        name: here / parse.text(given[name], f"redis.tls.{name}")
        for name in ("certificate", "key")
        if given.get(name)
    }
    if len(files) == 1:
        raise ConfigError("redis.tls: 'certificate' and 'key' go together")
    authorities = given.get("clientcas") or []
    if not isinstance(authorities, list):
        raise ConfigError("redis.tls.clientcas: must be a list of files")
    named = [here / parse.text(file, f"redis.tls.clientcas[{n}]") for n, file in enumerate(authorities)]
    if not parse.boolean(given.get("enabled", bool(files or named)), "redis.tls.enabled"):
        return {}
    # Older versions of redis-py look at no name unless they are told to.
    settings: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    context = ssl.create_default_context()
    if files:
        _readable(files["certificate"], "redis.tls.certificate")
        _readable(files["key"], "redis.tls.key")
        try:
            # A key with a password would make it ask for one on the terminal.
            context.load_cert_chain(files["certificate"], files["key"], password="")
        except (ssl.SSLError, ValueError):
            raise ConfigError(
                "redis.tls: 'certificate' and 'key' must be PEM files of one pair, the key without a password"
            ) from None
        settings |= {"ssl_certfile": str(files["certificate"]), "ssl_keyfile": str(files["key"])}
    if named:
        texts = [_readable(file, f"redis.tls.clientcas[{n}]") for n, file in enumerate(named)]
        for n, text in enumerate(texts):
            try:
                context.load_verify_locations(cadata=text)
            except (ssl.SSLError, ValueError):
                raise ConfigError(
                    f"redis.tls.clientcas[{n}]: {named[n]} must be a PEM file of certificates"
                ) from None
        settings["ssl_ca_data"] = "\n".join(texts)
    return settings


def _readable(file: Path, name: str) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"{name}: {file} cannot be read: {error.strerror}") from None


def _address(value: object, name: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(str(value).strip())
    known = match is not None and (match[1] is None or parse_address(match[1]) is not None)
    if match is None or not known or not 0 < int(match[3]) < 65536:
        # The value is not repeated: people write passwords into URLs.
        raise ConfigError(f"{name}: must be a host and a port; write it like redis.example.com:6379")
    return match[1] or match[2], int(match[3])


def _only_address(value: object, name: str) -> tuple[str, int]:
    addresses = value if isinstance(value, list) else [value]
    if len(addresses) != 1:
        raise ConfigError(f"{name}: must have one address; clusters and sentinels are not supported")
    return _address(addresses[0], f"{name}[0]")


def _kind(value: object, name: str) -> str:
    return parse.choice(value, name, _KINDS)


def _at_least_one(value: object, name: str) -> int:
    return parse.integer(value, name, minimum=1)


def _anything(value: object, name: str) -> object:
    return value


def _section(value: object, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: must be a section of options")
    return value
