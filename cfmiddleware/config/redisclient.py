"""From the section ``redis`` to a client of redis-py. Nothing is connected to before it is used."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path
from cfmiddleware.registry.cache.redisdescriptors import RedisDescriptorCache

from .redisoptions import RedisOptions, RedisTLSOptions


def client_settings(options: RedisOptions) -> dict[str, Any]:
    """Return the options as keyword arguments of :class:`redis.Redis`.

    :raises ConfigError: for files of ``redis.tls`` that cannot be read or used.
    """
    host, port = options.address
    return {
        "host": host,
        "port": port,
        "username": options.username,
        "password": options.password,
        "db": options.db,
        "socket_connect_timeout": options.dialtimeout,
        "socket_timeout": options.timeout,
        "max_connections": options.poolsize or options.pool or None,
        **(_tls_settings(options.tls) if options.tls.enabled else {}),
    }


def redis_descriptors(settings: dict[str, Any], namespace: str, seconds: int) -> RedisDescriptorCache:
    """Return a descriptor cache in Redis.

    :param settings: what :func:`client_settings` returned.
    :param namespace: tells this registry's descriptors from those of others in the same Redis.
    :param seconds: how long a descriptor is kept.
    :raises ConfigError: where redis-py is not installed.
    """
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
    # One retry, at once and over a new connection, for a Redis that was restarted or a firewall that dropped
    # an idle connection.
    retry = Retry(NoBackoff(), 1, (NotConnected,))
    # redis-py raises a ValueError for responses that are not of Redis's protocol.
    errors = (RedisError, OSError, ValueError, ChildDeadlockedError)
    # Every Redis, and every server that calls itself compatible, speaks version 2 of the protocol.
    settings = {**settings, "retry": retry, "protocol": 2}
    secrets = [settings[name] for name in ("password", "username") if settings[name]]
    if settings["max_connections"] is not None:
        # The usual pool refuses a thread when all connections are in use; in this one the thread waits.
        secure = settings.pop("ssl", False)
        pool = BlockingConnectionPool(  # type: ignore[no-untyped-call]
            connection_class=SecureConnection if secure else Connection,
            timeout=settings["socket_timeout"],
            **settings,
        )
        settings = {"connection_pool": pool}
    return RedisDescriptorCache(Redis(**settings), errors, namespace, seconds, secrets)


def _tls_settings(tls: RedisTLSOptions) -> dict[str, Any]:
    # Older versions of redis-py check no name in a certificate unless they are told to.
    settings: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    context = ssl.create_default_context()
    if tls.certificate is not None and tls.key is not None:
        _readable(tls.certificate, "redis.tls.certificate")
        _readable(tls.key, "redis.tls.key")
        try:
            # With a key that has a password, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password="")
        except (ssl.SSLError, ValueError):
            raise ConfigError(
                "redis.tls: 'certificate' and 'key' must be PEM files of one pair, the key without a password"
            ) from None
        settings |= {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}
    if tls.clientcas:
        texts = [_readable(file, f"redis.tls.clientcas[{n}]") for n, file in enumerate(tls.clientcas)]
        for n, text in enumerate(texts):
            try:
                context.load_verify_locations(cadata=text)
            except (ssl.SSLError, ValueError):
                raise ConfigError(
                    f"redis.tls.clientcas[{n}]: {tls.clientcas[n]} must be a PEM file of certificates"
                ) from None
        settings["ssl_ca_data"] = "\n".join(texts)
    return settings


def _readable(file: Path, name: str) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {shown_path(file)} {cannot_be_read(error)}") from None
