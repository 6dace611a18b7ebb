"""A file that may change while the server runs: noticed, and taken or refused with a line in the log."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from cfmiddleware.errors import ConfigError, cannot_be_read

_log = logging.getLogger("cfmiddleware.auth")

#: Bytes; a larger file is not what it is taken for.
_MAX_SIZE = 16 * 2**20

# A file may change twice within what its times can tell apart (a tick of the kernel, two seconds on some file
# systems), so one that changed this recently, in seconds, is read once more.
_SETTLING = 2.5

T = TypeVar("T")


class UnfitFileError(ValueError):
    """What lies at the path is not a file to read; the message is the reason."""


class _Look(NamedTuple):
    """What a file was like when it was last looked at.

    :param stamp: what changes with the file.
    :param settled: whether the stamp is bound to change with the next change of the file.
    :param content: a hash of what it held.
    """

    stamp: tuple[int, ...] = ()
    settled: bool = False
    content: bytes = b""


class FileWatch:
    """Reads a file where it may have changed.

    Threads may ask at the same time, and processes that were forked since: there is no lock. Of two that look
    at once, both may be given the new content.

    :param path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._look = _Look()

    def read_if_changed(self) -> bytes | None:
        """Return what the file holds, or None if it holds what it held when it was last read.

        :raises OSError: when it cannot be read, at every look.
        :raises ValueError: for a path that no file can have, and as :class:`UnfitFileError` for what is not a
            regular file, or has more than 16 MiB.
        """
        before = self._look
        if before.settled and _stamp(os.stat(self.path)) == before.stamp:
            return None
        # What hinders reading need not show in the stamp, so a failure is followed by another try.
        self._look = before._replace(settled=False)
        # Opening a pipe would wait for its other end.
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise UnfitFileError("it is not a regular file")
        with open(self.path, "rb") as stream:
            status = os.fstat(stream.fileno())
            content = stream.read(_MAX_SIZE + 1)
        if len(content) > _MAX_SIZE:
            raise UnfitFileError(f"it has more than {_MAX_SIZE} bytes")
        settled = abs(time.time() - status.st_mtime) > _SETTLING
        self._look = _Look(_stamp(status), settled, hashlib.sha256(content).digest())
        return None if self._look.content == before.content else content


class WatchedFile(Generic[T]):
    """What a file says, read again when it changes.

    A new file that cannot be read or parsed leaves the last good one in force, and is logged once. Threads
    may ask at the same time, and processes that were forked since, as with :class:`FileWatch`.

    :param path: the file.
    :param parse: makes a value of the file's bytes, or raises :class:`ConfigError` with the file's name.
    :param interval: seconds between two looks, at the least.
    :param clock: seconds that only go forward.
    :raises ConfigError: where the file cannot be read or parsed to begin with.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        parse: Callable[[bytes], T],
        *,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = FileWatch(path)
        self._parse = parse
        self._interval = interval
        self._clock = clock
        self._complaint = ""
        self._next = clock() + interval
        self._value = parse(self._read() or b"")

    def current(self) -> T:
        """Return the value in force."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval
            self._look_again()
        return self._value

    def _look_again(self) -> None:
        try:
            content = self._read()
        except ConfigError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.error("what it said before stays in force: %s", error)
            return
        self._complaint = ""
        if content is None:
            return
        try:
            self._value = self._parse(content)
        except ConfigError as error:
            _log.error("what it said before stays in force: %s", error)
        else:
            _log.info("%s has changed; what it says now is in force", self._watch.path)

    def _read(self) -> bytes | None:
        try:
            return self._watch.read_if_changed()
        except UnfitFileError as error:
            raise ConfigError(f"{self._watch.path}: cannot be read: {error}") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._watch.path}: {cannot_be_read(error)}") from None


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    # The change time sees what the modification time does not: copies that keep their times.
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
