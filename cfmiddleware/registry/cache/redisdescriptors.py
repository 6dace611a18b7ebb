"""Where blobs are, remembered in a Redis that all workers share.

Who finds nothing there leaves a lease, a value that nobody else has, asks the storage, and puts what it said
in the place of that very lease. A delete takes away what is there, be it a descriptor or a lease: those who
had asked the storage before have nothing left to replace. So does a Redis that evicts, or is restarted empty.

A Redis that does not answer costs speed only: the storage is asked, and the next request may try Redis again
after a second. A delete that could not tell Redis is told as soon as it answers, before this worker believes
it again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any, Protocol

from cfmiddleware.digest import Digest
from cfmiddleware.process.throttle import Throttle

from .descriptors import DEFAULT_SECONDS, Ask, Located

_log = logging.getLogger("cfmiddleware")

# Seconds that one who has found nothing has to ask the storage.
_LEASE = 30

# One step, so that nothing comes in between, however late it is done: a client that has given up waiting may
# have sent it all the same.
_REPLACE = """
if redis.call('get', KEYS[1]) == ARGV[1] then
    return redis.call('set', KEYS[1], ARGV[2], 'ex', ARGV[3])
end
"""

# Seconds for which a Redis that has failed is not asked.
_PAUSE = 1.0

# Deletes that Redis has not been told of; beyond, it is not believed until its descriptors have expired.
_MAX_UNTOLD = 10_000

# How many of them go into one command.
_TOLD_AT_ONCE = 500


class Client(Protocol):
    """What is used of :class:`redis.Redis`."""

    def get(self, name: str) -> Any:
        """Return a value, or None."""

    def set(self, name: str, value: bytes, *, ex: int, nx: bool) -> Any:
        """Set a value for *ex* seconds; with *nx* only where there is none, and say whether it was."""

    def delete(self, *names: str) -> Any:
        """Take values away."""

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script."""


class RedisDescriptorCache:
    """Descriptors in Redis: what one worker deletes is gone for all of them.

    :param client: it raises *errors*, and nothing else, where Redis does not do as it is asked.
    :param errors: what the client raises.
    :param namespace: stands in front of the keys, so that several registries can share a Redis.
    :param seconds: how long a descriptor is remembered, at least 1.
    :param secrets: what is never logged: a server that does not know a command repeats what came with it.
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
        # One entry for each call of `forget`: two that forget the same do not count for each other. Changed
        # by single operations, each of which is atomic; no lock that a fork could find taken.
        self._untold: dict[tuple[str, object], None] = {}
        self._teller: threading.Thread | None = None

    def find(self, repository: str, digest: Digest, ask: Ask) -> Located | None:
        """Return where a repository's blob is, from Redis or from *ask*."""
        began = self._clock()
        if began < self._paused_until or began < self._distrusted_until:
            return ask()
        name = self._name(repository, digest)
        lease = b""
        try:
            self._tell()
            found = self._client.get(name)
            if found is None:
                lease = uuid.uuid4().hex.encode()
                if not self._client.set(name, lease, ex=_LEASE, nx=True):
                    lease = b""
        except self._errors as error:
            self._fail(error)
            return ask()
        if found is not None:
            # What is no descriptor is a lease, or not ours: never followed, and never replaced.
            return _read(found, name) or ask()
        located = ask()
        if lease:
            try:
                if located is None:
                    self._client.delete(name)  # clients ask for what they are about to push
                else:
                    value = f"{name} {located.data} {located.size}".encode()
                    self._client.eval(_REPLACE, 1, name, lease, value, self._seconds)
            except self._errors as error:
                self._fail(error)
        return located

    def forget(self, repository: str, digest: Digest) -> None:
        """Remember a blob no longer, for all who share the Redis."""
        if len(self._untold) >= _MAX_UNTOLD:
            # What others have asked the storage before is written within a lease's time.
            self._distrusted_until = self._clock() + self._seconds + _LEASE
            self._untold.clear()
        self._untold[self._name(repository, digest), object()] = None
        try:
            self._tell()
        except self._errors as error:
            self._fail(error)
            # The others believe Redis meanwhile, and this worker may not be asked for anything soon. A thread
            # of before a fork is not alive in this process.
            if self._teller is None or not self._teller.is_alive():
                self._teller = threading.Thread(target=self._go_on_telling, name="redis", daemon=True)
                self._teller.start()

    def _go_on_telling(self) -> None:
        """Tell Redis of deletes until it knows of all."""
        while self._untold:
            time.sleep(_PAUSE)
            with contextlib.suppress(*self._errors):
                self._tell()

    def _tell(self) -> None:
        """Take away what Redis has not been told of yet."""
        untold = list(self._untold)
        for first in range(0, len(untold), _TOLD_AT_ONCE):
            some = untold[first : first + _TOLD_AT_ONCE]
            self._client.delete(*{name for name, _ in some})
            for entry in some:
                self._untold.pop(entry, None)

    def _fail(self, error: Exception) -> None:
        self._paused_until = self._clock() + _PAUSE
        if self._throttle.allows():
            text = str(error).partition(", with args")[0]
            for secret in self._secrets:
                text = text.replace(secret, "***")
            _log.error("redis: the descriptor cache is not used, the storage is asked: %s", text)

    def _name(self, repository: str, digest: Digest) -> str:
        return f"cfmiddleware:{self._namespace}:{repository}@{digest}"


def _read(value: object, name: str) -> Located | None:
    """Return the descriptor that a value from Redis is, or None.

    :param name: its key, with which the value begins: nobody is sent to a blob that was not asked for, even
        if a connection should mix up its answers.
    """
    if not isinstance(value, bytes):
        return None
    key, _, descriptor = value.decode("ascii", "replace").partition(" ")
    digest, _, size = descriptor.partition(" ")
    if key != name or not (size.isdecimal() and len(size) < 20):
        return None
    try:
        return Located.of(Digest.parse(digest), int(size))
    except ValueError:
        return None
