"""Uploads as chains of immutable pieces; nothing here knows HTTP.

An upload that has no bytes, or whose bytes all came with one request and are few, has nothing of its own in
the storage: its ticket says where it stands (``uploadticket.py``). The bytes lie in the place of the blob
that they nearly always become. They are nobody's until a repository links them, as after a push that was
broken off. So the storage writes twice for a small blob, the bytes and the link.

Any other upload exists while its ``startedat`` does. Its newest state, state n, says where it stands. A state
is created once and never changed. It names the pieces, their sizes and, if it is known, the hash of exactly
those bytes; small data lies in the state itself. To continue from state n, a request writes its bytes under a
name of its own and then creates state n + 1. Of two requests that race, one creates it; the other has changed
nothing and removes its piece. No state lives in a process: any worker on any machine can continue.

So that many small requests do not store the same bytes again and again, the request that goes on from state n
empties state n - 1 before it creates state n + 1. Its name stays taken, so that a request that still goes on
from state n - 2 loses its race as before, and a kill at any moment leaves the newest state whole. An upload
never takes more than four times its bytes.

One listing shows the whole upload. A request that loses its race against the upload's end may leave a state
or a piece without ``startedat``, which is not an upload.

An upload that is cancelled leaves ``startedat`` and ``cancelled``: nothing else could tell that its tickets
count no more. Every request with a ticket looks for ``startedat``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain as concatenate
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from cfmiddleware.digest import HEX_LENGTHS, Digest
from cfmiddleware.errors import ObjectExists, ObjectNotFound, StorageError
from cfmiddleware.process.sidebyside import in_turn
from cfmiddleware.storage.driver import Driver

from . import paths
from .uploadticket import Ticket

if TYPE_CHECKING:
    from hashlib import _Hash

_log = logging.getLogger(__name__)

#: How many bytes a state holds itself, for a storage that composes objects of any size.
DEFAULT_INLINE_LIMIT = 1 << 20

# How many objects are composed at a time. An object of S3 has at most 10,000 parts, and each piece is one
# or more of them.
_MOST_SOURCES = 1000

_STARTED = "startedat"

#: The name in an upload's folder that ends it, and that stays for as long as it has URLs.
CANCELLED = "cancelled"

#: The name in an upload's folder that ends it for as long as it is purged.
PURGING = "purging"
_STATE = "state-"
_PIECE = "piece-"
_ALGORITHM = "algorithm-"
# How often an upload is looked at that others continue meanwhile: each time they were two requests faster.
_LOOKS = 10

# What is in the folder of an upload that cannot be continued here: one of Distribution's, or a cancelled one.
_ENDS = {"data", "hashstates/", CANCELLED, PURGING}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class UploadUnknown(Exception):
    """The upload does not exist, or has ended."""


class DigestMismatch(Exception):
    """The bytes do not have the digest."""


class Piece(NamedTuple):
    """An object that holds a part of an upload, by its name in the upload's folder; its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class State:
    """Where an upload stands.

    :param number: its place in the chain; 0 is the state of an upload that has no state object yet. It has no
        bytes, or those of the upload's ticket.
    :param pieces: the objects that hold the bytes, in order.
    :param inline: the bytes after the last piece.
    :param digest: the digest of all the bytes, or None if no process has hashed them all.
    :param algorithm: what the upload is to be hashed with.
    :param follows_bytes: whether the state before it holds bytes itself, which nobody needs any more.
    """

    number: int = 0
    pieces: tuple[Piece, ...] = ()
    inline: bytes = b""
    digest: Digest | None = None
    algorithm: str = "sha256"
    follows_bytes: bool = False

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
            "follows_bytes": self.follows_bytes,
            # No two requests write the same content. So a driver that reads back what it may have created can
            # tell its own state from that of another request with the same bytes.
            "writer": uuid4().hex,
        }
        return json.dumps(head).encode() + b"\n" + self.inline

    @classmethod
    def decode(cls, number: int, algorithm: str, content: bytes) -> State:
        """Read a state object's content.

        :raises ValueError: if it is not a state, or not whole.
        """
        line, newline, inline = content.partition(b"\n")
        try:
            head = json.loads(line)
            pieces = tuple(Piece(str(name), int(size)) for name, size in head["pieces"])
            digest = Digest.parse(head["digest"]) if head["digest"] else None
            size = int(head["size"])
            follows_bytes = head.get("follows_bytes") is True
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("the upload's state cannot be read") from error
        state = cls(number, pieces, inline, digest, algorithm, follows_bytes)
        if not newline or state.size != size:
            raise ValueError("the upload's state is not whole")
        return state


class _Source:
    """Bytes that come in chunks of one size and are taken in chunks of another.

    :param hasher: is updated with every chunk that is taken out of *chunks*.
    """

    def __init__(self, chunks: Iterable[bytes], hasher: _Hash | None) -> None:
        self._chunks = iter(chunks)
        self._hasher = hasher
        self._rest = memoryview(b"")
        self._gathered = bytearray()

    def take(self, most: int) -> memoryview:
        """Return at most *most* of the next bytes, and none at the end."""
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
        # One large block of memory goes back to the system whole; many small ones would not.
        gathered = bytearray()
        while data := self.take(limit + 1 - len(gathered)):
            gathered += data
        self._gathered = gathered
        return len(gathered) > limit

    def release(self) -> bytearray:
        """Return what was gathered, and keep no reference to it, because it may be large."""
        gathered, self._gathered = self._gathered, bytearray()
        return gathered


class Upload:
    """One upload of a repository.

    :param driver: where it is kept.
    :param repository: the repository's name.
    :param uuid: the upload's id; any other text names an upload that does not exist.
    :param inline_limit: how many bytes a state holds itself. Every piece but the last has at least as many,
        so it must not be less than the driver's ``smallest_piece``.
    :param ticket: says where it stands if it is not kept in the storage.
    :param all_of: does several things, side by side where the storage is far away.
    """

    def __init__(
        self,
        driver: Driver,
        repository: str,
        uuid: str,
        inline_limit: int,
        ticket: Ticket | None = None,
        all_of: Callable[..., None] = in_turn,
    ) -> None:
        self.uuid = uuid
        self.ticket = ticket
        #: Whether the storage has something of it, as far as this object knows.
        self.kept = ticket is None
        #: Whether the storage says where it stands: it has a state of it.
        self.chained = ticket is None
        self._driver = driver
        self._folder = paths.upload(repository, uuid)
        self._inline_limit = inline_limit
        self._all = all_of
        # The names in the folder, so that a request that ends the upload lists it only once.
        self._known: set[str] = set()

    def look(self) -> bool:
        """Return whether the storage has something of the upload, or says that it is cancelled."""
        if not self.kept:
            self._check_uuid()
            self.kept = self._has(_STARTED)
        return self.kept

    def _has(self, name: str) -> bool:
        try:
            self._driver.stat(self._folder + name)
        except ObjectNotFound:
            return False
        return True

    def keep(self) -> None:
        """Have the storage know of the upload, before it gets a piece or a state of it."""
        if self.kept or self.ticket is None:
            return
        if self.ticket.algorithm != "sha256":
            marker = _ALGORITHM + self.ticket.algorithm
            self._driver.write(self._folder + marker, b"")
            self._known.add(marker)
        self._write_start(self.ticket.started)
        self._known.add(_STARTED)
        self.kept = True

    def _write_start(self, started: float) -> None:
        # Distribution's purge reads this time and removes the folder a week later.
        text = datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._driver.write(self._folder + _STARTED, text.encode())

    def size(self) -> int:
        """Return how many bytes the upload has.

        :raises UploadUnknown: when it does not exist.
        """
        if self.ticket is not None and not self.look():
            return self.ticket.size
        return self.state().size

    def state(self) -> State:
        """Return where the upload stands.

        :raises UploadUnknown: when it does not exist.
        """
        if self.ticket is not None and not self.look():
            return self._state_in(self.ticket)
        for _ in range(_LOOKS):
            names = self._names()
            algorithm = next((n[len(_ALGORITHM) :] for n in names if n.startswith(_ALGORITHM)), "sha256")
            if algorithm not in HEX_LENGTHS:
                break
            newest = max((name for name in names if name.startswith(_STATE)), default=None)
            if newest is None:
                return State(algorithm=algorithm) if self.ticket is None else self._state_in(self.ticket)
            self.chained = True
            try:
                content = self._driver.read(self._folder + newest)
            except ObjectNotFound:  # the upload ended after it was listed
                break
            if content:
                return State.decode(int(newest[len(_STATE) :]), algorithm, content)
        raise UploadUnknown(self.uuid)

    def _state_in(self, ticket: Ticket) -> State:
        if ticket.digest is None:
            return State(algorithm=ticket.algorithm)
        try:
            content = self._driver.read(paths.blob_data(ticket.digest))
        except ObjectNotFound:  # a garbage collector was faster
            raise UploadUnknown(self.uuid) from None
        return State(inline=content, digest=ticket.digest, algorithm=ticket.algorithm)

    def first_state(self, digest: Digest) -> State | None:
        """Return the first state of the upload if its bytes are those of *digest*, and None otherwise.

        Nearly every upload ends like this. Bytes that have the digest are the blob, whatever other states
        there are, so the states need not be listed to find the newest.
        """
        self._check_uuid()
        name = _name(1)
        try:
            content = self._driver.read(self._folder + name)
        except ObjectNotFound:
            return None
        state = State.decode(1, digest.algorithm, content) if content else None  # or others followed it
        if state is None or state.digest != digest:
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
        if _STARTED not in names or not _ENDS.isdisjoint(names):
            raise UploadUnknown(self.uuid)
        self._known.update(names)
        return names

    def extend(self, state: State, chunks: Iterable[bytes]) -> State:
        """Write *chunks* after what *state* has, and return the state that would have them.

        The new state is not in force yet: :meth:`install` it, use it, or :meth:`discard` it. When *chunks*
        raises, nothing is left behind. At most the inline limit and one chunk are held in memory.
        """
        # A hash object cannot leave its process, so only bytes that come in one request have a known hash.
        hasher = None if state.pieces else hashlib.new(state.algorithm)
        source = _Source(concatenate((state.inline,), chunks), hasher)
        pieces: list[Piece] = []
        try:
            while source.gather(self._inline_limit):
                pieces.append(self._write_piece(source))
        except BaseException:
            self._clean_up(piece.name for piece in pieces)
            raise
        digest = None if hasher is None else Digest(state.algorithm, hasher.hexdigest())
        return State(
            state.number + 1,
            (*state.pieces, *pieces),
            bytes(source.release()),
            digest,
            state.algorithm,
            bool(state.inline and state.number),
        )

    def _write_piece(self, source: _Source) -> Piece:
        """Write what was gathered, and what follows, as a piece of the driver's largest size at the most."""
        self.keep()
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

    def install(self, state: State, before: State) -> None:
        """Put *state*, which goes on from the state *before* it, in force.

        :raises ObjectExists: if another request continued from the same state and was faster.
        :raises UploadUnknown: if the upload has ended meanwhile; then nothing of *state* stays.
        """
        begins = not self.kept
        self.keep()
        written = [_name(before.number - 1)] if before.follows_bytes else []
        for name in written:
            self._driver.write(self._folder + name, b"")
        try:
            self._driver.create(self._folder + _name(state.number), state.encode())
        except ObjectExists:
            if written and not self._is_there():
                self._clean_up(written)
            raise
        self.chained = True
        written.append(_name(state.number))
        self._known.update(written)
        # After a first small chunk this is not checked, unless the upload was there before. Nearly every
        # upload of a small blob has no other request that could end it meanwhile, and at most one state stays
        # behind. Nor is it old enough to be purged.
        if (state.number > 1 or state.pieces or not begins) and not self._is_there():
            self._clean_up([*written, *(p.name for p in state.pieces)])
            raise UploadUnknown(self.uuid)

    def _is_there(self) -> bool:
        try:
            self._names()
        except UploadUnknown:
            return False
        return True

    def put_in_place(self, state: State) -> bool:
        """Put the first bytes of the upload, which are few, in the place of the blob of their digest. From
        then on its ticket says so.

        :return: False if the storage has something of the upload. Then the ticket is as it was, and the
            bytes count for nothing.
        """
        ticket, digest = self.ticket, state.digest
        if ticket is None or digest is None:
            raise ValueError("these are not the first bytes of an upload with a ticket")
        self._all(self.look, partial(self._driver.write, paths.blob_data(digest), state.inline))
        if self.kept:
            return False
        self.ticket = Ticket(int(time.time()), state.algorithm, digest, len(state.inline))
        return True

    def size_in_place(self, digest: Digest) -> int | None:
        """Return how many bytes the upload has if all of them are in the place of the blob *digest*, as its
        ticket says, and None otherwise.

        :raises UploadUnknown: when it was cancelled.
        :raises ObjectNotFound: when the bytes are gone, because a garbage collector was faster.
        """
        if self.ticket is None or self.ticket.digest != digest:
            return None
        self._all(self.look, partial(self._driver.stat, paths.blob_data(digest)))
        if self.kept:
            self._names()
        return self.ticket.size

    def discard(self, state: State, before: State) -> None:
        """Remove what *state*, which did not come into force, wrote beyond the state *before* it."""
        self._clean_up(piece.name for piece in state.pieces if piece not in before.pieces)

    def check(self, state: State, digest: Digest) -> None:
        """Check that the upload's bytes are those of *digest*, reading them back only if their hash is not
        known.

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
        except ObjectNotFound:  # the request that ended the upload did not know what this one added to it
            self._clean_up(path.removeprefix(self._folder) for path in joined)
            raise

    def _join(self, sources: list[str], joined: list[str]) -> str:
        """Compose one piece of *sources*, which stay, add it to *joined*, and return its path."""
        joined.append(self._folder + self._new_piece())
        self._driver.compose(joined[-1], sources)
        return joined[-1]

    def _new_piece(self) -> str:
        name = _PIECE + str(uuid4())
        self._known.add(name)
        return name

    def _clean_up(self, names: Iterable[str]) -> None:
        """Delete what nobody needs any more. That it fails changes nothing about the answer to the client."""
        with self._spared():
            self._driver.delete(self._folder + name for name in names)

    def leave(self) -> None:
        """Remove the upload as :meth:`end` does, after its outcome is settled: that it fails is logged."""
        if self.kept:
            if self._known:
                self._known.add(CANCELLED)  # by a request that came too late
            with self._spared(), contextlib.suppress(UploadUnknown):
                self.end()

    def give_up(self) -> None:
        """Cancel the upload, after its outcome is settled: that it fails is logged."""
        with self._spared(), contextlib.suppress(UploadUnknown):
            self.cancel()

    def cancel(self) -> None:
        """Remove the upload, and have the storage say that its tickets count no more.

        :raises UploadUnknown: when it does not exist.
        """
        if self.look():
            self.end()
        self._write_start(time.time())
        self._driver.write(self._folder + CANCELLED, b"")

    @contextlib.contextmanager
    def _spared(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            _log.warning("something of a finished upload stays in %s: %s", self._folder, error)

    def end(self) -> None:
        """Remove all that the storage has of the upload.

        :raises UploadUnknown: when it does not exist, unless this object has seen it before.
        """
        names = self._known or set(self._names())
        # ``startedat`` goes first, because some storages delete one object at a time.
        self._driver.delete(self._folder + name for name in sorted(names, key=lambda name: name != _STARTED))
        # An upload with pieces may have more of them, finished or not, from requests that were cut off.
        if any(name.startswith(_PIECE) for name in names):
            self._driver.delete_prefix(self._folder)


def _name(number: int) -> str:
    """Return the name of a state in the upload's folder."""
    return f"{_STATE}{number:08d}"
