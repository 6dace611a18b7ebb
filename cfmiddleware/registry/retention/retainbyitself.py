"""Retention that begins by itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cfmiddleware.registry.announcements import Announcements
from cfmiddleware.registry.collect.lease import Lease
from cfmiddleware.registry.errors import RegistryError
from cfmiddleware.registry.recurring import NotDone, Recurring
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .expiry import ClockDoubtful, Expired, Retention, keep_record
from .tagrules import TagPolicy

_log = logging.getLogger("cfmiddleware")


class RetainByItself(Recurring):
    """Deletes the tags that no rule keeps whenever it is time to.

    :param driver: the storage.
    :param policy: the rules.
    :param events: is told of what is deleted.
    :param interval: how many seconds after it was done it is done again.
    :param clock: tells the seconds, from any moment on.
    """

    name = "retention"
    task = "retention"

    def __init__(
        self,
        driver: Driver,
        policy: TagPolicy,
        events: Announcements,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(driver, paths.LAST_RETENTION, interval, clock)
        self._lease = Lease(driver, clock, paths.RETENTION_LEASE)
        self._retention = Retention(driver, policy, events, parallel=1, say=self._go_on, clock=clock)

    def work(self) -> None:
        """Delete tags."""
        with self._lease.held():
            try:
                done = self._retention.apply()
            except ClockDoubtful as error:
                raise NotDone(str(error)) from None
            except RegistryError as error:
                raise NotDone(f"{error.detail or error}; nothing more was deleted") from None
            keep_record(self._driver, done)
        self._tell(done)

    def _go_on(self, _: str) -> None:
        self._lease.renew()
        self.rest()

    def _tell(self, done: Expired) -> None:
        for fate in done.broken:
            _log.warning("retention: %s:%s is left alone: %s", fate.repository, fate.tag.name, fate.why)
        if done.deleted:
            _log.info("retention: %d tags deleted", len(done.deleted))
