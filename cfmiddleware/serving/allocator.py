"""How the C library of this process hands out memory (glibc alone; elsewhere nothing is changed)."""

from __future__ import annotations

import contextlib
import ctypes

# From glibc's malloc.h (mallopt(3)).
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_LARGE = 1 << 20


def give_back_large_blocks() -> None:
    """Make blocks of a megabyte and more go back to the system as soon as they are freed.

    glibc keeps a heap for each of many threads. Once it has seen a few parts of an upload come and go, it
    takes further ones out of these heaps, and what is freed there stays with the process. Eight layers of
    100 MB at once (``benchmarks/push_pull.py --only memory --quick``, three runs) take 266 to 284 MiB in all
    processes together, and 323 to 327 MiB without this.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_ARENA_MAX, 2)
