"""Purges that begin by themselves, once in an interval for all processes and machines of a storage."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.process.offload import offload
from cfmiddleware.registry.collect.lease import LeaseTaken
from cfmiddleware.storage.driver import Driver

from .abandoned import Abandoned
from .purger import Purged, Purger, seconds_since_last

_log = logging.getLogger("cfmiddleware")

# The first look is within this many seconds, as in Distribution, so that machines that start together do not
# all look at once; and so long a process waits when another one purges.
_FIRST = 3600.0

# How much earlier than the interval a purge may begin, so that it does not begin a little later each day.
_EARLY = 0.1

# How many of the things that would go are logged.
_LOGGED = 100

# For how long at the most a purge waits between two requests to the storage, in seconds.
_LONGEST_REST = 1.0


class _Stopped(Exception):
    """The process is about to end."""


class PurgeByItself:
    """Purges whenever it is time to, slowly: half of the time it does nothing.

    :param driver: the storage.
    :param age: for how many seconds nobody must have written to what is purged.
    :param interval: how many seconds after a purge the next one begins.
    :param dryrun: whether it is only logged what would go.
    :param clock: tells the seconds, from any moment on.
    """

    name = "upload purging"

    def __init__(
        self,
        driver: Driver,
        age: float,
        interval: float,
        *,
        dryrun: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver = driver
        self._age = age
        self._interval = interval
        self._dryrun = dryrun
        self._clock = clock
        self._next: float | None = None

    def look(self, ended: threading.Event) -> None:
        """Purge if it is time to.

        :param ended: set when the process is about to end.
        """
        now = self._clock()
        if self._next is None:
            self._next = now + self._spread()
        if now < self._next:
            return
        self._next = now + self._interval
        try:
            since = seconds_since_last(self._driver)
            if since >= self._interval * (1 - _EARLY):
                self._purge(ended)
            else:
                # Another process has purged. This one takes over if that one does so no more.
                self._next = now + self._interval - since + self._spread() * _EARLY
        except LeaseTaken:
            self._next = now + min(_FIRST, self._interval)
        except _Stopped:
            pass
        except StorageUnavailable as error:
            _log.warning("upload purging: %s; the next try is in %.0f s", error, self._interval)

    def _spread(self) -> float:
        return random.uniform(0, min(_FIRST, self._interval))  # noqa: S311 (it is no secret)

    def _purge(self, ended: threading.Event) -> None:
        began = self._clock()

        def rest() -> None:
            nonlocal began
            if ended.wait(min(_LONGEST_REST, self._clock() - began)):
                raise _Stopped
            began = self._clock()

        # A disk that does not answer must stop nobody; a storage's client belongs to the process's greenlets.
        on_disk = self._driver.shared and not self._driver.remote
        purger = Purger(self._driver, self._age, self._say, rest, offload if on_disk else _at_once)
        self._tell(purger.purge(dryrun=self._dryrun))

    def _say(self, each: Abandoned) -> None:
        _log.debug("upload purging: %s: %s %s", "would go" if self._dryrun else "gone", *named(each))

    def _tell(self, done: Purged) -> None:
        if done.unseen:
            _log.warning(
                "upload purging: unfinished parts cannot be seen or deleted, and stay; uploads stay for a "
                "week at least: %s",
                done.unseen,
            )
        if self._dryrun:
            for each in done.gone[:_LOGGED]:
                _log.info("upload purging: would delete %s %s", *named(each))
        if done.gone:
            _log.info(
                "upload purging: %d uploads and leftovers of %d bytes %s",
                len(done.gone),
                done.size,
                "would be deleted (dryrun)" if self._dryrun else "deleted",
            )


def named(each: Abandoned) -> tuple[str, str]:
    """Return what something is and its name, for people."""
    where = f"{each.repository}: " if each.repository else ""
    return each.kind, f"{where}{each.name}"


def _at_once(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    return function(*given, **named)
