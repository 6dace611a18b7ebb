"""The sizes of millions of objects by their digests, in sixteen bytes each."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.fingerprints import fingerprint_of

# Numbers with the same first bits lie together, so that little is moved when they are put in order.
_SHIFT = 56


class Sizes:
    """Sizes by digest. Digests are held as numbers of 64 bits, so two may be taken for one with a chance that
    nobody meets. All are added before the first is asked for.
    """

    def __init__(self) -> None:
        self._shards: dict[int, tuple[array[int], array[int]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, digest: Digest, size: int) -> None:
        """Add a size."""
        number = fingerprint_of(digest)
        numbers, sizes = self._shards.setdefault(number >> _SHIFT, (array("Q"), array("Q")))
        numbers.append(number)
        sizes.append(size)
        self._count += 1

    def freeze(self) -> None:
        """Put what was added in order, so that it is found."""
        for shard, (numbers, sizes) in self._shards.items():
            order = sorted(range(len(numbers)), key=numbers.__getitem__)
            self._shards[shard] = (
                array("Q", (numbers[place] for place in order)),
                array("Q", (sizes[place] for place in order)),
            )

    def get(self, digest: Digest) -> int | None:
        """Return the size of a digest, or None if it was not added."""
        number = fingerprint_of(digest)
        found = self._shards.get(number >> _SHIFT)
        if found is None:
            return None
        numbers, sizes = found
        place = bisect_left(numbers, number)
        return sizes[place] if place < len(numbers) and numbers[place] == number else None
