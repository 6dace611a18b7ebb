"""Files that change while the server runs: how a change is noticed, and what becomes of it."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path

#: A file may change twice within what its times can tell apart: a tick of the kernel, or two seconds on some
#: file systems. So one that changed this recently, in seconds, is read again at the next look.
SETTLING = 2.5

_MAX_SIZE = 16 << 20

T = TypeVar("T")


class ChangingFile:
    """Reads a file again when it may have changed.

    Its device, inode, size and times tell. The time of the last status change is among them, because a copy
    that keeps the other times (``rsync -t --inplace``) cannot set it.

    Threads may ask at the same time. Of two that look at once, both may be given the new content.

    :param path: the file.
    :param limit: the most bytes that such a file has.
    :param clock: Unix seconds, as the file system has them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        limit: int = _MAX_SIZE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = os.fspath(path)
        self._limit = limit
        self._clock = clock
        self._stamp: tuple[int, ...] | None = None
        self._hash: bytes | None = None

    def read_if_changed(self) -> bytes | None:
        """Return the content, or None if it is what the last call that returned bytes returned.

        :raises OSError: if it cannot be read, is not a regular file, or is too long. Whatever is read after
            that is a change.
        :raises ValueError: if the path cannot be one.
        """
        try:
            if self._stamp is not None and self._stamp == _stamp(os.stat(self.path)):
                return None
            content, status = _read(self.path, self._limit)
        except (OSError, ValueError):
            self._stamp = self._hash = None
            raise
        settled = abs(self._clock() - status.st_ctime) > SETTLING
        self._stamp = _stamp(status) if settled else None
        before, self._hash = self._hash, hashlib.sha256(content).digest()
        return None if self._hash == before else content


class WatchedFiles(Generic[T]):
    """A value that is made of files, and made again when one of them changes.

    A change that cannot be read or that *load* refuses is logged once, and the last good value stays in
    force. Threads may ask at the same time, and so may processes that were forked since: there is no lock,
    and two threads that look at once find the same.

    :param paths: the files.
    :param load: makes the value of the files' contents, or raises :class:`ConfigError`.
    :param log: where changes and refusals are logged.
    :param prefix: what stands in front of those lines, such as ``http.tls: ``.
    :param interval: seconds between two looks, at the least.
    :param clock: seconds that never go backwards.
    :param wall_clock: Unix seconds, as the file system has them.
    :raises ConfigError: if the files cannot be read or loaded to begin with.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        load: Callable[..., T],
        *,
        log: logging.Logger,
        prefix: str = "",
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = [ChangingFile(path, clock=wall_clock) for path in paths]
        self._load = load
        self._log = log
        self._prefix = prefix
        self._interval = interval
        self._clock = clock
        self._complaint = ""
        self._contents = [b""] * len(self._files)
        self._next = clock() + interval
        self._changed()
        self._value = load(*self._contents)

    def current(self) -> T:
        """Return the value in force."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            changed = self._changed()
            if changed:
                self._value = self._load(*self._contents)
        except ConfigError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                self._log.error("%swhat was in force before stays in force: %s", self._prefix, error)
            return
        if changed:
            self._log.info("%s%s has changed and is in force", self._prefix, " or ".join(changed))
            self._complaint = ""

    def _changed(self) -> list[str]:
        """Read what has changed, and return the paths of those files.

        :raises ConfigError: for a file that cannot be read.
        """
        changed = []
        for index, file in enumerate(self._files):
            try:
                content = file.read_if_changed()
            except (OSError, ValueError) as error:
                raise ConfigError(f"{shown_path(file.path)}: {cannot_be_read(error)}") from None
            if content is not None:
                self._contents[index] = content
                changed.append(file.path)
        return changed


def _read(path: str, limit: int) -> tuple[bytes, os.stat_result]:
    # Opening a pipe that has taken the file's place must not wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(descriptor, "rb", closefd=False) as stream:
            content = stream.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is longer than {limit} bytes")
    return content, status


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
