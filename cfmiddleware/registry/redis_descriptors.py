"""Where blobs are, remembered in a Redis that all workers share.

A link that is deleted leaves a mark in its descriptor's place for a minute. While the mark is there, nobody
writes a descriptor: one who had asked the storage before the delete would bring it back (``SET NX``).

A Redis that does not answer costs speed only: the storage is asked, and the next request may try Redis again
after a second. A delete that could not tell Redis is told as soon as it answers, before this worker believes
it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from cfmiddleware.digest import Digest
from cfmiddleware.seldom import Seldom

from .descriptors import DEFAULT_SECONDS, Ask, Located

_log = logging.getLogger("cfmiddleware")

_DELETED = b"-"

# Seconds for which a mark stays, and within which one who asked the storage may write what it said.
_MARKED = 60
_FRESH = 30

# Seconds for which a Redis that has failed is not asked.
_PAUSE = 1.0

# Deletes that Redis has not been told of; beyond, it is not believed until its descriptors have expired.
_MAX_UNTOLD = 10_000


class Client(Protocol):
    """What is used of :class:`redis.Redis`."""

    def get(self, name: str) -> Any:
        """Return a value, or None."""

    def set(self, name: str, value: bytes, *, ex: int, nx: bool = False) -> Any:
        """Set a value for *ex* seconds; with *nx*, only where there is none."""


class RedisDescriptors:
    """Descriptors in Redis: what one worker deletes is gone for all of them.

    :param client: it raises *errors*, and nothing else, where Redis does not do as it is asked.
    :param errors: what the client raises.
    :param namespace: stands in front of the keys, so that several registries can share a Redis.
    :param seconds: how long a descriptor is remembered, at least 1.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        client: Client,
        errors: tuple[type[Exception], ...],
        namespace: str,
        seconds: int = DEFAULT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._errors = errors
        self._namespace = namespace
        self._seconds = seconds
        self._clock = clock
        self._log_it = Seldom(60, clock)
        self._paused_until = 0.0
        self._distrusted_until = 0.0
        # Changed by single operations, each of which is atomic; no lock that a fork could find taken.
        self._untold: dict[str, None] = {}

    def find(self, repository: str, digest: Digest, ask: Ask) -> Located | None:
        """Return where a repository's blob is, from Redis or from *ask*."""
        began = self._clock()
        if began < self._paused_until or began < self._distrusted_until:
            return ask()
        name = self._name(repository, digest)
        try:
            self._tell()
            found = self._client.get(name)
        except self._errors as error:
            self._fail(error)
            return ask()
        if found is not None:
            # What is no descriptor is a mark, or not ours: never followed, and never replaced.
            return _read(found) or ask()
        located = ask()
        if located is not None and self._clock() - began < _FRESH:
            value = f"{located.data} {located.size}".encode()
            try:
                self._client.set(name, value, ex=self._seconds, nx=True)
            except self._errors as error:
                self._fail(error)
        return located

    def forget(self, repository: str, digest: Digest) -> None:
        """Mark a blob as deleted, for all who share the Redis."""
        name = self._name(repository, digest)
        if len(self._untold) >= _MAX_UNTOLD:
            self._distrusted_until = self._clock() + max(self._seconds, _MARKED)
            self._untold.clear()
        self._untold[name] = None
        try:
            self._tell()
        except self._errors as error:
            self._fail(error)

    def _tell(self) -> None:
        """Mark what Redis has not been told of yet."""
        for name in list(self._untold):
            self._client.set(name, _DELETED, ex=_MARKED)
            self._untold.pop(name, None)

    def _fail(self, error: Exception) -> None:
        self._paused_until = self._clock() + _PAUSE
        if self._log_it():
            _log.error("redis: the descriptor cache is not used, the storage is asked: %s", error)

    def _name(self, repository: str, digest: Digest) -> str:
        return f"cfmiddleware:{self._namespace}:{repository}@{digest}"


def _read(value: object) -> Located | None:
    """Return the descriptor that a value from Redis is, or None."""
    if not isinstance(value, bytes):
        return None
    digest, _, size = value.decode("ascii", "replace").partition(" ")
    if not (size.isascii() and size.isdecimal() and len(size) < 20):
        return None
    try:
        return Located.of(Digest.parse(digest), int(size))
    except ValueError:
        return None
