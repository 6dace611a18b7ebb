"""What manifests refer to, kept in the storage from one collection to the next.

A manifest never changes, so each is read once in its life. What was found is kept in few objects, each with
the digest of its content at its head. One that is damaged is passed over, and its manifests are read again.
"""

from __future__ import annotations

import logging
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice
from operator import gt
from typing import NamedTuple
from uuid import uuid4

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .fingerprints import fingerprint_of, pack, unpack
from .references import References

_log = logging.getLogger(__name__)

# After so many new manifests they are kept, while the collection goes on: one that is stopped has not read
# them for nothing.
_OFTEN = 1 << 15

# An object with so many manifests is not joined with others any more; one with so few always is.
_LARGE = 1 << 17
_SMALL = 1 << 12

# An object begins with this and with the digest of what follows: the entries, compressed. An entry is the
# lengths of the manifest's digest and of what it refers to, its subject or 0, and then both.
_FORM = b"cfmiddleware references 1\n"
_HEAD = struct.Struct(">HIQ")


class Known(NamedTuple):
    """What is remembered of a manifest, in fingerprints.

    :param subject: the manifest that it is about; 0 for none.
    :param packed: what it refers to, packed.
    """

    subject: int
    packed: bytes

    @classmethod
    def of(cls, found: References) -> Known:
        """Return what is to be remembered of a manifest that was read."""
        subject = 0 if found.subject is None else fingerprint_of(found.subject)
        return cls(subject, pack(sorted({fingerprint_of(digest) for digest in found.digests})))

    def refers_to(self) -> tuple[int, ...]:
        """Return what the manifest refers to."""
        return unpack(self.packed)


class Remembered:
    """What is known of manifests.

    :param driver: where it is kept.
    :param reading: reads several objects at a time.
    """

    def __init__(self, driver: Driver, reading: SideBySide) -> None:
        self._driver = driver
        self._reading = reading
        self._parts: dict[str, _Part] = {}
        # By the whole digest: who can make two manifests with one number must not lose the second one's.
        self._new: dict[bytes, Known] = {}

    def load(self) -> None:
        """Read what earlier collections have kept."""
        listed = (paths.REMEMBERED + name for name in self._driver.list(paths.REMEMBERED))
        for path, part in self._reading.map(self._read, listed):
            if part is not None:
                self._parts[path] = part

    def _read(self, path: str) -> tuple[str, _Part | None]:
        try:
            return path, _Part(_decode(self._driver.read(path)))
        except ObjectNotFound:  # another collection has joined it with others
            return path, None
        except ValueError as error:
            _log.warning("%s is damaged (%s); its manifests are read again", path, error)
            # With no manifests, it is joined with others: that deletes it.
            return path, _Part(b"")

    @property
    def objects(self) -> int:
        """In how many objects it is kept."""
        return len(self._parts)

    def get(self, manifest: Digest) -> Known | None:
        """Return what is known of a manifest, or None if it has to be read."""
        name = bytes.fromhex(manifest.hex)
        found = self._new.get(name)
        if found is None:
            for part in self._parts.values():
                found = part.get(name)
                if found is not None:
                    break
        return found

    def put(self, manifest: Digest, known: Known) -> None:
        """Remember what a manifest refers to."""
        self._new[bytes.fromhex(manifest.hex)] = known
        if len(self._new) >= _OFTEN:
            self.save()

    def save(self) -> None:
        """Keep what is new for later collections, together with what lies in small objects."""
        if not self._new:
            return
        joined, count = [], len(self._new)
        for path, part in sorted(self._parts.items(), key=lambda item: len(item[1])):
            if len(part) >= _LARGE or len(part) > max(_SMALL, 2 * count):
                break
            joined.append(path)
            count += len(part)
        entries = merge(_entries(self._new), *(self._parts[path].entries() for path in joined))
        left = (entry for _, entry in _without_repetitions(entries))
        while content := b"".join(islice(left, _LARGE)):
            path = f"{paths.REMEMBERED}{uuid4()}"
            self._driver.write(path, _encode(content))
            self._parts[path] = _Part(content)
        self._new = {}
        for path in joined:
            del self._parts[path]
        self._driver.delete(joined)


class _Part:
    """What one object keeps, as it lies there: objects of Python's would take many times the room.

    :param content: the entries.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        # The first eight bytes of each name, sorted, and where its entry is.
        self._numbers = array("Q")
        self._places = array("Q")
        place = 0
        while place < len(content):
            if place + _HEAD.size > len(content):
                break
            name_length, length, _ = _HEAD.unpack_from(content, place)
            name = place + _HEAD.size
            self._numbers.append(int.from_bytes(content[name : name + 8], "big"))
            self._places.append(place)
            place = name + name_length + length
        if place != len(content):
            raise ValueError("its last entry is cut off")
        # Those of earlier versions are not sorted.
        if any(map(gt, self._numbers, islice(self._numbers, 1, None))):
            order = sorted(range(len(self)), key=self._name)
            self._numbers = array("Q", map(self._numbers.__getitem__, order))
            self._places = array("Q", map(self._places.__getitem__, order))

    def __len__(self) -> int:
        return len(self._places)

    def get(self, name: bytes) -> Known | None:
        """Return what is known of a manifest."""
        number = int.from_bytes(name[:8], "big")
        place = bisect_left(self._numbers, number)
        while place < len(self._numbers) and self._numbers[place] == number:
            start = self._places[place]
            name_length, length, subject = _HEAD.unpack_from(self._content, start)
            start += _HEAD.size
            if self._content[start : start + name_length] == name:
                start += name_length
                return Known(subject, self._content[start : start + length])
            place += 1
        return None

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the names, sorted, with their entries."""
        for place, start in enumerate(self._places):
            name_length, length, _ = _HEAD.unpack_from(self._content, start)
            yield self._name(place), self._content[start : start + _HEAD.size + name_length + length]

    def _name(self, place: int) -> bytes:
        start = self._places[place]
        name_length, _, _ = _HEAD.unpack_from(self._content, start)
        return self._content[start + _HEAD.size : start + _HEAD.size + name_length]


def _entries(known: Mapping[bytes, Known]) -> Iterator[tuple[bytes, bytes]]:
    for name in sorted(known):
        subject, packed = known[name]
        yield name, _HEAD.pack(len(name), len(packed), subject) + name + packed


def _without_repetitions(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    last = None
    for name, entry in entries:
        if name != last:
            yield name, entry
        last = name


def _encode(entries: bytes) -> bytes:
    body = zlib.compress(entries, 1)
    return _FORM + str(Digest.of(body)).encode() + b"\n" + body


def _decode(content: bytes) -> bytes:
    form, (digest, _, body) = content[: len(_FORM)], content[len(_FORM) :].partition(b"\n")
    if form != _FORM or digest.decode("ascii", "replace") != str(Digest.of(body)):
        raise ValueError("its digest is not that of its content")
    return zlib.decompress(body)
