"""A number of places, and a line of those who wait for one."""

from __future__ import annotations

import threading
from collections import deque

from .cache import PerProcess


class Places:
    """Lets so many in at a time. The others wait in the order in which they came.

    A place that is given back goes to the first in the line, so that nobody who comes later is faster. Safe
    to share between threads or greenlets. A forked process begins with all places free.

    :param places: how many are let in.
    :param line: how many wait at the most; None for no limit.
    """

    def __init__(self, places: int, line: int | None = None) -> None:
        self._most = line
        self._state = PerProcess(lambda: _State(places))

    def enter(self, seconds: float) -> bool:
        """Return whether there is a place, which is held until :meth:`leave`.

        :param seconds: how long to wait for one.
        """
        state = self._state()
        with state.lock:
            if state.free:
                state.free -= 1
                return True
            if seconds <= 0 or (self._most is not None and len(state.line) >= self._most):
                return False
            turn = threading.Lock()
            turn.acquire()
            state.line.append(turn)
        try:
            if turn.acquire(timeout=seconds):
                return True
        except BaseException:  # the request is being ended; a place that was just given to it would be lost
            if state.withdraw(turn):
                state.give_back()
            raise
        return state.withdraw(turn)

    def leave(self) -> None:
        """Give the place to the first in the line."""
        self._state().give_back()

    @property
    def waiting(self) -> int:
        """How many wait in this process."""
        return len(self._state().line)


class _State:
    """The places of one process. The lock is held for microseconds."""

    __slots__ = ("free", "line", "lock")

    def __init__(self, free: int) -> None:
        self.lock = threading.Lock()
        self.free = free
        self.line: deque[threading.Lock] = deque()

    def withdraw(self, turn: threading.Lock) -> bool:
        """Take a turn out of the line, and return whether it had come at this very moment."""
        with self.lock:
            try:
                self.line.remove(turn)
            except ValueError:
                return True
        return False

    def give_back(self) -> None:
        with self.lock:
            if self.line:
                self.line.popleft().release()
            else:
                self.free += 1
