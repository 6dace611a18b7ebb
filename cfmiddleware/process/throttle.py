"""For what would otherwise be said at every request."""

from __future__ import annotations

import time
from collections.abc import Callable


class Seldom:
    """Says yes when asked for the first time, and then once in a while.

    It has no lock that a fork could find taken, so two threads that ask in the same instant may both get a
    yes.

    :param seconds: how long it says no after a yes.
    :param clock: seconds that never go backwards.
    """

    def __init__(self, seconds: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next: float | None = None

    def __call__(self) -> bool:
        """Whether it is time again."""
        now = self._clock()
        if self._next is not None and now < self._next:
            return False
        self._next = now + self._seconds
        return True
