"""Uploads as chains of immutable pieces; nothing here knows HTTP.

An upload exists while its ``startedat`` does. Where it stands is said by the newest link of its chain, state
n, which is created once and never changed: it names the pieces, their sizes and, where it is known, the hash
of exactly those bytes, and carries small data itself. To go on from state n, a request writes what it brought
under a name of its own and then creates state n + 1. Of two that race one creates it; the other has touched
nothing and throws its piece away. No state lives in a process: any worker on any machine goes on from here.

One listing shows the whole upload. What a request leaves behind that lost its race against the upload's end
is a state or a piece without ``startedat``, which is no upload to anybody.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain as concatenate
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from cfmiddleware.digest import HEX_LENGTHS, Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.storage.driver import Driver

from . import paths

if TYPE_CHECKING:
    from hashlib import _Hash

#: What a state carries itself at most, in bytes, where the storage composes objects of any size.
DEFAULT_INLINE_LIMIT = 1 << 20

# How many objects are put together at a time. An object of S3 has at most 10,000 parts, and each piece is one
# or more of them.
_MOST_SOURCES = 1000

_STARTED = "startedat"
_STATE = "state-"
_PIECE = "piece-"
_ALGORITHM = "algorithm-"
# What Distribution keeps of an upload of its own; we cannot go on with one.
_FOREIGN = {"data", "hashstates/"}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class UploadUnknown(Exception):
    """There is no such upload, or there is none any more."""


class DigestMismatch(Exception):
    """The bytes are not those that the digest names."""


class Piece(NamedTuple):
    """An object that holds a part of an upload, by its name in the upload's folder; its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class State:
    """Where an upload stands.

    :param number: its place in the chain; 0 is an upload that has no bytes yet, and no state object.
    :param pieces: the objects that hold the bytes, in order.
    :param inline: the bytes after the last piece.
    :param digest: the digest of all the bytes, or None where nobody has hashed them in one go.
    :param algorithm: what the upload is to be hashed with.
    """

    number: int = 0
    pieces: tuple[Piece, ...] = ()
    inline: bytes = b""
    digest: Digest | None = None
    algorithm: str = "sha256"

    @property
    def size(self) -> int:
        """How many bytes the upload has."""
        return sum(piece.size for piece in self.pieces) + len(self.inline)

    def encode(self) -> bytes:
        """Return the state object's content: a line of JSON, and the inline bytes as they are."""
        head = {
            "pieces": [list(piece) for piece in self.pieces],
            "size": self.size,
            "digest": str(self.digest) if self.digest else None,
            # No two requests write the same content, so a driver that reads back what it may have created
            # can tell its own state from one of another request with the same bytes.
            "writer": uuid4().hex,
        }
        return json.dumps(head).encode() + b"\n" + self.inline

    @classmethod
    def decode(cls, number: int, algorithm: str, content: bytes) -> State:
        """Read a state object's content.

        :raises ValueError: when it is none, or not whole.
        """
        line, newline, inline = content.partition(b"\n")
        try:
            head = json.loads(line)
            pieces = tuple(Piece(str(name), int(size)) for name, size in head["pieces"])
            digest = Digest.parse(head["digest"]) if head["digest"] else None
            size = int(head["size"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("the upload's state cannot be read") from error
        state = cls(number, pieces, inline, digest, algorithm)
        if not newline or state.size != size:
            raise ValueError("the upload's state is not whole")
        return state


class _Source:
    """Bytes that come in chunks of any size, taken in others.

    :param hasher: learns of every chunk that is taken out of *chunks*.
    """

    def __init__(self, chunks: Iterable[bytes], hasher: _Hash | None) -> None:
        self._chunks = iter(chunks)
        self._hasher = hasher
        self._rest = memoryview(b"")
        self._gathered = bytearray()

    def take(self, most: int) -> memoryview:
        """Return the next bytes, *most* at the most; none at the end, or where none are wanted."""
        while most and not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            if self._hasher is not None:
                self._hasher.update(chunk)
            self._rest = memoryview(chunk)
        taken, self._rest = self._rest[:most], self._rest[most:]
        return taken

    def gather(self, limit: int) -> bool:
        """Gather the next bytes and return whether they are more than *limit*; then it is one more."""
        # One block of memory, which goes back to the system whole, as many small ones would not.
        gathered = bytearray()
        while data := self.take(limit + 1 - len(gathered)):
            gathered += data
        self._gathered = gathered
        return len(gathered) > limit

    def release(self) -> bytearray:
        """Return what was gathered, which nothing here refers to any more: it may be much."""
        gathered, self._gathered = self._gathered, bytearray()
        return gathered


class Upload:
    """One upload of a repository.

    :param driver: where it is kept.
    :param repository: the repository's name.
    :param uuid: the upload's id; anything that is none names an upload that does not exist.
    :param inline_limit: what a state carries itself at most, in bytes. It is also the least that any piece
        but the last has, so it must not lie below the driver's ``smallest_piece``.
    """

    def __init__(self, driver: Driver, repository: str, uuid: str, inline_limit: int) -> None:
        self.uuid = uuid
        self._driver = driver
        self._folder = paths.upload(repository, uuid)
        self._inline_limit = inline_limit
        # What is known to lie in the folder, so that a request that ends the upload lists it only once.
        self._known: set[str] = set()

    @classmethod
    def begin(cls, driver: Driver, repository: str, inline_limit: int, algorithm: str = "sha256") -> Upload:
        """Begin an upload that is to be hashed with *algorithm*."""
        upload = cls(driver, repository, str(uuid4()), inline_limit)
        if algorithm != "sha256":
            driver.write(f"{upload._folder}{_ALGORITHM}{algorithm}", b"")
        # Distribution's purge reads this time and removes the folder a week later.
        started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        driver.write(upload._folder + _STARTED, started.encode())
        return upload

    def state(self) -> State:
        """Return where the upload stands.

        :raises UploadUnknown: when it does not exist.
        """
        names = self._names()
        algorithm = next((name[len(_ALGORITHM) :] for name in names if name.startswith(_ALGORITHM)), "sha256")
        if algorithm not in HEX_LENGTHS:
            raise UploadUnknown(self.uuid)
        newest = max((name for name in names if name.startswith(_STATE)), default=None)
        if newest is None:
            return State(algorithm=algorithm)
        try:
            content = self._driver.read(self._folder + newest)
        except ObjectNotFound:  # it ended since it was listed
            raise UploadUnknown(self.uuid) from None
        return State.decode(int(newest[len(_STATE) :]), algorithm, content)

    def first_state(self, digest: Digest) -> State | None:
        """Return the first state of the upload if its bytes are those of *digest*, and None otherwise.

        Nearly every upload ends like this. Bytes that the digest names are the blob whatever else there may
        be, so the states need not be listed to learn whether this one is the newest.
        """
        self._check_uuid()
        name = f"{_STATE}{1:08d}"
        try:
            state = State.decode(1, digest.algorithm, self._driver.read(self._folder + name))
        except ObjectNotFound:
            return None
        if state.digest != digest:
            return None
        self._known.update((_STARTED, name, *(piece.name for piece in state.pieces)))
        if digest.algorithm != "sha256":
            self._known.add(_ALGORITHM + digest.algorithm)
        return state

    def _check_uuid(self) -> None:
        if not _UUID.fullmatch(self.uuid):
            raise UploadUnknown(self.uuid)

    def _names(self) -> list[str]:
        self._check_uuid()
        names = self._driver.list(self._folder)
        if _STARTED not in names or not _FOREIGN.isdisjoint(names):
            raise UploadUnknown(self.uuid)
        self._known.update(names)
        return names

    def extend(self, state: State, chunks: Iterable[bytes]) -> State:
        """Write *chunks* after what *state* has, and return the state that would have them.

        Nothing is in force yet: :meth:`install` the new state, use it, or :meth:`discard` it. When *chunks*
        raises, nothing is left behind. At most the inline limit and one chunk are held in memory.
        """
        # Hash objects cannot leave their process, so only bytes that come in one go have a known hash.
        hasher = None if state.pieces else hashlib.new(state.algorithm)
        source = _Source(concatenate((state.inline,), chunks), hasher)
        pieces: list[Piece] = []
        try:
            while source.gather(self._inline_limit):
                pieces.append(self._write_piece(source))
        except BaseException:
            self._driver.delete(self._folder + piece.name for piece in pieces)
            raise
        digest = None if hasher is None else Digest(state.algorithm, hasher.hexdigest())
        return State(
            state.number + 1, (*state.pieces, *pieces), bytes(source.release()), digest, state.algorithm
        )

    def _write_piece(self, source: _Source) -> Piece:
        """Write what was gathered, and what follows, as a piece of the driver's largest size at the most."""
        name = self._new_piece()
        with self._driver.writer(self._folder + name) as writer:
            writer.write(source.release())
            while data := source.take(self._room(writer.size)):
                writer.write(data)
            writer.commit()
        return Piece(name, writer.size)

    def _room(self, size: int) -> int:
        most = self._driver.largest_piece
        return most - size if most else sys.maxsize

    def install(self, state: State) -> None:
        """Make *state* what the upload is at.

        :raises ObjectExists: when another request went on from the same state and was faster.
        :raises UploadUnknown: when the upload has ended meanwhile; then nothing of *state* stays.
        """
        name = f"{_STATE}{state.number:08d}"
        self._driver.create(self._folder + name, state.encode())
        self._known.add(name)
        # A first small chunk is spared the look: nearly every upload of a small blob has no other request
        # that could end it meanwhile, and what may stay behind is one state.
        if (state.number > 1 or state.pieces) and not self._is_there():
            self._driver.delete(self._folder + left for left in [name, *(p.name for p in state.pieces)])
            raise UploadUnknown(self.uuid)

    def _is_there(self) -> bool:
        try:
            self._driver.stat(self._folder + _STARTED)
        except ObjectNotFound:
            return False
        return True

    def discard(self, state: State, before: State) -> None:
        """Remove what *state*, which did not come into force, wrote beyond the state *before* it."""
        self._driver.delete(self._folder + piece.name for piece in state.pieces if piece not in before.pieces)

    def check(self, state: State, digest: Digest) -> None:
        """Check that the upload's bytes are those of *digest*, reading them back only if nobody hashed them.

        :raises DigestMismatch: when they are not.
        :raises ObjectNotFound: when a piece is gone, because the upload ended meanwhile.
        """
        if state.digest is None or state.digest.algorithm != digest.algorithm:
            known = self._hash(state, digest)
        else:
            known = state.digest
        if known != digest:
            raise DigestMismatch(f"the bytes sent are {known}")

    def _hash(self, state: State, digest: Digest) -> Digest:
        hasher = digest.hasher()
        for piece in state.pieces:
            with contextlib.closing(self._driver.open(self._folder + piece.name)) as reader:
                for chunk in reader:
                    hasher.update(chunk)
        hasher.update(state.inline)
        return Digest(digest.algorithm, hasher.hexdigest())

    def assemble(self, state: State, path: str) -> None:
        """Put the upload's bytes at *path*, server-side as far as the storage can.

        :raises ObjectNotFound: when a piece is gone, because the upload ended meanwhile.
        """
        if not state.pieces:
            self._driver.write(path, state.inline)
            return
        sources = [self._folder + piece.name for piece in state.pieces]
        joined: list[str] = []
        try:
            if state.inline:
                sources.append(self._folder + self._new_piece())
                joined.append(sources[-1])
                self._driver.write(sources[-1], state.inline)
            while len(sources) > _MOST_SOURCES:
                sources = [
                    self._join(sources[first : first + _MOST_SOURCES], joined)
                    for first in range(0, len(sources), _MOST_SOURCES)
                ]
            self._driver.compose(path, sources)
        except ObjectNotFound:  # whoever ended the upload did not know of what we added to it
            self._driver.delete(joined)
            raise

    def _join(self, sources: list[str], joined: list[str]) -> str:
        """Make one piece of *sources*, which stay, note it in *joined*, and return where it is."""
        joined.append(self._folder + self._new_piece())
        self._driver.compose(joined[-1], sources)
        return joined[-1]

    def _new_piece(self) -> str:
        name = _PIECE + str(uuid4())
        self._known.add(name)
        return name

    def end(self) -> None:
        """Remove the upload, whether it was completed or cancelled.

        :raises UploadUnknown: when it does not exist, unless this object has seen it before.
        """
        names = self._known or set(self._names())
        # What makes it an upload goes first, for those storages that delete one by one.
        self._driver.delete(self._folder + name for name in sorted(names, key=lambda name: name != _STARTED))
        # Where there were pieces there may be more of them, finished or not, of requests that were cut off.
        if any(name.startswith(_PIECE) for name in names):
            self._driver.delete_prefix(self._folder)
