"""A throttle for lines of the log that would otherwise come with every request."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Allows something the first time, and then once in each interval.

    It has no lock, which a fork could leave held. So two threads that ask in the same instant may both be
    allowed.

    :param seconds: the interval.
    :param clock: seconds that never go backwards.
    """

    def __init__(self, seconds: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next: float | None = None

    def allows(self) -> bool:
        """Return True if it is time again; the next interval then begins."""
        now = self._clock()
        if self._next is not None and now < self._next:
            return False
        self._next = now + self._seconds
        return True
