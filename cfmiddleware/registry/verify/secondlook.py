"""The second look at what seems to be broken.

A push, a delete or a collection that is under way may be seen half done. So what is reported has been seen
twice, in the same state, with a pause in between that is longer than the steps of a request are apart.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from cfmiddleware.process.sidebyside import SideBySide

from .faults import Fault

#: How many seconds lie between the two looks.
PAUSE = 5.0

# How many faults wait for their second look.
_MOST = 20_000

# After how many looks, each with another result, the last one counts.
_LOOKS = 4

#: Looks at the storage as it is now, and returns what is broken.
Look = Callable[[], Fault | None]


class _Suspect(NamedTuple):
    due: float
    look: Look
    fault: Fault
    looks: int


class SecondLooks:
    """What waits for its second look. Threads may share it.

    :param tell: is told of what is broken.
    :param clock: tells the seconds, from any moment on.
    :param sleep: waits for so many seconds.
    """

    def __init__(
        self,
        tell: Callable[[Fault], object],
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        most: int = _MOST,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._most = most
        self._waiting: deque[_Suspect] = deque()
        self._telling = threading.Lock()

    def suspect(self, look: Look) -> bool:
        """Look for the first time, now, and return whether there is a fault, as it seems."""
        fault = look()
        if fault is not None:
            self._wait(look, fault, 1)
        while len(self._waiting) > self._most:
            with contextlib.suppress(IndexError):  # other threads were faster
                self._again(self._waiting.popleft())
        return fault is not None

    def finish(self, side_by_side: SideBySide) -> None:
        """Look again at all that waits."""
        while self._waiting:
            waiting, self._waiting = self._waiting, deque()
            for _ in side_by_side.map(self._again, waiting):
                pass

    def _wait(self, look: Look, fault: Fault, looks: int) -> None:
        self._waiting.append(_Suspect(self._clock() + PAUSE, look, fault, looks))

    def _again(self, suspect: _Suspect) -> None:
        wait = suspect.due - self._clock()
        if wait > 0:
            self._sleep(wait)
        fault = suspect.look()
        if fault is None:
            return
        if fault != suspect.fault and suspect.looks < _LOOKS:
            self._wait(suspect.look, fault, suspect.looks + 1)
            return
        with self._telling:
            self._tell(fault)
