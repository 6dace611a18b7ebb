"""Where blobs are, remembered: the descriptor cache (Distribution's ``storage.cache.blobdescriptor``).

Only that a blob is there is remembered, never that it is not; and only for those who read. What is pushed,
mounted or referred to is looked up in the storage.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.process.cache import Cache
from cfmiddleware.registry.store import paths

#: How many descriptors a process remembers by default, and for how many seconds any is remembered.
DEFAULT_SIZE = 10_000
DEFAULT_SECONDS = 60


class Located(NamedTuple):
    """Where the bytes of a repository's blob are: what its link names, the path, the size in bytes."""

    data: Digest
    path: str
    size: int

    @classmethod
    def of(cls, data: Digest, size: int) -> Located:
        """Return where the bytes of *data* are."""
        return cls(data, paths.blob_data(data), size)


#: Asks the storage where a blob is; None where there is none.
Ask = Callable[[], Located | None]


class DescriptorCache(Protocol):
    """Remembers where blobs are. Safe to share between threads and to carry over a fork."""

    def find(self, repository: str, digest: Digest, ask: Ask) -> Located | None:
        """Return where a repository's blob is, from memory or from *ask*, whose errors are passed on."""

    def forget(self, repository: str, digest: Digest) -> None:
        """Remember a blob no longer. Called before a link is deleted and again after that, so that nobody
        remembers what was seen in between.
        """


class _Known(NamedTuple):
    """What is remembered, when one request is to ask the storage anew, and until when it counts."""

    located: Located
    due: float
    until: float


class InMemoryDescriptorCache:
    """Descriptors in the memory of each process.

    A process that deletes a blob forgets it at once. The others do not hear of that: they say yes for
    *seconds* at the most, counted from before the storage was asked.

    What is still asked for in the second half of that time is looked up again by one request, while the
    others go on with what is known; at a moment that each blob has for itself, so that a thousand blobs that
    were pulled together are not looked up together ever after.

    :param size: how many are remembered; the least recently used is forgotten first.
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

    def find(self, repository: str, digest: Digest, ask: Ask) -> Located | None:
        """Return where a repository's blob is, from memory or from *ask*."""
        now = self._clock()
        key = (repository, digest)
        known = self._remembered.get(key)
        if known is not None and now < known.due:
            return known.located
        generation = self._remembered.generation()
        known = self._remembered.get(
            key
        )  # once more: it may have been forgotten before the generation was read
        if known is not None and now < known.until:
            self._remembered.put(key, known._replace(due=known.until), generation)  # the others need not ask
            try:
                located = ask()
            except StorageUnavailable:
                if self._clock() >= known.until:
                    raise
                return known.located
            if located is None:
                self._remembered.forget(key)
        else:
            located = ask()
        if located is not None:
            share = (1 + int(digest.hex[:4], 16) / 0x10000) / 2
            self._remembered.put(
                key, _Known(located, now + share * self._seconds, now + self._seconds), generation
            )
        return located

    def forget(self, repository: str, digest: Digest) -> None:
        """Remember a blob no longer, in this process."""
        self._remembered.forget((repository, digest))
