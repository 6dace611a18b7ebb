"""The descriptor cache: it remembers where blobs are (Distribution's ``storage.cache.blobdescriptor``).

It remembers that a blob is there, and never that it is not. Only pulls use it: pushes, mounts and manifests
look blobs up in the storage.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.metrics.names import STORAGE_CACHE
from cfmiddleware.process.cache import Cache
from cfmiddleware.process.waiting import waiting_is_free
from cfmiddleware.registry.store import paths

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.wsgi.blobplace import BlobPlace

#: How many descriptors a process remembers by default, and for how many seconds any is remembered.
DEFAULT_SIZE = 10_000
DEFAULT_SECONDS = 60

# So many look-ups at most are under way beside requests. Where more are due, because the storage is slow or
# there are more blobs than it answers for, requests make them.
_BESIDE = 4

_log = logging.getLogger("cfmiddleware")

#: What became of a question.
HIT, MISS, FAILED = STORAGE_CACHE.of("Hit"), STORAGE_CACHE.of("Miss"), STORAGE_CACHE.of("Error")


@dataclass(slots=True)
class Located:
    """Where the bytes of a repository's blob are. Nothing of that changes.

    :param data: what the blob's link names.
    :param path: the path of the data.
    :param size: its size in bytes; None if only the link was read, so that nothing is known of the data.
    :param place: the same for a wrapper, once one has asked.
    :param due: when the storage is asked again, on the clock of the cache that remembers it.
    """

    data: Digest
    path: str
    size: int | None
    place: BlobPlace | None = field(default=None, compare=False, repr=False)
    due: float = field(default=-math.inf, compare=False, repr=False)

    @classmethod
    def of(cls, data: Digest, size: int | None) -> Located:
        """Return where the bytes of *data* are."""
        return cls(data, paths.blob_data(data), size)


#: Asks the storage where a blob is; the answer is None if there is none.
Ask = Callable[[], Located | None]


class DescriptorCache(Protocol):
    """Remembers where blobs are. Safe to share between threads and to carry over a fork."""

    def find(
        self, repository: str, digest: Digest, ask: Ask, *, sized: bool = True, later: bool = False
    ) -> Located | None:
        """Return where a repository's blob is, from memory or from *ask*, whose errors are passed on.

        :param sized: whether the size is needed; *ask* then returns it. Where it is not, what is remembered
            may lack it.
        :param later: whether *ask* may be called after this has returned what is remembered.
        """

    def forget(self, repository: str, digest: Digest) -> None:
        """Forget a blob. This is called before a link is deleted and again after it, so that no request
        remembers what it saw in between.
        """

    def generation(self) -> object:
        """Return an object that is another one after each :meth:`forget`, to be taken before a look-up."""

    def holds(self, place: BlobPlace) -> bool:
        """Return whether what is remembered is still what *place* was made of, without a look-up.

        :param place: it has the located blob's ``due``, and the generation from before it was found.
        """


def serves(located: Located, sized: bool) -> bool:
    """Return whether a remembered descriptor has all that a request needs."""
    return not sized or located.size is not None


class _Known(NamedTuple):
    """A located blob, when one request asks the storage again, and until when it counts."""

    located: Located
    due: float
    until: float


class InMemoryDescriptorCache:
    """A descriptor cache in the memory of each process.

    A process that deletes a blob forgets it at once. The other processes do not learn of that: they still
    find the blob for at most *seconds*, counted from before the storage was asked.

    If a blob is still asked for in the second half of that time, it is looked up again, once, while requests
    use what is known: beside them under gevent, or by one of them. Each blob has a moment of its own for
    that, so that a thousand blobs that were pulled together are not looked up together each time.

    :param size: how many descriptors are remembered; the least recently used is forgotten first.
    :param seconds: how long.
    :param clock: seconds that never go backwards.
    :param beside: begins to call a function beside the request, and returns whether it does.
    """

    def __init__(
        self,
        size: int = DEFAULT_SIZE,
        seconds: float = DEFAULT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        beside: Callable[[Callable[[], None]], bool] | None = None,
    ) -> None:
        self._remembered: Cache[tuple[str, Digest], _Known] = Cache(size)
        self._seconds = seconds
        self._clock = clock
        self._begins_beside = beside or _begins_greenlet
        self._beside = 0

    def __len__(self) -> int:
        return len(self._remembered)

    def find(
        self, repository: str, digest: Digest, ask: Ask, *, sized: bool = True, later: bool = False
    ) -> Located | None:
        """Return where a repository's blob is, from memory or from *ask*."""
        now = self._clock()
        key = (repository, digest)
        known = self._remembered.get(key)
        if known is not None and now < known.due and not (sized and known.located.size is None):
            HIT.inc()
            return known.located
        MISS.inc()
        generation = self._remembered.generation()
        # Once more: it may have been forgotten before the generation was read.
        known = self._remembered.get(key)
        if known is not None and now < known.until and serves(known.located, sized):
            # So that the others do not ask.
            self._remembered.put(key, known._replace(due=known.until), generation)
            if later and self._asks_beside(key, known, ask, generation):
                return known.located
            try:
                located = ask()
            except StorageUnavailable:
                if self._clock() >= known.until:
                    raise
                return known.located
        else:
            located = ask()
        self._learn(key, known, located, now, generation)
        return located

    def _asks_beside(self, key: tuple[str, Digest], known: _Known, ask: Ask, generation: object) -> bool:
        """Look a blob up again beside requests, and return whether that has begun."""
        if self._beside >= _BESIDE:
            return False

        def look() -> None:
            now = self._clock()
            try:
                self._learn(key, known, ask(), now, generation)
            except Exception as error:  # noqa: BLE001 (what is known stays to its end; a request asks then)
                _log.debug("the descriptor of %s was not looked up again: %s", key[1], error)
            finally:
                self._beside -= 1

        self._beside += 1
        if self._begins_beside(look):
            return True
        self._beside -= 1
        return False

    def _learn(
        self,
        key: tuple[str, Digest],
        known: _Known | None,
        located: Located | None,
        now: float,
        generation: object,
    ) -> None:
        """Remember what the storage said.

        :param known: what was known before.
        :param now: when the storage was asked.
        :param generation: what was forgotten before that.
        """
        if located is None:
            if known is not None:
                self._remembered.forget(key)
        else:
            if known is not None and known.located.place is not None:
                known.located.place.due = -math.inf  # more may be known now, such as the size
            share = (1 + int(key[1].hex[:4], 16) / 0x10000) / 2
            located.due = now + share * self._seconds
            self._remembered.put(key, _Known(located, located.due, now + self._seconds), generation)

    def forget(self, repository: str, digest: Digest) -> None:
        """Forget a blob in this process."""
        self._remembered.forget((repository, digest))

    def generation(self) -> object:
        """Return an object that is another one after each :meth:`forget`."""
        return self._remembered.generation()

    def holds(self, place: BlobPlace) -> bool:
        """Return whether no look-up would say anything else. It then counts as one.

        After each :meth:`forget`, of whatever blob, the answer is no: it cannot be too late, even for a blob
        that was pushed out of the memory meanwhile.
        """
        if self._clock() < place.due and self._remembered.is_generation(place.lent):
            HIT.inc()
            return True
        return False


def _begins_greenlet(function: Callable[[], None]) -> bool:
    """Begin to call a function in a greenlet. Where a request has a thread of its own, it looks itself."""
    if not waiting_is_free():
        return False
    threading.Thread(target=function, name="descriptor", daemon=True).start()
    return True
