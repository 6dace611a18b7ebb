"""One collection at a time, and one purge of uploads.

This saves work and nothing more: two at once would do no harm (see ``condemned.py``). So a lease that two
take in the same moment, on a storage without create-only writes, is no danger.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from cfmiddleware.errors import ObjectExists, ObjectNotFound
from cfmiddleware.process.owner import has_ended, this_process
from cfmiddleware.registry.cleanup import cleaned_up
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .condemned import storage_time

# How often its holder says that it still runs, and after how long without a word its lease is free.
_RENEW = 10.0
_FREE = 90.0


class LeaseTaken(Exception):
    """Another process has the lease."""


class Lease:
    """The right to do something alone, which a crash gives up.

    :param driver: where it is.
    :param clock: tells the seconds, from any moment on.
    :param path: the object that says who has it: by default the right to collect garbage.
    """

    def __init__(
        self, driver: Driver, clock: Callable[[], float] = time.monotonic, path: str = paths.LEASE
    ) -> None:
        self._driver = driver
        self._path = path
        self._owner = this_process().encode()
        self._clock = clock
        self._renewed: float | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lease inside the block.

        :raises LeaseTaken: when another process has it.
        """
        self._take()
        with cleaned_up(self._give_up):
            yield

    def _give_up(self) -> None:
        try:
            if self._is_ours():
                self._driver.delete([self._path])
        finally:
            self._renewed = None

    def _take(self) -> None:
        for _ in range(3):
            try:
                self._driver.create(self._path, self._owner)
            except ObjectExists:
                if not self._is_free():
                    raise LeaseTaken(self._taken_by()) from None
                self._driver.delete([self._path])
            else:
                self._renewed = self._clock()
                return
        raise LeaseTaken(self._taken_by())

    def _is_free(self) -> bool:
        if has_ended(self._taken_by()):
            return True
        try:
            return storage_time(self._driver) - self._driver.stat(self._path).modified > _FREE
        except ObjectNotFound:
            return True

    def _taken_by(self) -> str:
        try:
            return self._driver.read(self._path).decode("utf-8", "replace")
        except ObjectNotFound:
            return "another process"

    def renew(self) -> None:
        """Say that what it is for still runs, if it holds the lease and it is time to."""
        if self._renewed is not None and self._clock() - self._renewed > _RENEW:
            if self._is_ours():
                self._driver.write(self._path, self._owner)
                self._renewed = self._clock()
            else:
                self._renewed = None

    def _is_ours(self) -> bool:
        """Return whether it still holds the lease. One that was stopped for long may have lost it."""
        if self._renewed is None:
            return False
        if self._clock() - self._renewed < _FREE / 2:
            return True
        return self._taken_by() == self._owner.decode()
