"""The descriptor cache: it remembers where blobs are (Distribution's ``storage.cache.blobdescriptor``).

It remembers that a blob is there, and never that it is not. Only pulls use it: pushes, mounts and manifests
look blobs up in the storage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.metrics.names import STORAGE_CACHE
from cfmiddleware.process.cache import Cache
from cfmiddleware.registry.store import paths

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.wsgi.blobplace import BlobPlace

#: How many descriptors a process remembers by default, and for how many seconds any is remembered.
DEFAULT_SIZE = 10_000
DEFAULT_SECONDS = 60

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

    def find(self, repository: str, digest: Digest, ask: Ask, *, sized: bool = True) -> Located | None:
        """Return where a repository's blob is, from memory or from *ask*, whose errors are passed on.

        :param sized: whether the size is needed; *ask* then returns it. Where it is not, what is remembered
            may lack it.
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

    If a blob is still asked for in the second half of that time, one request looks it up again, while the
    others use what is known. Each blob has a moment of its own for that, so that a thousand blobs that were
    pulled together are not looked up together each time.

    :param size: how many descriptors are remembered; the least recently used is forgotten first.
    :param seconds: how long.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        size: int = DEFAULT_SIZE,
        seconds: float = DEFAULT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remembered: Cache[tuple[str, Digest], _Known] = Cache(size)
        self._seconds = seconds
        self._clock = clock

    def __len__(self) -> int:
        return len(self._remembered)

    def find(self, repository: str, digest: Digest, ask: Ask, *, sized: bool = True) -> Located | None:
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
            try:
                located = ask()
            except StorageUnavailable:
                if self._clock() >= known.until:
                    raise
                return known.located
        else:
            located = ask()
        if located is None:
            if known is not None:
                self._remembered.forget(key)
        else:
            if known is not None and known.located.place is not None:
                known.located.place.due = -math.inf  # more may be known now, such as the size
            share = (1 + int(digest.hex[:4], 16) / 0x10000) / 2
            located.due = now + share * self._seconds
            self._remembered.put(key, _Known(located, located.due, now + self._seconds), generation)
        return located

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
