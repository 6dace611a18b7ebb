"""Which process this is, asked with every request and so without a system call.

Linux clears a page in a child that is forked, whoever forks it: Python, or a server written in C that runs
none of Python's hooks (uWSGI). So a page that still has its mark belongs to the process that marked it.
"""

from __future__ import annotations

import mmap
import os

# Linux, include/uapi/asm-generic/mman-common.h; Python has no name for it.
_MADV_WIPEONFORK = 18


class ProcessID:
    """Answers with the id of the process that asks.

    Safe to share between threads, and to carry over a fork, which it is for.
    """

    def __init__(self) -> None:
        self._id = 0
        self._page = _wiped_by_forks()

    def current(self) -> int:
        """Return the id."""
        if not self._page[0]:
            # In this order: who sees the mark sees the id. Threads that come here together write the same.
            self._id = os.getpid()
            self._page[0] = 1
        return self._id


def _wiped_by_forks() -> bytearray | mmap.mmap:
    """Return memory that a child finds empty, or, where the system has none, something that is always so."""
    if hasattr(mmap, "MAP_ANONYMOUS") and hasattr(mmap.mmap, "madvise"):
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            page.madvise(_MADV_WIPEONFORK)
        except OSError:
            page.close()
        else:
            return page
    return _Never(1)


class _Never(bytearray):
    """A byte that takes no mark."""

    def __setitem__(self, index: object, value: object) -> None:
        """Do nothing."""


#: Returns the id of the process that asks. A method, because Python calls these faster than objects.
process_id = ProcessID().current
