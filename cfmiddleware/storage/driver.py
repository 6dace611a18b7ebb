"""What the registry and the edge ask of every storage.

Paths are logical: ``/docker/registry/v2/...``, beginning with a slash, with no empty, ``.`` or ``..``
segment. The bucket and the root directory in it belong to the driver. A *prefix* is a path that ends in a
slash. An object becomes visible whole or not at all.

Every method may raise :class:`~cfmiddleware.errors.StorageUnavailable`; what else a method raises stands in
its docstring. Drivers are safe to share between threads, and are built before a fork without opening
connections or starting threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from .requestmeter import RequestMeter

#: The bytes of a reader's chunk. A server holds one for as long as its client does not read, and thousands
#: of clients may not.
CHUNK = 1 << 16

#: The most bytes of a chunk, where a reader knows that few are held.
LARGEST_CHUNK = 1 << 18

#: What a writer takes.
Bytes = bytes | bytearray | memoryview


class Stat(NamedTuple):
    """What is known of an object: its size in bytes and the time of its last change in Unix seconds."""

    size: int
    modified: float


class Unfinished(NamedTuple):
    """An object that somebody has begun to write and not finished: parts of it, or a temporary file.

    :param name: what it is, for people: the path of the object that it would be, or the temporary file.
    :param size: how many bytes of it there are, as far as they were counted.
    :param touched: when the last of them came, in Unix seconds by the storage's clock.
    :param folder: what :func:`folder_mark` returns for the folder that the object would be in; empty if
        nobody knows.
    :param handle: what the driver finds it by.
    """

    name: str
    size: int
    touched: float
    folder: str
    handle: tuple[str, ...]


def folder_mark(path: str) -> str:
    """Return a short text that stands for the folder of the object at *path*."""
    return fingerprint(path.rpartition("/")[0])


class Reader(Protocol):
    """An object's bytes, as they were when the reader was opened, in chunks of :data:`CHUNK`, or of up to
    :data:`LARGEST_CHUNK` where few clients hold one.

    Nothing is read ahead of the chunk that is asked for, but for what the system buffers.

    One thread at a time uses a reader, and not always the same one. An object that is replaced meanwhile
    gives its old bytes, or :class:`~cfmiddleware.errors.StorageUnavailable`, and never a mixture.

    ``close`` gives back what the reader holds. The caller that opened the reader calls it, also after the
    end. It may be called at any time and more than once.
    """

    #: How many bytes there are to read in all, known when the reader is opened.
    size: int

    def __iter__(self) -> Iterator[bytes]: ...

    def __next__(self) -> bytes: ...

    def close(self) -> None:
        """Give back what the reader holds."""


class Writer(Protocol):
    """An object being written. It appears at its path with ``commit`` and not before.

    As a context manager, a writer aborts on leaving the block unless it was committed.
    """

    #: Bytes taken so far.
    size: int

    def write(self, data: Bytes) -> None:
        """Take *data*, of any length; it may change afterwards."""

    def commit(self) -> None:
        """Make the object visible, replacing what may be at its path, durably, before returning."""

    def abort(self) -> None:
        """Forget the object and leave nothing behind. Harmless after ``commit`` and when repeated."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Presigner(Protocol):
    """Signs URLs under which anybody can GET one object of a bucket until they expire."""

    #: The bucket's name.
    bucket: str

    def __call__(self, key: str, expires: int) -> tuple[str, int]:
        """Return a URL and when it expires, which is not later than *expires*.

        :param key: the whole key, without a slash in front.
        :param expires: Unix time in seconds.
        """
        ...


class Driver(Protocol):
    """A place for objects."""

    #: The name of the driver in a configuration file.
    name: str

    #: Objects shorter than this, in bytes, cannot be composed without reading them back, but for the last
    #: (S3's smallest part). Zero if any object can.
    smallest_piece: int

    #: How many bytes one writer takes; zero if there is no limit (S3's parts are 10,000 at the most).
    largest_piece: int

    #: Whether keys are those of the bucket, with the root directory in front. If they are not, the operator
    #: of CloudFront says which directory of a bucket this is.
    in_bucket: bool

    #: Whether one process sees what another one stores.
    shared: bool

    #: Whether requests wait for a network, so that several are made side by side where their order does not
    #: matter.
    remote: bool

    @classmethod
    def from_options(cls, given: Mapping[str, object], where: str, here: Path) -> Self:
        """Return a driver with the options that a configuration gives; nothing is connected to or opened.

        :param given: the options by their names; values are YAML's, or text.
        :param where: the place of the options, for messages, such as ``storage.s3``.
        :param here: the directory that relative paths are relative to.
        :raises ConfigError: for an unknown option or a value that cannot work; the line begins with *where*,
            a dot and the option's name.
        """

    @property
    def presigner(self) -> Presigner | None:
        """What signs URLs of the bucket for clients near it, or None if the storage has no such URLs."""

    def metered(self, meter: RequestMeter) -> Self:
        """Return a driver of the same place for work that has time: every request that it makes to a server
        passes through *meter*. One that makes none returns itself.
        """

    def identity(self) -> str:
        """Return a short text that tells this place from all others. It is the same in every process that
        uses the place, so that what is remembered of one registry is not used for another.
        """

    def describe(self) -> str:
        """Return where the objects are, for people."""

    def key(self, path: str) -> str:
        """Return the whole key, without a slash in front, that the object at *path* has in its bucket."""

    def check(self) -> None:
        """Check, once at start-up and with one cheap request, that the storage can be used as configured.

        :raises ConfigError: when it cannot; the line names the option at fault.
        :raises StorageNotReached: when nobody is there, who may come later.
        """

    def preload(self) -> None:
        """Load the libraries that requests need, in the process that forks those that serve: they share the
        memory. Nothing is connected to, and nothing is made that must not cross a fork.
        """

    def prepare(self) -> None:
        """Make in this process what its first request would have to make. Nothing of the storage is asked.

        :raises Exception: when that fails; the first request then fails in the same way, and is answered.
        """

    def check_writes(self) -> Sequence[str]:
        """Check, once at start-up, that objects can be written as the registry writes them, and return a line
        for each thing that cannot be done and that the registry can do without.

        :raises ConfigError: for what it is told not to do without.
        :raises StorageNotReached: when nobody is there, who may come later.
        """

    def stat(self, path: str) -> Stat:
        """Return what is known of the object at *path*.

        :raises ObjectNotFound: when there is none, also where *path* is only the prefix of others.
        """

    def open(self, path: str, offset: int = 0, length: int | None = None) -> Reader:
        """Open the object at *path* for reading, from *offset*, for *length* bytes at the most.

        :raises ObjectNotFound: at once, not with the first chunk.
        """

    def read(self, path: str) -> bytes:
        """Return a small object whole.

        :raises ObjectNotFound: when there is none.
        """

    def write(self, path: str, content: bytes) -> None:
        """Put a small object at *path*, replacing what may be there."""

    def create(self, path: str, content: bytes) -> None:
        """Put a small object at *path* only if none is there, atomically: of many calls that race, one wins.

        :raises ObjectExists: when there is one; it is untouched.
        """

    def writer(self, path: str) -> Writer:
        """Begin an object at *path* of any size, in memory bounded by the driver."""

    def compose(self, path: str, sources: Sequence[str]) -> None:
        """Put the contents of *sources*, in their order, at *path*, without passing the bytes through this
        process if the storage can do that. The sources stay.

        :raises ObjectNotFound: when a source is not there; then nothing appears at *path*.
        """

    def list(self, prefix: str, *, hollow: Callable[[str], bool] | None = None) -> list[str]:
        """Return the names directly below *prefix*, all of them, sorted by name.

        A name that is itself a prefix ends in a slash (which does not count for the order, so that ``v1/``
        comes before ``v1-alpine/``). An empty list if nothing is below.

        :param hollow: tells for a name that ends in a slash whether it may be listed without an object below
            it, as a directory may be. A caller that lists what is below anyhow saves the driver from looking
            there for the first object.
        """

    def walk(self, prefix: str, *, odd: Callable[[str], object] | None = None) -> Iterator[tuple[str, Stat]]:
        """Yield the path and the stat of every object below *prefix*, however deep, in no special order.

        The caller may write and delete below *prefix* meanwhile; what that changes may be yielded or not.

        :param odd: is told of every object of a bucket whose key is not a path, and that is not yielded
            therefore: a slash and the key. Folders that a console has made are left out.
        """

    def delete(self, paths: Iterable[str]) -> None:
        """Delete the objects at *paths*; those that are not there count as deleted.

        :raises NotDeleted: when some are left, which it names; the others are deleted.
        """

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object below *prefix*."""

    def unfinished(self, prefix: str, before: float) -> Iterator[Unfinished]:
        """Yield the objects below *prefix* that somebody has begun to write and not finished. A driver that
        does not know what they would be yields those of other prefixes as well.

        :param before: for what was begun after this time, in Unix seconds, ``touched`` may be the time when
            it was begun.
        """

    def discard(self, unfinished: Unfinished) -> None:
        """Forget what somebody has begun to write. Whoever still does so fails."""


def fingerprint(*parts: str) -> str:
    """Return a short text that stands for the *parts*, for :meth:`Driver.identity`."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
