"""How many files and connections a process may have open (RLIMIT_NOFILE, getrlimit(2))."""

from __future__ import annotations

import contextlib
import resource

# Some systems set the hard limit to a thousand million; tables of that size help nobody.
_ENOUGH = 1 << 16

# What a worker needs besides its clients' connections and what these read from: logs, keys, watched files,
# connections to Redis, and those to the storage that redirects and uploads share.
_RESERVE = 128

# Below it a worker would hardly serve; the process then says what its limit is.
_FEW = 16


def raise_limit() -> int:
    """Raise the soft limit to the hard one, as far as it is of use, and return what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


def connections_within(limit: int) -> int:
    """Return how many connections a worker takes at a time, if it may have *limit* files open.

    Each may need a second descriptor, for a file or for a connection to the storage.
    """
    return max((limit - _RESERVE) // 2, _FEW)
