"""How many requests a piece of work makes to its storage, how many at a time, and how many in a second.

The work of people who wait is never held back here. A collection is: it has time, and a storage that is busy
says so (503 ``SlowDown``, 429).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

#: The kinds of requests that are counted: those that Amazon has a price for, and what it does for nothing.
KINDS = ("list", "put", "get", "head", "delete")

# What a storage answers that has too much to do.
_BUSY = (429, 503)


class RequestMeter:
    """Counts requests, and lets them go as fast as the storage takes them.

    As many are under way as *parallel* says. Each answer that says that the storage is busy halves that
    number, once for all requests that were under way at that moment. It grows again by one whenever as many
    requests have succeeded as may be under way.

    Safe to share between threads.

    :param parallel: how many requests may be under way at the most.
    :param persecond: how many may begin in a second; 0 for any number. They begin at equal distances.
    :param clock: tells the seconds, from any moment on.
    :param sleep: waits for so many seconds.
    """

    def __init__(
        self,
        parallel: int = 16,
        persecond: float = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.parallel = parallel
        self._distance = 1 / persecond if persecond else 0.0
        self._clock = clock
        self._sleep = sleep
        self._changed = threading.Condition()
        self._counts = dict.fromkeys(KINDS, 0)
        self._apart: ContextVar[Counter[str] | None] = ContextVar("apart", default=None)
        self._limit = float(parallel)
        self._under_way = 0
        self._next = 0.0
        # How many have begun, by which each has its number, and how many had when the limit was last halved.
        self._begun = 0
        self._halved_at = -1
        #: How often the storage was found busy, and the limit was halved.
        self.slowdowns = 0

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return int(self._limit)

    def counts(self) -> Mapping[str, int]:
        """Return how many requests of each kind were sent, those that were sent again included."""
        with self._changed:
            return dict(self._counts)

    @contextlib.contextmanager
    def apart(self) -> Iterator[Counter[str]]:
        """Count the requests of the block also by themselves, in whatever threads they are made for it."""
        counts: Counter[str] = Counter()
        before = self._apart.set(counts)
        try:
            yield counts
        finally:
            self._apart.reset(before)

    def begin(self, kind: str) -> int:
        """Wait until a request may be sent; return its number for :meth:`end`.

        :param kind: one of :data:`KINDS`.
        """
        with self._changed:
            while self._under_way >= int(self._limit):
                self._changed.wait()
            self._under_way += 1
            self._counts[kind] += 1
            apart = self._apart.get()
            if apart is not None:
                apart[kind] += 1
            self._begun += 1
            number, wait = self._begun, 0.0
            if self._distance:
                now = self._clock()
                self._next = max(self._next, now)
                wait, self._next = self._next - now, self._next + self._distance
        if wait > 0:
            self._sleep(wait)
        return number

    def end(self, number: int, status: int) -> None:
        """Say how a request has ended.

        :param number: what :meth:`begin` returned.
        :param status: the answer's HTTP status; 0 if there was none.
        """
        with self._changed:
            self._under_way -= 1
            if status in _BUSY:
                self._slow_down(number)
            elif status:
                self._limit = min(self._limit + 1 / self._limit, float(self.parallel))
            self._changed.notify_all()

    def busy(self) -> None:
        """Say that the storage was too busy for some of what a request, which has ended, asked for."""
        with self._changed:
            self._slow_down(self._begun)

    def _slow_down(self, number: int) -> None:
        if number > self._halved_at:
            self._halved_at = self._begun
            self._limit = max(1.0, self._limit / 2)
            self.slowdowns += 1
