"""Deleting uploads that nobody finishes, while pushes go on.

An upload is abandoned when nobody has written to it for some time, by the storage's own clock: neither an
object of it, nor a part of an object that is not finished yet. Each is looked at twice. In between it gets a
mark (``purging``), for which every request takes it as ended. A request that goes on with an upload writes
first and looks for the mark then. So either the second look sees what was written, and the upload stays; or
the request sees the mark, and its client is told that the upload is not there (404) and begins it anew. No
chunk that was acknowledged goes.

Distribution knows no mark. Of its uploads, the second look is the last.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.process.step import Step
from cfmiddleware.registry.collect.condemned import storage_time
from cfmiddleware.registry.collect.lease import Lease
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.upload import CANCELLED, PURGING
from cfmiddleware.storage.driver import Driver, Unfinished, folder_mark

from .abandoned import Abandoned, Folder, Slow, folders, left_behind, look_at

_log = logging.getLogger("cfmiddleware")

#: Where nobody can see whether parts of an upload still come, it counts as abandoned after this many seconds
#: at the earliest.
UNSEEN = 7 * 86400.0

_STARTED = "startedat"


@dataclass
class Purged:
    """What a purge has found and done.

    :param gone: what was deleted, or would be.
    :param spared: how many uploads were written to meanwhile, and stay.
    :param unseen: why parts of unfinished objects cannot be listed; empty if they can.
    """

    gone: list[Abandoned] = field(default_factory=list)
    spared: int = 0
    unseen: str = ""

    @property
    def size(self) -> int:
        """How many bytes that is."""
        return sum(each.size for each in self.gone)


class Purger:
    """Purges the uploads of a storage.

    :param driver: the storage.
    :param age: for how many seconds nobody must have written to what is purged.
    :param say: is told what is purged, as it is.
    :param rest: is called between requests to the storage. What it raises ends the purge, which leaves
        everything as the next one needs it.
    :param slow: runs what may wait for a disk.
    :param clock: tells the seconds, from any moment on.
    :param look: is told how far it is.
    """

    def __init__(
        self,
        driver: Driver,
        age: float,
        say: Callable[[Abandoned], object] = lambda _: None,
        rest: Callable[[], None] = lambda: None,
        slow: Slow = lambda function, *given, **named: function(*given, **named),
        clock: Callable[[], float] = time.monotonic,
        look: Callable[[Step], object] = lambda _: None,
    ) -> None:
        self._driver = driver
        self._age = age
        self._say = say
        self._look = look
        self._rest = rest
        self._slow = slow
        self._lease = Lease(driver, clock, paths.PURGE_LEASE)
        self._now = 0.0
        self._unseen = ""

    def survey(self) -> Purged:
        """Find what would be purged, and change nothing."""
        found = Purged()
        for folder in self._abandoned():
            self._gone(found, _upload(folder))
        for unfinished in self._unfinished():
            self._gone(found, _part(unfinished))
        for each in left_behind(self._driver, self._now - self._age, self._slow):
            self._gone(found, each)
        found.unseen = self._unseen
        return found

    def purge(self, *, dryrun: bool = False) -> Purged:
        """Purge, and keep in the storage that this was done.

        :param dryrun: whether nothing but that is changed.
        :raises LeaseTaken: when another process does.
        """
        with self._lease.held():
            done = self.survey() if dryrun else self._purge_all()
            record = {"purged": len(done.gone), "bytes": done.size, "spared": done.spared, "dryrun": dryrun}
            self._driver.write(paths.LAST_PURGE, json.dumps(record).encode())
        return done

    def _purge_all(self) -> Purged:
        done = Purged()
        for folder in self._abandoned():
            if self._purge(folder):
                self._gone(done, _upload(folder))
            else:
                done.spared += 1
        for unfinished in self._unfinished():
            try:
                self._slow(self._driver.discard, unfinished)
            except StorageUnavailable as error:
                if not error.lasting:
                    raise
                self._unseen = str(error)
                break
            self._gone(done, _part(unfinished))
        for each in left_behind(self._driver, self._now - self._age, self._slow):
            self._driver.delete([each.name])
            self._gone(done, each)
        done.unseen = self._unseen
        return done

    def _gone(self, purged: Purged, each: Abandoned) -> None:
        purged.gone.append(each)
        self._say(each)
        self._go_on()

    def _go_on(self) -> None:
        self._lease.renew()
        self._rest()

    # Looking

    def _abandoned(self) -> Iterator[Folder]:
        """Yield the uploads to which nobody has written for long enough."""
        self._unseen = ""
        self._now = storage_time(self._driver)
        written = self._written(paths.EVERYTHING)
        for number, folder in enumerate(folders(self._driver, self._slow, self._go_on), 1):
            self._look(Step(folder.repository, number, 0, "uploads looked at"))
            if folder.is_abandoned(self._now, self._age) and not self._is_written(folder, written):
                yield folder

    def _open(self, prefix: str) -> list[Unfinished]:
        """Return what is below *prefix* and not finished; nothing if that cannot be seen."""
        if self._unseen:
            return []
        try:
            found: list[Unfinished] = self._slow(list, self._driver.unfinished(prefix, self._now - self._age))
        except StorageUnavailable as error:
            if not error.lasting:
                raise
            self._unseen = str(error)
            return []
        return found

    def _unfinished(self) -> list[Unfinished]:
        """Return what was begun and not finished, to which nobody has written for long enough."""
        return [each for each in self._open(paths.EVERYTHING) if each.touched < self._now - self._age]

    def _written(self, prefix: str) -> set[str]:
        """Return the marks of the folders below *prefix* in which somebody writes an object."""
        return {each.folder for each in self._open(prefix) if each.touched >= self._now - self._age}

    def _is_written(self, folder: Folder, written: set[str]) -> bool:
        if self._unseen and folder.touched >= self._now - UNSEEN:
            return True
        return folder_mark(folder.path) in written

    # Deleting

    def _purge(self, folder: Folder) -> bool:
        """Purge an upload, and return whether it is gone: somebody may have written to it."""
        if not folder.is_cancelled and not folder.is_of_distribution:
            self._driver.write(folder.path + PURGING, b"")
        again = look_at(self._driver, folder, self._slow)
        if not again.is_abandoned(self._now, self._age) or (
            not again.is_cancelled and self._is_written(again, self._written(folder.path))
        ):
            self._driver.delete([folder.path + PURGING])
            return False
        if again.must_be_cancelled(self._now):
            self._driver.write(folder.path + CANCELLED, b"")
        # ``startedat`` goes first and the mark last, as a purge may end anywhere.
        doomed = sorted(again.doomed(self._now), key=lambda name: name != _STARTED)
        self._slow(self._driver.delete, [folder.path + name for name in doomed if name != PURGING])
        if PURGING in again.objects:
            self._driver.delete([folder.path + PURGING])
        return True


def _upload(folder: Folder) -> Abandoned:
    return Abandoned("upload", folder.uuid, folder.repository, folder.size, folder.touched)


def _part(unfinished: Unfinished) -> Abandoned:
    return Abandoned("unfinished", unfinished.name, "", unfinished.size, unfinished.touched)
