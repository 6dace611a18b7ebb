"""The links of one kind that a repository has, in 40 bytes each: a repository may have millions of them."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cfmiddleware.digest import Digest

from .fingerprints import fingerprint_of

_ALGORITHM = "sha256"
_LENGTH = 32


class Link(NamedTuple):
    """A link of a repository.

    :param data: the digest whose bytes it names, in most cases its own name.
    :param modified: when it was written, in Unix seconds by the storage's clock.
    """

    data: Digest
    modified: float


class LinkTable(Mapping[Digest, Link]):
    """Links by their names.

    Nearly all have sha256 names and name what they are called. Those lie in two arrays, sorted; all others in
    a dictionary.
    """

    def __init__(self) -> None:
        self._names = bytearray()
        self._times = array("d")
        self._others: dict[Digest, Link] = {}
        self._other_names: list[Digest] = []
        self._sorted = True

    def add(self, digest: Digest, link: Link) -> None:
        """Add a link."""
        if link.data != digest or not self.add_plain(digest.algorithm, digest.hex, link.modified):
            if digest not in self._others:
                self._other_names.append(digest)
            self._others[digest] = link

    def add_plain(self, algorithm: str, hexadecimal: str, modified: float) -> bool:
        """Add a link that names what it is called, without making a digest of it first; return False for
        what is not a sha256 digest.
        """
        if algorithm != _ALGORITHM:
            return False
        try:
            name = bytes.fromhex(hexadecimal)
        except ValueError:
            return False
        if len(name) != _LENGTH or name.hex() != hexadecimal:
            return False
        # A bucket lists in the order of names; a filesystem need not.
        if self._sorted and self._times and name <= self._names[-_LENGTH:]:
            self._sorted = False
        self._names += name
        self._times.append(modified)
        return True

    def numbered(self) -> Iterator[tuple[int, int, float, Digest | None]]:
        """Yield of each link its number for :meth:`at`, its name's fingerprint, when it was written, and what
        it names, or None for what it is called.
        """
        self._sort()
        for place, (number, modified) in enumerate(zip(self._fingerprints(), self._times, strict=True)):
            yield place, number, modified, None
        start = len(self._times)
        for place, name in enumerate(self._other_names, start):
            link = self._others[name]
            yield place, fingerprint_of(name), link.modified, link.data

    def others(self) -> Iterator[tuple[Digest, Digest]]:
        """Yield the links that name other bytes than those that they are called after, and the bytes."""
        return ((name, link.data) for name, link in self._others.items())

    def at(self, place: int) -> tuple[Digest, Link]:
        """Return a link by its number."""
        start = place - len(self._times)
        if start >= 0:
            name = self._other_names[start]
            return name, self._others[name]
        name = Digest(_ALGORITHM, self._names[_LENGTH * place : _LENGTH * (place + 1)].hex())
        return name, Link(name, self._times[place])

    def __getitem__(self, name: Digest) -> Link:
        if name in self._others:
            return self._others[name]
        if name.algorithm == _ALGORITHM:
            self._sort()
            wanted = bytes.fromhex(name.hex)
            place = bisect_left(_Names(self._names), wanted)
            if self._names[_LENGTH * place : _LENGTH * (place + 1)] == wanted:
                return Link(name, self._times[place])
        raise KeyError(name)

    def __iter__(self) -> Iterator[Digest]:
        self._sort()
        for place in range(0, len(self._names), _LENGTH):
            yield Digest(_ALGORITHM, self._names[place : place + _LENGTH].hex())
        yield from self._other_names

    def __len__(self) -> int:
        return len(self._times) + len(self._others)

    def _fingerprints(self) -> array[int]:
        numbers = array("Q", bytes(self._names))[:: _LENGTH // 8]
        if sys.byteorder == "little":
            numbers.byteswap()
        return numbers

    def _sort(self) -> None:
        if self._sorted:
            return
        names, times = self._names, self._times
        order = sorted(range(len(times)), key=lambda n: bytes(names[_LENGTH * n : _LENGTH * (n + 1)]))
        self._names = bytearray().join(names[_LENGTH * n : _LENGTH * (n + 1)] for n in order)
        self._times = array("d", (times[n] for n in order))
        self._sorted = True


class _Names:
    """The names as a sequence, for :mod:`bisect`."""

    def __init__(self, names: bytearray) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names) // _LENGTH

    def __getitem__(self, place: int) -> bytes:
        return bytes(self._names[_LENGTH * place : _LENGTH * (place + 1)])
