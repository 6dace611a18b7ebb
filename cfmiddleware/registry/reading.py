"""How many pulls ask a storage at a time for what the registry serves itself.

Thousands of clients that ask for blobs and manifests at once are as many requests to the storage, and whoever
pushes meanwhile waits behind all of them: there, and for this process to take in what comes. So pulls stand
in a line before they begin. What a redirect needs does not. While somebody pushes beside a crowd of pulls,
they stand there for each piece too.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
import time
from collections.abc import Callable, Iterator

from cfmiddleware.process.cache import PerProcess
from cfmiddleware.storage.driver import Reader

# With so many under way the processor and a storage nearby are busy; more would only wait for each other.
_AT_ONCE = 8

# With so many, what a push asks of that storage does not wait long. It is for when a process has more pulls,
# in the line and under way, than clients of good will make: those are served faster with more turns.
_BESIDE_PUSHES = 1
_CROWD = 32

# For so many seconds after one request of a push the next one is awaited, in this process or another.
_PUSHING = 1.0

# A turn that has lasted as many seconds waits for a storage that is far away or hangs; it keeps nothing busy.
_TURN = 0.3


class Reading:
    """Lets a few pulls begin at a time: each has a turn until the storage has answered with the first bytes,
    or for a moment if that takes long. Safe to share between threads or greenlets.

    :param at_once: how many turns there are.
    :param beside: how many there are while somebody pushes beside a crowd of pulls.
    :param crowd: how many that are.
    :param turn: how long a turn keeps others waiting at the most, in seconds.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        at_once: int = _AT_ONCE,
        turn: float = _TURN,
        clock: Callable[[], float] = time.monotonic,
        *,
        beside: int = _BESIDE_PUSHES,
        crowd: int = _CROWD,
    ) -> None:
        self._at_once = at_once
        self._beside = min(at_once, beside)
        self._crowd = crowd
        self._seconds = turn
        self._clock = clock
        self._state = PerProcess(_State)
        # When the last request of a push came: one number in memory that is shared with the processes that
        # are forked from this one. A push on one connection is all in one of them, and disturbed by all.
        self._pushed = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")
        self._pushed[0] = -math.inf

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, which ends with the block."""
        state = self._state()
        mine = object()
        with state.lock:
            state.waiting += 1
        try:
            with state.door:
                while (wait := self._enter(state, mine)) > 0:
                    state.left.wait(wait)
        finally:
            with state.lock:
                state.waiting -= 1
        try:
            yield
        finally:
            with state.lock:
                state.began.pop(mine, None)
            state.left.set()

    def body(self, reader: Reader) -> PulledBody:
        """Return the bytes of a pull, which is under way from the first piece until they are closed."""
        return PulledBody(self, reader)

    def begin(self) -> None:
        """Count a pull as under way, until :meth:`end`."""
        state = self._state()
        with state.lock:
            state.underway += 1

    def end(self) -> None:
        """Count it no longer."""
        state = self._state()
        with state.lock:
            state.underway -= 1

    def is_crowded(self) -> bool:
        """Return whether somebody pushes beside a crowd of pulls."""
        return self._pushed[0] + _PUSHING > self._clock() and self._is_crowd(self._state())

    def _is_crowd(self, state: _State) -> bool:
        return state.waiting + state.underway > self._crowd

    def pushed(self) -> None:
        """Leave room in the storage for a push: one of its requests has come."""
        self._pushed[0] = self._clock()

    def _enter(self, state: _State, mine: object) -> float:
        """Begin a turn and return 0, or return after how many seconds there will be one at the latest."""
        with state.lock:
            state.left.clear()
            now = self._clock()
            pushing = self._pushed[0] + _PUSHING - now
            turns = self._beside if pushing > 0 and self._is_crowd(state) else self._at_once
            while len(state.began) >= turns:  # by more than one where a push has just begun
                oldest, at = next(iter(state.began.items()))
                wait = at + self._seconds - now
                if wait > 0:
                    return min(wait, pushing) if pushing > 0 else wait
                del state.began[oldest]
            state.began[mine] = now
            return 0


class _State:
    """The turns of one process."""

    __slots__ = ("began", "door", "left", "lock", "underway", "waiting")

    def __init__(self) -> None:
        #: Held by the first in the line while it waits.
        self.door = threading.Lock()
        self.lock = threading.Lock()
        #: Set when a turn has ended.
        self.left = threading.Event()
        #: When each turn began, in this order.
        self.began: dict[object, float] = {}
        #: How many stand in the line.
        self.waiting = 0
        #: How many have begun to send what they read.
        self.underway = 0


class PulledBody:
    """The bytes of an object that a client pulls.

    :param reader: the object, which was opened in a turn.
    """

    __slots__ = ("_counts", "_reader", "_reading", "size")

    def __init__(self, reading: Reading, reader: Reader) -> None:
        self._reading = reading
        self._reader = reader
        # Not yet: an answer that is given up before it is sent may never be closed.
        self._counts = False
        #: How many bytes there are in all.
        self.size = reader.size

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._counts:
            self._counts = True
            self._reading.begin()
        if not self._reading.is_crowded():
            return next(self._reader)
        with self._reading.turn():
            piece = next(self._reader, None)
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Close the object."""
        if self._counts:
            self._counts = False
            self._reading.end()
        self._reader.close()
