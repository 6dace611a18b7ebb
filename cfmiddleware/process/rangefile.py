"""A file that somebody else replaces from time to time."""

from __future__ import annotations

import hashlib
import os
import stat
import time

# A file may change twice within what its times can tell apart, so one that changed this recently, in seconds,
# is read once more.
_SETTLING = 2.5

_MAX_SIZE = 16 << 20


class RangeFile:
    """Looks at a file when asked to, and reads it where it may have changed.

    Never used by two threads at the same time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._hash = b""

    def read_if_changed(self) -> bytes | None:
        """Return what the file says, or None if it says what it said before.

        :raises OSError: when it cannot be read, at every look.
        :raises ValueError: when it is no regular file, or longer than any list of ranges.
        """
        if self._stamp is not None and _stamp(os.stat(self.path)) == self._stamp:
            return None
        self._stamp = None
        # Opening a pipe would wait for its other end.
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise ValueError("it is no regular file")
        with open(self.path, "rb") as stream:
            status = os.fstat(stream.fileno())
            content = stream.read(_MAX_SIZE + 1)
        if len(content) > _MAX_SIZE:
            raise ValueError(f"it is longer than {_MAX_SIZE} bytes")
        if abs(time.time() - status.st_mtime) > _SETTLING:
            self._stamp = _stamp(status)
        digest = hashlib.sha256(content).digest()
        if digest == self._hash:
            return None
        self._hash = digest
        return content


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
