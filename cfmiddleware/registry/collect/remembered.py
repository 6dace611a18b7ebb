"""What manifests refer to, kept in the storage from one collection to the next.

A manifest never changes, so each is read once in its life. What was found is kept in few objects, each with
the digest of its content at its head. One that is damaged is passed over, and its manifests are read again.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from uuid import uuid4

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .fingerprints import fingerprint_of, pack, unpack
from .references import References

_log = logging.getLogger(__name__)

# With more objects than this, a collection joins them into one.
_MOST_OBJECTS = 8

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
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        # By the whole digest: who can make two manifests with one number must not lose the second one's.
        self._known: dict[bytes, Known] = {}
        self._new: dict[bytes, Known] = {}
        self._objects: list[str] = []

    def load(self) -> None:
        """Read what earlier collections have kept."""
        for name in self._driver.list(paths.REMEMBERED):
            path = paths.REMEMBERED + name
            try:
                content = self._driver.read(path)
                self._known.update(_decode(content))
            except ObjectNotFound:  # another collection has joined it with others
                continue
            except ValueError as error:
                _log.warning("%s is damaged (%s); its manifests are read again", path, error)
            self._objects.append(path)

    def get(self, manifest: Digest) -> Known | None:
        """Return what is known of a manifest, or None if it has to be read."""
        return self._known.get(bytes.fromhex(manifest.hex))

    def put(self, manifest: Digest, known: Known) -> None:
        """Remember what a manifest refers to."""
        name = bytes.fromhex(manifest.hex)
        self._known[name] = self._new[name] = known

    def save(self) -> None:
        """Keep what is new for later collections."""
        if not self._new:
            return
        joined = len(self._objects) >= _MOST_OBJECTS
        path = f"{paths.REMEMBERED}{uuid4()}"
        self._driver.write(path, _encode(self._known if joined else self._new))
        if joined:
            self._driver.delete(self._objects)
            self._objects = []
        self._objects.append(path)
        self._new = {}


def _encode(known: Mapping[bytes, Known]) -> bytes:
    body = zlib.compress(b"".join(_entries(known)), 1)
    return _FORM + str(Digest.of(body)).encode() + b"\n" + body


def _entries(known: Mapping[bytes, Known]) -> Iterator[bytes]:
    for manifest, (subject, packed) in known.items():
        yield _HEAD.pack(len(manifest), len(packed), subject) + manifest + packed


def _decode(content: bytes) -> Iterator[tuple[bytes, Known]]:
    form, (digest, _, body) = content[: len(_FORM)], content[len(_FORM) :].partition(b"\n")
    if form != _FORM or digest.decode("ascii", "replace") != str(Digest.of(body)):
        raise ValueError("its digest is not that of its content")
    entries = zlib.decompress(body)
    place = 0
    while place < len(entries):
        name_length, length, subject = _HEAD.unpack_from(entries, place)
        name = place + _HEAD.size
        packed = name + name_length
        place = packed + length
        yield entries[name:packed], Known(subject, entries[packed:place])
