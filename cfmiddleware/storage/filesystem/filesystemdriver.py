"""A directory as the storage, laid out as Distribution's own filesystem driver does it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Self

from cfmiddleware.errors import (
    ConfigError,
    ObjectExists,
    ObjectNotFound,
    StorageFull,
    StorageReadOnly,
    StorageRefused,
    StorageUnavailable,
)
from cfmiddleware.parse import options
from cfmiddleware.process.waiting import in_turns, let_others_go
from cfmiddleware.storage.driver import CHUNK, Bytes, Stat, Unfinished, fingerprint, folder_mark
from cfmiddleware.storage.pathcheck import InvalidPath, check_path, check_prefix, check_range, sort_names
from cfmiddleware.storage.writer import SingleUseWriter

from . import durable
from .filesystemoptions import FilesystemOptions

if TYPE_CHECKING:
    from cfmiddleware.storage.requestmeter import RequestMeter

# The errors of the system that mean that there is no object: no file, a path below a file, a directory, a
# name that no file can have.
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG))

# The errors that mean that a file cannot have a second name: across filesystems, too many names, a filesystem
# without links, a file of another user.
_UNLINKABLE = frozenset((errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS))

# What the system's errors mean, and what can be done about them.
_KINDS: Mapping[int, tuple[type[StorageUnavailable], str]] = {
    errno.ENOSPC: (StorageFull, "; make room on the disk"),
    errno.EDQUOT: (StorageFull, "; make room, or raise the quota"),
    errno.EROFS: (StorageReadOnly, "; mount the disk for writing"),
    errno.EACCES: (StorageRefused, ""),
    errno.EPERM: (StorageRefused, ""),
}


class FilesystemDriver:
    """Objects as files below a directory, which stands for the bucket.

    Files appear by an atomic rename, or link where they must not be there yet, after they were synced;
    several processes may use one directory. The directory must lie on one filesystem, one that has hard
    links. Nothing is made or opened before the first write.

    :param rootdirectory: the directory that holds ``docker/``.
    :param where: the place of the options in the configuration, for messages.
    """

    name = "filesystem"
    smallest_piece = 0
    largest_piece = 0
    shared = True
    remote = False
    presigner = None
    in_bucket = False

    def __init__(self, rootdirectory: str | os.PathLike[str], *, where: str = "storage.filesystem") -> None:
        self._root = os.path.abspath(rootdirectory).rstrip("/")
        self._where = where
        self._temporary = durable.TemporaryFiles(self._root + "/")

    @classmethod
    def from_options(cls, given: Mapping[str, object], where: str, here: Path) -> Self:
        """Return the directory that is given, or Distribution's default."""
        return cls(here / options(FilesystemOptions, given, where).rootdirectory, where=where)

    def metered(self, meter: RequestMeter) -> Self:
        """Return this driver, which makes no requests."""
        return self

    def identity(self) -> str:
        """Return a text that stands for the directory, without links on the way to it."""
        root = self._root or "/"
        with suppress(OSError, ValueError):  # the check at the start says what is wrong with it
            root = os.path.realpath(root)
        return fingerprint(self.name, root)

    def describe(self) -> str:
        """Return the directory."""
        return self._root or "/"

    def key(self, path: str) -> str:
        """Return *path* without its first slash."""
        return check_path(path)[1:]

    def check(self) -> None:
        """Check that the directory can be written to, and make it if it is missing.

        :raises ConfigError: if it cannot, or has no hard links.
        """
        try:
            file = self._temporary.open()
            second = f"{file.name}-link"
            try:
                os.link(file.name, second)
            finally:
                file.close()
                durable.discard(second)
                durable.discard(file.name)
        except OSError as error:
            problem = (
                "cannot link files in" if error.errno in _UNLINKABLE and error.filename2 else "cannot use"
            )
            raise ConfigError(
                f"{self._where}.rootdirectory: {problem} {self._root or '/'}: {error.strerror}"
            ) from error

    def preload(self) -> None:
        """Do nothing, because nothing else is needed."""

    def prepare(self) -> None:
        """Do nothing, because nothing else is needed."""

    def check_writes(self) -> Sequence[str]:
        """Return nothing: that files can be written and linked has been checked."""
        return ()

    def stat(self, path: str) -> Stat:
        """Return the size and the time of the object at *path*."""
        with _errors("look at", path):
            found = os.stat(self._file(path))
        if not S_ISREG(found.st_mode):
            raise ObjectNotFound(path)
        return Stat(found.st_size, found.st_mtime)

    def open(self, path: str, offset: int = 0, length: int | None = None) -> FileReader:
        """Open the object at *path*; it can be read to its end even if it is deleted meanwhile."""
        check_range(offset, length)
        with _errors("open", path):
            file = FileIO(self._file(path), "rb")
            if offset:
                file.seek(offset)
            rest = max(0, os.fstat(file.fileno()).st_size - offset)
        return FileReader(path, file, rest if length is None else min(rest, length))

    def read(self, path: str) -> bytes:
        """Return the object at *path*."""
        with _errors("read", path), FileIO(self._file(path), "rb") as file:
            return file.readall() or b""

    def write(self, path: str, content: bytes) -> None:
        """Put *content* at *path*."""
        with self.writer(path) as writer:
            writer.write(content)
            writer.commit()

    def create(self, path: str, content: bytes) -> None:
        """Put *content* at *path* if nothing is there, for all processes atomically."""
        target = self._file(path)
        with _errors("write", path, absent=False):
            file = self._temporary.open()
            try:
                with file:
                    durable.write_all(file, content)
                    os.fsync(file.fileno())
                durable.link(str(file.name), target)
            except FileExistsError:
                raise ObjectExists(path) from None
            finally:
                durable.discard(str(file.name))

    def writer(self, path: str) -> FileWriter:
        """Begin an object at *path*, in a temporary file."""
        target = self._file(path)
        with _errors("write", path, absent=False):
            return FileWriter(path, self._temporary.open(folder_mark(path)), target)

    def compose(self, path: str, sources: Sequence[str]) -> None:
        """Put the contents of *sources* at *path*: a single one as a hard link, which copies nothing."""
        if len(sources) == 1 and self._link(path, sources[0]):
            return
        with self.writer(path) as writer:
            for source in sources:
                with _errors("read", source):
                    file = FileIO(self._file(source), "rb")
                with file:
                    writer.append(file)
            writer.commit()

    def list(self, prefix: str, *, hollow: Callable[[str], bool] | None = None) -> list[str]:
        """Return the names directly below *prefix*; directories without any file only where *hollow* says
        so.
        """
        names = []
        with _errors("list", prefix):
            for entry in in_turns(self._scan(self._directory(prefix))):
                name = entry.name + "/" * entry.is_dir()
                if not name.endswith("/") or (hollow and hollow(name)) or self._holds_file(entry.path):
                    names.append(name)
        return sort_names(names)

    def walk(self, prefix: str, *, odd: Callable[[str], object] | None = None) -> Iterator[tuple[str, Stat]]:
        """Yield every object below *prefix*; of those that come or go meanwhile, some may be missing. A file
        with a name that no path has is yielded as well.
        """
        return in_turns(self._walk(prefix))

    def _walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        directories = [self._directory(prefix)]
        while directories:
            found = []
            with _errors("list", prefix):
                for entry in self._scan(directories.pop()):
                    if entry.is_dir():
                        directories.append(entry.path)
                        continue
                    with suppress(FileNotFoundError):
                        stat = entry.stat()
                        found.append((entry.path[len(self._root) :], Stat(stat.st_size, stat.st_mtime)))
            yield from found

    def delete(self, paths: Iterable[str]) -> None:
        """Delete the objects at *paths*, and the directories that this leaves empty."""
        parents = set()
        for path in paths:
            let_others_go()  # it takes milliseconds, and there may be thousands
            file = self._file(path)
            with _errors("delete", path):
                try:
                    os.unlink(file)
                except OSError as error:
                    if error.errno not in _ABSENT:
                        raise
                    continue
            parents.add(os.path.dirname(file))
        for parent in sorted(parents, key=len, reverse=True):
            durable.prune(parent, self._root + "/")

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object below *prefix*, and the directories as well."""
        top = self._directory(prefix)
        self.delete([path for path, _ in self.walk(prefix)])
        for directory, _, _ in os.walk(top, topdown=False):
            if directory != self._temporary.directory:
                durable.prune(directory, self._root + "/")

    def unfinished(self, prefix: str, before: float) -> Iterator[Unfinished]:
        """Yield the temporary files, whatever they would become."""
        check_prefix(prefix)
        with _errors("list", f"/{durable.TEMPORARY}/", absent=False):
            for file, mark, stat in self._temporary.all():
                # The inode's own time as well, which linking changes: a second name of an old object is new.
                touched = max(stat.st_mtime, stat.st_ctime)
                yield Unfinished(file[len(self._root) :], stat.st_size, touched, mark, (file,))

    def discard(self, unfinished: Unfinished) -> None:
        """Remove a temporary file."""
        with _errors("delete", unfinished.name), suppress(FileNotFoundError):
            os.unlink(*unfinished.handle)

    def _file(self, path: str) -> str:
        if check_path(path).startswith(f"/{durable.TEMPORARY}/") or path == f"/{durable.TEMPORARY}":
            raise InvalidPath(f"{path[:200]!r} is not a path of an object: unfinished files lie there")
        return self._root + path

    def _directory(self, prefix: str) -> str:
        check_prefix(prefix)
        return self._root + "/" if prefix == "/" else self._file(prefix[:-1])

    def _scan(self, directory: str) -> Sequence[os.DirEntry[str]]:
        """Return what lies in *directory*, which may be gone, but for the unfinished files of the root."""
        try:
            with os.scandir(directory) as entries:
                found = [*entries]
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return []
        if directory == self._root + "/":
            return [entry for entry in found if entry.name != durable.TEMPORARY]
        return found

    def _holds_file(self, directory: str) -> bool:
        entries = self._scan(directory)
        # The cheap question first: most directories hold a file, or lead to one straight on.
        return any(not entry.is_dir() for entry in entries) or any(
            self._holds_file(entry.path) for entry in entries
        )

    def _link(self, path: str, source: str) -> bool:
        """Make *path* a second name of the file at *source*, or return False where that cannot be."""
        self.stat(source)
        file, target = self._file(source), self._file(path)
        try:
            # The new object is as new as its name. Nobody but its owner may say so, which harms nothing.
            with suppress(PermissionError):
                os.utime(file)
            try:
                durable.link(file, target)
            except FileExistsError:
                second = self._temporary.name()
                os.link(file, second)
                try:
                    durable.rename(second, target)
                finally:
                    # Where both are names of one file already, renaming does nothing and leaves both.
                    durable.discard(second)
        except FileNotFoundError:
            raise ObjectNotFound(source) from None
        except OSError as error:
            if error.errno in _UNLINKABLE:
                return False
            raise _unavailable("write", path, error) from error
        return True


class FileReader:
    """A part of an open file."""

    def __init__(self, path: str, file: FileIO, size: int) -> None:
        self._path = path
        self._file = file
        self._left = self.size = size

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._file.closed:
            raise StopIteration
        with _errors("read", self._path, absent=False):
            chunk = self._file.read(min(CHUNK, self._left))
        if not chunk:
            self.close()
            raise StopIteration
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FileWriter(SingleUseWriter):
    """A temporary file that gets its name when it is committed."""

    def __init__(self, path: str, file: FileIO, target: str) -> None:
        super().__init__()
        self._path = path
        self._file = file
        self._target = target

    def append(self, source: FileIO) -> None:
        """Take the rest of *source*, inside the kernel where it can do that."""
        self._check_open()
        with self._errors():
            durable.copy_rest(source, self._file)
            self.size = self._file.tell()

    def _write(self, data: Bytes) -> None:
        with self._errors():
            durable.write_all(self._file, data)

    def _commit(self) -> None:
        with self._errors():
            try:
                with self._file:
                    os.fsync(self._file.fileno())
                durable.rename(str(self._file.name), self._target)
            except BaseException:
                self._abort()
                raise

    def _abort(self) -> None:
        with suppress(OSError):
            self._file.close()
        durable.discard(str(self._file.name))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abort()
            raise _unavailable("write", self._path, error) from error


def _unavailable(action: str, path: str, error: OSError) -> StorageUnavailable:
    kind, advice = _KINDS.get(error.errno or 0, (StorageUnavailable, ""))
    return kind(f"cannot {action} {path}: {error.strerror or type(error).__name__}{advice}")


@contextmanager
def _errors(action: str, path: str, *, absent: bool = True) -> Iterator[None]:
    """Turn the system's errors into ours.

    :param absent: whether "no such file" means that there is no object.
    """
    try:
        yield
    except OSError as error:
        if absent and error.errno in _ABSENT:
            raise ObjectNotFound(path) from None
        raise _unavailable(action, path, error) from error
