"""Digests as numbers of 64 bits, so that a collection has room for millions of them.

Two digests with one number would only keep garbage: whatever is looked up is looked up among what is kept.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice

from cfmiddleware.digest import Digest


def fingerprint_of(digest: Digest) -> int:
    """Return the number of a digest."""
    return int(digest.hex[:16], 16)


def pack(numbers: Iterable[int]) -> bytes:
    """Return numbers in eight bytes each."""
    numbers = tuple(numbers)
    return struct.pack(f">{len(numbers)}Q", *numbers)


def unpack(packed: bytes) -> tuple[int, ...]:
    """Return the numbers that were packed."""
    return struct.unpack(f">{len(packed) // 8}Q", packed)


# By how many bits a number is shifted to have its part: there are 256 of them, so that no more than a 256th
# is ever sorted, as Python's own numbers, at a time.
_SHIFT = 56


# So many numbers at the most are in a set of Python's own, which is far faster: few repositories have more.
_FEW = 1 << 12


class Fingerprints:
    """A set of fingerprints in eight bytes each; Python's own sets take ten times as much."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        # What came last, and may be in the parts as well.
        self._few: set[int] = set()
        self._parts: dict[int, array[int]] = {}
        # How long a part was when it was last sorted.
        self._sorted: dict[int, int] = {}
        self.update(numbers)

    def add(self, number: int) -> None:
        """Add a number."""
        self.update((number,))

    def update(self, numbers: Iterable[int]) -> None:
        """Add numbers."""
        left = iter(numbers)
        while some := set(islice(left, _FEW)):
            self._few |= some
            if len(self._few) > _FEW:
                self._settle()

    def merge(self, other: Fingerprints) -> None:
        """Add all numbers of another set."""
        for place in other._parts:
            self._parts.setdefault(place, array("Q")).extend(other._part(place))
            self._tidy(place)
        self.update(other._few)

    def common(self, other: Fingerprints) -> Fingerprints:
        """Return the numbers that both sets have."""
        few, many = (self, other) if len(self) < len(other) else (other, self)
        return Fingerprints(number for number in few if number in many)

    def __iter__(self) -> Iterator[int]:
        if not self._parts:
            yield from self._few
            return
        self._settle()
        for place in self._parts:
            yield from self._part(place)

    def __contains__(self, number: int) -> bool:
        if number in self._few:
            return True
        place = number >> _SHIFT
        if place not in self._parts:
            return False
        part = self._part(place)
        found = bisect_left(part, number)
        return found < len(part) and part[found] == number

    def __len__(self) -> int:
        if not self._parts:
            return len(self._few)
        self._settle()
        return sum(len(self._part(place)) for place in self._parts)

    def __bool__(self) -> bool:
        return bool(self._few or self._parts)

    def _settle(self) -> None:
        """Move all numbers to the parts."""
        few, self._few = self._few, set()
        parts = self._parts
        for number in few:
            place = number >> _SHIFT
            if place not in parts:
                parts[place] = array("Q")
            parts[place].append(number)
        for place in parts:
            self._tidy(place)

    def _tidy(self, place: int) -> None:
        """Sort a part that has become much longer: what many repositories share comes many times."""
        if len(self._parts[place]) > 2 * self._sorted.get(place, 0) + 1024:
            self._part(place)

    def _part(self, place: int) -> array[int]:
        """Return a part, sorted and without repetitions."""
        part = self._parts[place]
        if len(part) != self._sorted.get(place, 0):
            part = self._parts[place] = array("Q", sorted(set(part)))
            self._sorted[place] = len(part)
        return part
