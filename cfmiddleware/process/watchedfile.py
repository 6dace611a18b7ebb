"""A file that may change while the server runs: taken, or refused with a line in the log."""

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


class _Look(NamedTuple):
    """What a file was like when it was last looked at.

    :param content: a hash of what it held; empty if it could not be read.
    """

    stamp: tuple[int, ...]
    settled: bool
    content: bytes


class WatchedFile(Generic[T]):
    """What a file says, read again when it changes.

    A new file that cannot be read or parsed leaves the last good one in force, and is logged once. Threads
    may ask at the same time, and processes that were forked since: there is no lock. Two that look at once
    find the same.

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
        self._path = os.fspath(path)
        self._parse = parse
        self._interval = interval
        self._clock = clock
        self._complaint = ""
        self._next = clock() + interval
        self._look, content = self._read()
        self._value = parse(content)

    def current(self) -> T:
        """Return the value in force."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval
            self._look_again()
        return self._value

    def _look_again(self) -> None:
        try:
            if self._look.settled and _stamp(os.stat(self._path)) == self._look.stamp:
                return
            look, content = self._read()
        except (OSError, ConfigError) as error:
            self._look = _Look((), False, b"")
            reason = (
                str(error) if isinstance(error, ConfigError) else f"{self._path}: {cannot_be_read(error)}"
            )
            if reason != self._complaint:
                self._complaint = reason
                _log.error("what it said before stays in force: %s", reason)
            return
        self._complaint = ""
        if look.content == self._look.content:
            self._look = look
            return
        self._look = look
        try:
            self._value = self._parse(content)
        except ConfigError as error:
            _log.error("what it said before stays in force: %s", error)
        else:
            _log.info("%s has changed; what it says now is in force", self._path)

    def _read(self) -> tuple[_Look, bytes]:
        try:
            # Opening a pipe would wait for its other end.
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                raise ConfigError(f"{self._path}: is no regular file")
            with open(self._path, "rb") as stream:
                status = os.fstat(stream.fileno())
                content = stream.read(_MAX_SIZE + 1)
        except (OSError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{self._path}: {cannot_be_read(error)}") from None
        if len(content) > _MAX_SIZE:
            raise ConfigError(f"{self._path}: has more than {_MAX_SIZE} bytes")
        settled = abs(time.time() - status.st_mtime) > _SETTLING
        return _Look(_stamp(status), settled, hashlib.sha256(content).digest()), content


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
