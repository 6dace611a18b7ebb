"""One collection at a time.

This saves work and nothing more: two collections at once would do no harm (see ``condemned.py``). So a
lease that two take in the same moment, on a storage without create-only writes, is no danger.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from cfmiddleware.errors import ObjectExists, ObjectNotFound
from cfmiddleware.process.owner import has_ended, this_process
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .condemned import storage_time

# How often a collection says that it still runs, and after how long without a word its lease is free.
_RENEW = 10.0
_FREE = 90.0


class LeaseTaken(Exception):
    """Another collection runs."""


class Lease:
    """The right to collect, which a crash gives up.

    :param driver: where it is.
    :param clock: tells the seconds, from any moment on.
    """

    def __init__(self, driver: Driver, clock: Callable[[], float] = time.monotonic) -> None:
        self._driver = driver
        self._owner = this_process().encode()
        self._clock = clock
        self._renewed: float | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lease inside the block.

        :raises LeaseTaken: when another collection has it.
        """
        self._take()
        try:
            yield
        finally:
            self._renewed = None
            self._driver.delete([paths.LEASE])

    def _take(self) -> None:
        for _ in range(3):
            try:
                self._driver.create(paths.LEASE, self._owner)
            except ObjectExists:
                if not self._is_free():
                    raise LeaseTaken(self._taken_by()) from None
                self._driver.delete([paths.LEASE])
            else:
                self._renewed = self._clock()
                return
        raise LeaseTaken(self._taken_by())

    def _is_free(self) -> bool:
        if has_ended(self._taken_by()):
            return True
        try:
            return storage_time(self._driver) - self._driver.stat(paths.LEASE).modified > _FREE
        except ObjectNotFound:
            return True

    def _taken_by(self) -> str:
        try:
            return self._driver.read(paths.LEASE).decode("utf-8", "replace")
        except ObjectNotFound:
            return "another collection"

    def renew(self) -> None:
        """Say that the collection still runs, if it holds the lease and it is time to."""
        if self._renewed is not None and self._clock() - self._renewed > _RENEW:
            self._driver.write(paths.LEASE, self._owner)
            self._renewed = self._clock()
