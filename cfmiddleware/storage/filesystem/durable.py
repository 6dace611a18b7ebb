"""Files that appear at their names whole, survive a power failure, and leave nothing behind when they do not.

A file is written and synced under a temporary name in one directory of its own, then renamed or linked to
where it belongs. A file with its final name is never written to, so two names may share one file.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import FileIO

from cfmiddleware.process.cache import PerProcess
from cfmiddleware.storage.driver import Bytes

#: The directory of unfinished files, below the root directory.
TEMPORARY = ".cfmiddleware-tmp"

# An upload that has been silent for a day has lost its process.
_STALE_SECONDS = 86400

# Each attempt can only fail because a delete took the directory away in between.
_ATTEMPTS = 100


class TemporaryFiles:
    """Makes temporary files below *root*, on the same filesystem as what they become.

    Files that dead processes left there more than a day ago are removed when a process makes its first file.
    ``directory`` is their directory.
    """

    def __init__(self, root: str) -> None:
        self.directory = os.path.join(root, TEMPORARY)
        self._purged = PerProcess(self._purge)

    def name(self, mark: str = "") -> str:
        """Return a new name in the directory, which exists when this returns.

        :param mark: what :meth:`all` says of the file.
        """
        os.makedirs(self.directory, exist_ok=True)
        self._purged()
        return os.path.join(self.directory, f"{os.getpid()}-{secrets.token_hex(8)}-{mark}".rstrip("-"))

    def open(self, mark: str = "") -> FileIO:
        """Return a new, empty, unbuffered file; its ``name`` is its path."""
        return FileIO(self.name(mark), "xb")

    def all(self) -> Iterator[tuple[str, str, os.stat_result]]:
        """Yield the path of each file, its mark and its stat, as far as they are still there."""
        try:
            with os.scandir(self.directory) as entries:
                found = [*entries]
        except FileNotFoundError:
            return
        for entry in found:
            with suppress(FileNotFoundError):
                mark = entry.name.split("-")[2:3]
                yield entry.path, mark[0] if mark else "", entry.stat(follow_symlinks=False)

    def _purge(self) -> None:
        oldest = time.time() - _STALE_SECONDS
        with os.scandir(self.directory) as entries:
            for entry in entries:
                # The time of the inode's change, which linking updates too: a hard link to an old object is
                # not stale.
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_ctime < oldest:
                        os.unlink(entry.path)


def write_all(file: FileIO, data: Bytes) -> None:
    """Write all of *data*, however many calls the system makes of it."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def copy_rest(source: FileIO, target: FileIO) -> None:
    """Append what is left of *source* to *target*, inside the kernel where it can do that."""
    if hasattr(os, "copy_file_range"):
        # The rest is copied below if the kernel cannot do it (across filesystems, on some network
        # filesystems). Both files are at the position where it stopped.
        with suppress(OSError):
            while os.copy_file_range(source.fileno(), target.fileno(), 1 << 30):
                pass
    while chunk := source.read(1 << 20):
        write_all(target, chunk)


def rename(temporary: str, target: str) -> None:
    """Give the file *temporary* the name *target*, replacing a file that has it."""
    _place(target, lambda: os.replace(temporary, target))


def link(existing: str, target: str) -> None:
    """Give the file *existing* the further name *target*.

    :raises FileExistsError: when a file has that name.
    """
    _place(target, lambda: os.link(existing, target))


def discard(temporary: str) -> None:
    """Remove a temporary file, if it is still there and can be removed."""
    with suppress(OSError):
        os.unlink(temporary)


def prune(directory: str, root: str) -> None:
    """Remove *directory* and those above it, as long as they are empty and below *root*."""
    while len(directory) > len(root) and directory.startswith(root):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            return
        directory = os.path.dirname(directory)


def _place(target: str, action: Callable[[], None]) -> None:
    """Run *action*, which makes the name *target*, and make the name durable.

    The directories above are made as needed, and made again when a delete found them empty and removed them.
    """
    parent = os.path.dirname(target)
    for attempt in range(_ATTEMPTS):
        try:
            action()
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1:
                raise
            _make_directory(parent)
        except (IsADirectoryError, FileExistsError):
            # An empty directory is not an object and has none. One that is not empty does not go away.
            if not os.path.isdir(target):
                raise
            try:
                os.rmdir(target)
            except FileNotFoundError:
                continue
            except OSError:
                raise IsADirectoryError(errno.EISDIR, "there is a directory of that name", target) from None
        else:
            # If the directory is gone, another process has deleted the object already.
            with suppress(FileNotFoundError):
                _sync_directory(parent)
            return


def _make_directory(directory: str) -> None:
    """Make *directory* and those above it that are missing, durably."""
    above = os.path.dirname(directory)
    try:
        os.mkdir(directory)
    except FileExistsError:
        return
    except FileNotFoundError:
        if above == directory:
            raise
        _make_directory(above)
        # If another process removes it again, the caller's next attempt comes back here.
        with suppress(FileExistsError, FileNotFoundError):
            os.mkdir(directory)
    with suppress(FileNotFoundError):
        _sync_directory(above)


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network filesystems cannot sync directories. Their servers do it.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
