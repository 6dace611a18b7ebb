"""Which of redis-py's clients fits: one Redis, a master that Sentinels name, or a cluster.

This module imports redis-py, which may not be installed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from redis import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.backoff import AbstractBackoff, ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError as NotConnected
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from cfmiddleware.process.cache import PerProcess
from cfmiddleware.registry.cache.redisdescriptors import Client

from .redisoptions import RedisOptions

# More than a process can have descriptors for.
_UNLIMITED = 1 << 30


def client(options: RedisOptions, settings: dict[str, Any]) -> Client:
    """Return the client that the options ask for. Nothing is connected to before it is used.

    :param settings: what all clients take, TLS included.
    """
    settings = {**settings, "retry": _retry(options)}
    if options.mastername or options.is_cluster:
        make = _master if options.mastername else _cluster
        return Limited(partial(make, options, settings), options.connections, _wait(options))
    host, port = options.addresses[0]
    settings |= {"host": host, "port": port, "db": options.db, "max_connections": options.connections}
    if options.connections is None:
        return Redis(**settings)
    secure = settings.pop("ssl", False)
    # The usual pool refuses a thread when all connections are in use; in this one the thread waits.
    pool = BlockingConnectionPool(  # type: ignore[no-untyped-call]
        connection_class=SSLConnection if secure else Connection, timeout=_wait(options), **settings
    )
    return Redis(connection_pool=pool)


class _Made(NamedTuple):
    """What one process asks with. Each request that is under way holds one of the *places*."""

    client: Any
    places: threading.Semaphore


class Limited:
    """A client that each process makes for itself when it first needs it: that of a cluster asks for the
    nodes when it is made. So many requests as there may be connections use it at a time.

    The pools of these clients refuse a thread when all connections are in use; so it waits before that.

    :param make: makes the client.
    :param connections: how many there may be; None for any number.
    :param seconds: how long a thread waits.
    """

    def __init__(self, make: Callable[[], Any], connections: int | None, seconds: float) -> None:
        self._make = make
        self._connections = connections or _UNLIMITED
        self._seconds = seconds
        self._made = PerProcess(lambda: _Made(self._make(), threading.Semaphore(self._connections)))

    @contextlib.contextmanager
    def taken(self) -> Iterator[Any]:
        """Give the client when there is room for another request.

        :raises TimeoutError: if there is none in time.
        """
        client, places = self._made()
        if not places.acquire(timeout=self._seconds):
            raise TimeoutError("no connection of the pool is free")
        try:
            yield client
        finally:
            places.release()

    def get(self, name: str) -> Any:
        """Return a value, or None."""
        with self.taken() as client:
            return client.get(name)

    def set(self, name: str, value: bytes, *, ex: int, nx: bool) -> Any:
        """Set a value for *ex* seconds, with *nx* only if there is none, and return whether it was set."""
        with self.taken() as client:
            return client.set(name, value, ex=ex, nx=nx)

    def delete(self, *names: str) -> Any:
        """Delete values, each on its node."""
        with self.taken() as client:
            return client.delete(*names)

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script on the node of its key."""
        with self.taken() as client:
            return client.eval(script, numkeys, *keys_and_args)


def _cluster(options: RedisOptions, settings: dict[str, Any]) -> RedisCluster:
    """Return a client of the cluster to which the nodes belong; at least one of them must answer."""
    nodes = [ClusterNode(host, port) for host, port in options.addresses]  # type: ignore[no-untyped-call]
    settings = {**settings, "retry": Retry(_backoff(options), options.maxredirects)}
    return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **settings)


def _master(options: RedisOptions, settings: dict[str, Any]) -> Redis:
    """Return a client of the master that the Sentinels name, and of the next one after a failover."""
    own = {
        **{
            name: value for name, value in settings.items() if name.startswith(("socket_", "ssl", "protocol"))
        },
        "username": options.sentinelusername,
        "password": options.sentinelpassword,
        "retry": Retry(NoBackoff(), 0),  # another Sentinel is asked instead
    }
    sentinel = Sentinel(list(options.addresses), sentinel_kwargs=own)  # type: ignore[no-untyped-call]
    pool = SentinelConnectionPool(options.mastername, sentinel, db=options.db, **settings)  # type: ignore[no-untyped-call]
    return Redis(connection_pool=pool)


def _retry(options: RedisOptions) -> Retry:
    """Return how a request is repeated: over a new connection, for a Redis that was restarted or a firewall
    that dropped an idle one.
    """
    return Retry(_backoff(options), options.maxretries, (NotConnected,))


def _backoff(options: RedisOptions) -> AbstractBackoff:
    first = options.minretrybackoff or 0.0
    longest = max(first, options.maxretrybackoff or 0.0)
    return ExponentialBackoff(longest, first or longest) if longest else NoBackoff()


def _wait(options: RedisOptions) -> float:
    return options.timeout if options.pooltimeout is None else options.pooltimeout
