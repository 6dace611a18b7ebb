"""A storage in this process's memory, for tests and for trying things out. It ends with the process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Self

from cfmiddleware.errors import ObjectExists, ObjectNotFound
from cfmiddleware.parse import read

from .driver import CHUNK, Bytes, Stat, Unfinished
from .pathcheck import check_path, check_prefix, check_range, clean_root, root_option, sort_names
from .writer import SingleUseWriter

if TYPE_CHECKING:
    from .requestmeter import RequestMeter


class MemoryDriver:
    """Objects in a dictionary of the process that made it; workers do not see each other's.

    :param rootdirectory: the directory in front of every key, as in a bucket.
    """

    name = "inmemory"
    smallest_piece = 0
    largest_piece = 0
    shared = False
    remote = False
    presigner = None

    def __init__(self, rootdirectory: str = "") -> None:
        self._root = clean_root(rootdirectory)
        self.in_bucket = bool(self._root)
        self._lock = Lock()
        self._identity = secrets.token_hex(8)
        self._objects: dict[str, tuple[bytes, float]] = {}

    @classmethod
    def from_options(cls, given: Mapping[str, object], where: str, here: Path) -> Self:
        """Return a storage with a root directory, if one is given."""
        return cls(**read(given, {"rootdirectory": root_option}, f"{where}."))

    def metered(self, meter: RequestMeter) -> Self:
        """Return this driver, which makes no requests."""
        return self

    def identity(self) -> str:
        """Return a text that no other storage has: this one ends with the process, and no other process sees
        it.
        """
        return self._identity

    def describe(self) -> str:
        """Return where the objects are."""
        return "in memory: it is gone when the server stops; each worker has its own"

    def key(self, path: str) -> str:
        """Return the key that the object at *path* would have in a bucket."""
        return (self._root + check_path(path)).removeprefix("/")

    def check(self) -> None:
        """Do nothing, because memory can always be used."""

    def preload(self) -> None:
        """Do nothing, because nothing else is needed."""

    def prepare(self) -> None:
        """Do nothing, because nothing else is needed."""

    def check_writes(self) -> Sequence[str]:
        """Return nothing, because memory can always be written to."""
        return ()

    def stat(self, path: str) -> Stat:
        """Return the size and the time of the object at *path*."""
        content, modified = self._get(path)
        return Stat(len(content), modified)

    def open(self, path: str, offset: int = 0, length: int | None = None) -> MemoryReader:
        """Open the object at *path*; a later change of it does not show."""
        check_range(offset, length)
        content = self._get(path)[0]
        end = len(content) if length is None else min(len(content), offset + length)
        return MemoryReader(content, offset, end)

    def read(self, path: str) -> bytes:
        """Return the object at *path*."""
        return self._get(path)[0]

    def write(self, path: str, content: bytes) -> None:
        """Put *content* at *path*."""
        self._put(path, content)

    def create(self, path: str, content: bytes) -> None:
        """Put *content* at *path* if nothing is there."""
        entry = (bytes(content), time.time())
        with self._lock:
            if self._objects.setdefault(check_path(path), entry) is not entry:
                raise ObjectExists(path)

    def writer(self, path: str) -> MemoryWriter:
        """Begin an object at *path*."""
        return MemoryWriter(self, check_path(path))

    def compose(self, path: str, sources: Sequence[str]) -> None:
        """Put the contents of *sources* at *path*."""
        self._put(path, b"".join([self._get(source)[0] for source in sources]))

    def list(self, prefix: str, *, hollow: Callable[[str], bool] | None = None) -> list[str]:
        """Return the names directly below *prefix*, each of an object or with an object below."""
        start = len(check_prefix(prefix))
        names = set()
        for path in self._below(prefix):
            name, slash, _ = path[start:].partition("/")
            names.add(name + slash)
        return sort_names(names)

    def walk(self, prefix: str, *, odd: Callable[[str], object] | None = None) -> Iterator[tuple[str, Stat]]:
        """Yield every object that was below *prefix* when the walk began."""
        check_prefix(prefix)
        with self._lock:
            found = [(path, entry) for path, entry in self._objects.items() if path.startswith(prefix)]
        for path, (content, modified) in found:
            yield path, Stat(len(content), modified)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete the objects at *paths*."""
        checked = [check_path(path) for path in paths]
        with self._lock:
            for path in checked:
                self._objects.pop(path, None)

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object below *prefix*."""
        self.delete(self._below(check_prefix(prefix)))

    def unfinished(self, prefix: str, before: float) -> Iterator[Unfinished]:
        """Yield nothing: what is being written ends with whoever writes it."""
        check_prefix(prefix)
        yield from ()

    def discard(self, unfinished: Unfinished) -> None:
        """Do nothing, because there is nothing."""

    def _get(self, path: str) -> tuple[bytes, float]:
        entry = self._objects.get(check_path(path))
        if entry is None:
            raise ObjectNotFound(path)
        return entry

    def _put(self, path: str, content: bytes) -> None:
        entry = (bytes(content), time.time())
        with self._lock:
            self._objects[check_path(path)] = entry

    def _below(self, prefix: str) -> Sequence[str]:
        with self._lock:
            return [path for path in self._objects if path.startswith(prefix)]


class MemoryReader:
    """A part of one object's bytes."""

    def __init__(self, content: bytes, start: int, end: int) -> None:
        self._content = content
        self._position = start
        self._end = end
        self.size = max(0, end - start)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        start, end = self._position, min(self._position + CHUNK, self._end)
        if start >= end:
            raise StopIteration
        self._position = end
        return self._content[start:end]

    def close(self) -> None:
        """Release the bytes."""
        self._content = b""
        self._end = 0


class MemoryWriter(SingleUseWriter):
    """An object that waits outside the dictionary until it is committed."""

    def __init__(self, driver: MemoryDriver, path: str) -> None:
        super().__init__()
        self._driver = driver
        self._path = path
        self._chunks: list[bytes] = []

    def _write(self, data: Bytes) -> None:
        self._chunks.append(bytes(data))

    def _commit(self) -> None:
        self._driver.write(self._path, b"".join(self._chunks))
        self._chunks.clear()

    def _abort(self) -> None:
        self._chunks.clear()
