"""Purges that begin by themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from cfmiddleware.metrics.names import REMOVED, REMOVED_BYTES
from cfmiddleware.process.offload import offload
from cfmiddleware.registry.recurring import Recurring
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .abandoned import Abandoned
from .purger import Purged, Purger

_log = logging.getLogger("cfmiddleware")

# How many of the things that would go are logged.
_LOGGED = 100


class PurgeByItself(Recurring):
    """Purges whenever it is time to.

    :param driver: the storage.
    :param age: for how many seconds nobody must have written to what is purged.
    :param interval: how many seconds after a purge the next one begins.
    :param dryrun: whether it is only logged what would go.
    :param clock: tells the seconds, from any moment on.
    """

    name = "upload purging"
    task = "uploadpurging"

    def __init__(
        self,
        driver: Driver,
        age: float,
        interval: float,
        *,
        dryrun: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(driver, paths.LAST_PURGE, interval, clock)
        self._age = age
        self._dryrun = dryrun

    def work(self) -> None:
        """Purge."""
        # A disk that does not answer must stop nobody; a storage's client belongs to the process's greenlets.
        on_disk = self._driver.shared and not self._driver.remote
        purger = Purger(self._driver, self._age, self._say, self.rest, offload if on_disk else _at_once)
        self._tell(purger.purge(dryrun=self._dryrun))

    def _say(self, each: Abandoned) -> None:
        _log.debug("upload purging: %s: %s %s", "would go" if self._dryrun else "gone", *named(each))
        if not self._dryrun:
            REMOVED.inc(each.kind)
            REMOVED_BYTES.of().add(each.size)

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
