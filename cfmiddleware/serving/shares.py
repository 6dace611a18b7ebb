"""The connections of a service, shared out evenly among its workers.

The system wakes every worker for a connection, and the first takes it. That is one that is awake anyway: of
16 connections that came together, one of two workers had all, or 13, half of the times. So a worker that has
clearly more than another leaves the next one to it for a moment.
"""

from __future__ import annotations

import mmap

# Far more than there are workers at a time. Two that share a place share out less evenly, and no more.
_PLACES = 64

# So many more than another has, and a quarter of those, are not clearly more: where each connection has one
# request, they change all the time.
_SLACK = 1

_NOBODY = -1


class Shares:
    """How many connections each worker has, in memory that they share. It is made before the fork.

    Each writes at its own place alone, so that there is no lock. Workers are numbered.
    """

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, 4 * _PLACES)).cast("i")
        for place in range(_PLACES):
            self._counts[place] = _NOBODY

    def has(self, worker: int, count: int) -> None:
        """Note that a worker has so many connections, and takes others."""
        self._counts[worker % _PLACES] = count

    def takes_none(self, worker: int) -> None:
        """Note that a worker takes no connection any more."""
        self._counts[worker % _PLACES] = _NOBODY

    def exceeds_another(self, worker: int) -> bool:
        """Return whether a worker has clearly more connections than another one."""
        most = (self._counts[worker % _PLACES] - _SLACK) * 4 // 5
        return any(_NOBODY < count < most for count in self._counts)
