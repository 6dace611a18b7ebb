"""How the C library of this process hands out memory (glibc alone; elsewhere nothing is changed)."""

from __future__ import annotations

import contextlib
import ctypes

# From glibc's malloc.h (mallopt(3)).
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_LARGE = 1 << 20


def give_back_large_blocks() -> None:
    """Have blocks of a megabyte and more go back to the system as soon as they are freed.

    glibc keeps a heap for each of many threads, and takes even parts of an upload out of them once it has
    seen some come and go; what is freed there stays with the process. With dozens of threads that is several
    times what is in use.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_ARENA_MAX, 2)
