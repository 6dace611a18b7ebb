"""The descriptor cache: it remembers where blobs are (Distribution's ``storage.cache.blobdescriptor``).

It remembers that a blob is there, and never that it is not. Only pulls use it: pushes, mounts and manifests
look blobs up in the storage.
"""

from __future__ import annotations

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
    """Where the bytes of a repository's blob are. Nothing of it changes.

    :param data: what the blob's link names.
    :param path: the path of the data.
    :param size: its size in bytes; None if only the link was read, so that nothing is known of the data.
    :param place: the same for a wrapper, once one has asked.
    """

    data: Digest
    path: str
    size: int | None
    place: BlobPlace | None = field(default=None, compare=False, repr=False)

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
            share = (1 + int(digest.hex[:4], 16) / 0x10000) / 2
            self._remembered.put(
                key, _Known(located, now + share * self._seconds, now + self._seconds), generation
            )
        return located

    def forget(self, repository: str, digest: Digest) -> None:
        """Forget a blob in this process."""
        self._remembered.forget((repository, digest))
