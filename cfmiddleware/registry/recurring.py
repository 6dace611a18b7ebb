"""What begins by itself, once in an interval for all processes and machines of a storage: upload purging and
retention.

It is slow: it makes one request to the storage at a time, and half of the time it does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable

from cfmiddleware.errors import ObjectNotFound, StorageUnavailable
from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import MAINTENANCE_INTERVAL, MAINTENANCE_RUNS, MAINTENANCE_SUCCESS
from cfmiddleware.storage.driver import Driver

from .collect.condemned import storage_time
from .collect.lease import LeaseTaken

_log = logging.getLogger("cfmiddleware")

# The first look is within this many seconds, as in Distribution, so that machines that start together do not
# all look at once; and so long a process waits when another one is at it.
_FIRST = 3600.0

# How much earlier than the interval it may begin, so that it does not begin a little later each day.
_EARLY = 0.1

# For how long at the most it waits between two requests to the storage, in seconds.
_LONGEST_REST = 1.0


class NotDone(Exception):
    """It could not be done, for a reason that the text says."""


class _Stopped(Exception):
    """The process is about to end."""


class Recurring:
    """Something that is done whenever it is time to.

    :param driver: the storage.
    :param last: the object in it that is written each time that it was done.
    :param interval: how many seconds after that it is done again.
    :param clock: tells the seconds, from any moment on.
    """

    #: For people.
    name: str

    #: What metrics call it.
    task: str

    def __init__(
        self,
        driver: Driver,
        last: str,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        STATE.tell(self._claim)
        self._driver = driver
        self._last = last
        self._interval = interval
        self._clock = clock
        self._next: float | None = None
        self._rested = 0.0
        self._ended = threading.Event()

    def look(self, ended: threading.Event) -> None:
        """Do it if it is time to.

        :param ended: set when the process is about to end.
        """
        now = self._clock()
        if self._next is None:
            self._next = now + self._spread()
            # Until it is known when it was last done.
            self._show(0.0)
        if now < self._next:
            return
        self._next = now + self._interval
        try:
            since = seconds_since(self._driver, self._last)
            if since >= self._interval * (1 - _EARLY):
                self._ended, self._rested = ended, now
                self.work()
                MAINTENANCE_RUNS.inc(self.task, "done")
                since = 0.0
            else:
                # Another process has done it. This one takes over if that one does so no more.
                self._next = now + self._interval - since + self._spread() * _EARLY
            self._show(since)
        except LeaseTaken:
            self._next = now + min(_FIRST, self._interval)
        except _Stopped:
            MAINTENANCE_RUNS.inc(self.task, "stopped")
        except (StorageUnavailable, NotDone) as error:
            MAINTENANCE_RUNS.inc(self.task, "failed")
            _log.warning("%s: %s; the next try is in %.0f s", self.name, error, self._interval)

    def work(self) -> None:
        """Do it, and write the object that says so. Call :meth:`rest` between requests to the storage.

        :raises LeaseTaken: when another process is at it.
        :raises NotDone: when it could not be done.
        """
        raise NotImplementedError

    def rest(self) -> None:
        """Wait for as long as was worked since the last rest. What it raises when the process is about to end
        must come out of :meth:`work`.
        """
        if self._ended.wait(min(_LONGEST_REST, self._clock() - self._rested)):
            raise _Stopped
        self._rested = self._clock()

    def _spread(self) -> float:
        return random.uniform(0, min(_FIRST, self._interval))  # noqa: S311 (it is no secret)

    def _claim(self) -> None:
        """Say that what one of the processes tells is to stay."""
        MAINTENANCE_INTERVAL.claim(self.task)
        MAINTENANCE_SUCCESS.claim(self.task)

    def _show(self, since: float) -> None:
        MAINTENANCE_INTERVAL.of(self.task).set(self._interval)
        MAINTENANCE_SUCCESS.of(self.task).set(time.time() - since)


def seconds_since(driver: Driver, last: str) -> float:
    """Return how many seconds ago an object was written, by its clock; infinity if there is none."""
    with contextlib.suppress(ObjectNotFound):
        written = driver.stat(last).modified
        return storage_time(driver) - written
    return float("inf")
