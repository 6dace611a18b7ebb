"""A descriptor cache in a Redis that all workers share.

A worker that finds nothing there leaves a lease, a value that no other worker has. It asks the storage, and
replaces that very lease by the descriptor. A delete removes what is there, a descriptor or a lease, so that a
worker that asked the storage before it finds no lease to replace. The same holds after Redis evicted the
lease or was restarted empty.

A Redis that does not answer costs speed only: the storage is asked, and the next request may try Redis again
after a second. A delete that could not be told to Redis is told as soon as Redis answers, before this worker
uses it again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

from cfmiddleware.digest import Digest
from cfmiddleware.metrics.names import REDIS_FAILURES
from cfmiddleware.process.throttle import Throttle

from .descriptors import DEFAULT_SECONDS, FAILED, HIT, MISS, Ask, Located, serves

if TYPE_CHECKING:
    from cfmiddleware.wsgi.blobplace import BlobPlace

_log = logging.getLogger("cfmiddleware")

# Seconds that a worker with a lease has to ask the storage.
_LEASE = 30

# A script is one step, so that nothing comes in between. It may be done late: a client that has given up
# waiting may have sent it.
_REPLACE = """
if redis.call('get', KEYS[1]) == ARGV[1] then
    return redis.call('set', KEYS[1], ARGV[2], 'ex', ARGV[3])
end
"""

# Seconds for which a Redis that has failed is not used.
_PAUSE = 1.0

# How many deletes may wait for Redis. With more, Redis is not used until its descriptors have expired.
_MAX_UNTOLD = 10_000

# What stands for the size of a blob of which only the link was read.
_UNKNOWN = "-"

# How many of them go into one command.
_TOLD_AT_ONCE = 500


class Client(Protocol):
    """The methods of :class:`redis.Redis` that are used."""

    def get(self, name: str) -> Any:
        """Return a value, or None."""

    def set(self, name: str, value: bytes, *, ex: int, nx: bool) -> Any:
        """Set a value for *ex* seconds, with *nx* only if there is none, and return whether it was set."""

    def delete(self, *names: str) -> Any:
        """Delete values."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script."""


class RedisDescriptorCache:
    """A descriptor cache in Redis: what one worker deletes is gone for all of them.

    :param client: it raises *errors*, and nothing else, when Redis fails.
    :param errors: what the client raises.
    :param namespace: a prefix of the keys, so that several registries can share a Redis.
    :param seconds: how long a descriptor is remembered, at least 1.
    :param secrets: texts that are never logged: a server that does not know a command repeats its arguments.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        client: Client,
        errors: tuple[type[Exception], ...],
        namespace: str,
        seconds: int = DEFAULT_SECONDS,
        secrets: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._errors = errors
        self._namespace = namespace
        self._seconds = seconds
        self._secrets = secrets
        self._clock = clock
        self._throttle = Throttle(60, clock)
        self._paused_until = 0.0
        self._distrusted_until = 0.0
        # One entry for each call of `forget`: two that forget the same blob do not count for each other. It
        # is changed by single atomic operations, without a lock that a fork could leave held.
        self._untold: dict[tuple[str, object], None] = {}
        self._teller: threading.Thread | None = None

    def find(
        self, repository: str, digest: Digest, ask: Ask, *, sized: bool = True, later: bool = False
    ) -> Located | None:
        """Return where a repository's blob is, from Redis or from *ask*."""
        began = self._clock()
        if began < self._paused_until or began < self._distrusted_until:
            return ask()
        name = self._name(repository, digest)
        # What this worker may replace by what it finds out.
        replaceable = b""
        try:
            self._tell()
            found = self._client.get(name)
            if found is None:
                lease = uuid.uuid4().hex.encode()
                if self._client.set(name, lease, ex=_LEASE, nx=True):
                    replaceable = lease
        except self._errors as error:
            self._fail(error)
            return ask()
        if found is not None:
            known = _read(found, name, digest)
            if known is None:
                # A lease, or not ours. It is neither used nor replaced.
                MISS.inc()
                return ask()
            if serves(known, sized):
                HIT.inc()
                return known
            replaceable = found
        MISS.inc()
        located = ask()
        if replaceable:
            try:
                if located is None or located.data != digest:
                    # Clients ask for blobs that they are about to push. And what is linked to other data is
                    # not believed here.
                    self._client.delete(name)
                else:
                    size = _UNKNOWN if located.size is None else located.size
                    value = f"{name} {located.data} {size}".encode()
                    self._client.eval(_REPLACE, 1, name, replaceable, value, self._seconds)
            except self._errors as error:
                self._fail(error)
        return located

    def forget(self, repository: str, digest: Digest) -> None:
        """Forget a blob for all workers that share the Redis."""
        if len(self._untold) >= _MAX_UNTOLD:
            # A worker that asked the storage before writes its answer within a lease's time.
            self._distrusted_until = self._clock() + self._seconds + _LEASE
            self._untold.clear()
        self._untold[self._name(repository, digest), object()] = None
        try:
            self._tell()
        except self._errors as error:
            self._fail(error)
            # The other workers use Redis meanwhile, and this worker may not get a request soon. A thread from
            # before a fork is not alive in this process.
            if self._teller is None or not self._teller.is_alive():
                self._teller = threading.Thread(target=self._go_on_telling, name="redis", daemon=True)
                self._teller.start()

    def generation(self) -> object:
        """Return nothing: other workers forget as well."""
        return None

    def holds(self, place: BlobPlace) -> bool:
        """Return False: Redis is asked each time."""
        return False

    def _go_on_telling(self) -> None:
        """Tell Redis of deletes until it knows of all."""
        while self._untold:
            time.sleep(_PAUSE)
            with contextlib.suppress(*self._errors):
                self._tell()

    def _tell(self) -> None:
        """Delete from Redis what it has not been told of yet."""
        untold = list(self._untold)
        for first in range(0, len(untold), _TOLD_AT_ONCE):
            some = untold[first : first + _TOLD_AT_ONCE]
            self._client.delete(*{name for name, _ in some})
            for entry in some:
                self._untold.pop(entry, None)

    def _fail(self, error: Exception) -> None:
        REDIS_FAILURES.inc()
        FAILED.inc()
        self._paused_until = self._clock() + _PAUSE
        if self._throttle.allows():
            text = str(error).partition(", with args")[0]
            for secret in self._secrets:
                text = text.replace(secret, "***")
            _log.error("redis: the descriptor cache is not used, the storage is asked: %s", text)

    def _name(self, repository: str, digest: Digest) -> str:
        return f"cfmiddleware:{self._namespace}:{repository}@{digest}"


def _read(value: object, name: str, expected: Digest) -> Located | None:
    """Return the descriptor that a value from Redis is, or None.

    :param name: its key, with which the value begins: no client is sent to another blob, even if a connection
        mixes up its answers.
    :param expected: the blob's digest, which the data must have. Whoever can write to Redis could otherwise
        lead a pull to the bytes of another repository. Only the storage says that data has another digest, as
        Distribution's links from sha512 to sha256 do.
    """
    if not isinstance(value, bytes):
        return None
    key, _, descriptor = value.decode("ascii", "replace").partition(" ")
    digest, _, size = descriptor.partition(" ")
    if key != name or not (size == _UNKNOWN or (size.isdecimal() and len(size) < 20)):
        return None
    if digest != str(expected):
        return None
    return Located.of(expected, None if size == _UNKNOWN else int(size))
