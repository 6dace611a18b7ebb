"""From the section ``redis`` to a client of redis-py. Nothing is connected to before it is used."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path
from cfmiddleware.registry.cache.redisdescriptors import Client, RedisDescriptorCache
from cfmiddleware.tracing.childspan import with_spans

from .redisoptions import RedisOptions, RedisTLSOptions


def client_settings(options: RedisOptions) -> dict[str, Any]:
    """Return the options as keyword arguments that all clients of redis-py take.

    :raises ConfigError: for files of ``redis.tls`` that cannot be read or used.
    """
    return {
        "username": options.username,
        "password": options.password,
        "client_name": options.clientname,
        "socket_connect_timeout": options.dialtimeout,
        "socket_timeout": options.timeout,
        # Every Redis, and every server that calls itself compatible, speaks version 2 of the protocol.
        "protocol": 2,
        **(_tls_settings(options.tls) if options.tls.enabled else {}),
    }


def redis_descriptors(
    options: RedisOptions, settings: dict[str, Any], namespace: str, seconds: int
) -> RedisDescriptorCache:
    """Return a descriptor cache in Redis.

    :param settings: what :func:`client_settings` returned for *options*.
    :param namespace: tells this registry's descriptors from those of others in the same Redis.
    :param seconds: how long a descriptor is kept.
    :raises ConfigError: where redis-py is not installed.
    """
    try:
        from redis import ChildDeadlockedError, RedisError
        from redis.exceptions import RedisClusterException

        from .redistopology import client
    except ImportError:
        raise ConfigError(
            "storage.cache.blobdescriptor: redis is not installed; install cfmiddleware[redis]"
        ) from None
    # redis-py raises a ValueError for responses that are not of Redis's protocol.
    errors = (RedisError, RedisClusterException, OSError, ValueError, ChildDeadlockedError)
    secrets = (options.password, options.username, options.sentinelpassword, options.sentinelusername)
    asked: Client = with_spans(
        client(options, settings), ("get", "set", "delete", "eval"), {"db.system.name": "redis"}
    )
    return RedisDescriptorCache(asked, errors, namespace, seconds, [secret for secret in secrets if secret])


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
    texts = []
    for option, files in (("rootcas", tls.rootcas), ("clientcas", tls.clientcas)):
        for number, file in enumerate(files):
            place = f"redis.tls.{option}[{number}]"
            texts.append(_readable(file, place))
            try:
                context.load_verify_locations(cadata=texts[-1])
            except (ssl.SSLError, ValueError):
                raise ConfigError(f"{place}: {file} must be a PEM file of certificates") from None
    if texts:
        settings["ssl_ca_data"] = "\n".join(texts)
    return settings


def _readable(file: Path, name: str) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {shown_path(file)} {cannot_be_read(error)}") from None
