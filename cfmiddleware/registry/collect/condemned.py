"""How a collection and the pushes that go on meanwhile agree, without a lock and without a clock in common.

A collector *announces* what it is about to delete, and waits for :data:`SETTLE` seconds. Only then it looks
at the storage again, and deletes what still nothing refers to. The announcement stays for as long again after
the deletes. A request that makes something refer to something writes first, and then looks at the
announcements; what it remembers of them is at most :data:`LOOK` seconds old. So there are three cases:

- The collector's second look came after the request's write. It sees the write, and deletes nothing of it.
- It came before. Then the announcement is older still, by more than a look can be old, and the request finds
  what it needs in it. It waits until the announcement is withdrawn, sees what is still there, and mends it or
  refuses.
- The announcement is already withdrawn. Then its deletes are older than :data:`SETTLE`, and older than
  everything that a request saw which took less. A request that took longer looks again.

Each side measures time with its own monotonic clock. A process may be stopped anywhere for any time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import uuid4

from cfmiddleware.digest import Digest
from cfmiddleware.errors import BeingCollected, ObjectNotFound
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .owner import has_ended, this_process

#: How old, in seconds, what a request knows of the announcements may be.
LOOK = 1.0

#: How long, in seconds, an announcement stands before the second look, and after the deletes.
SETTLE = 4.0

# A request that took less than this may trust what it saw when it began.
_QUICK = SETTLE - 2 * LOOK

# How long a request waits for an announcement to be withdrawn, and how often it looks.
_PATIENCE = 30.0
_POLL = 0.5

# How long a collector may go on deleting after it announced, and how old an announcement is, by the storage's
# own clock, when its collector must have ended and every request of it with it.
LIMIT = 600.0
_DEAD = 2 * LIMIT

_ENTRIES = 10_000


def of_repository(repository: str, digest: Digest) -> str:
    """Return the announcement's line for a repository's link, of a blob or of a manifest."""
    return f"{repository}@{digest}"


def of_data(digest: Digest) -> str:
    """Return the announcement's line for the bytes of a digest."""
    return f"@{digest}"


class _View(NamedTuple):
    looked: float
    announced: Mapping[str, frozenset[str]]


class Condemned:
    """What collections are about to delete, as each process sees it.

    :param driver: where the announcements are.
    :param clock: tells the seconds, from any moment on.
    :param sleep: waits for so many seconds.
    """

    def __init__(
        self,
        driver: Driver,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._driver = driver
        self.clock = clock
        self.sleep = sleep
        # Replaced as a whole. Threads that look at the same time list twice, which harms nobody.
        self._view: _View | None = None

    # Requests

    def look_ahead(self) -> None:
        """Look at what is announced if it is nearly time to, beside the write after which :meth:`settled` is
        asked.
        """
        self._looked(LOOK / 2)

    def settled(self, lines: Iterable[str], since: float) -> bool:
        """Return whether what a request has seen since then still stands, after it has written what refers to
        it. If not, it looks again: what is there now stays.

        :param lines: what must not be deleted.
        :param since: the time, by this object's clock, when the request began to look.
        :raises BeingCollected: when a collection does not come to its end.
        """
        # Nearly always, nothing is announced.
        if not self._looked(LOOK).announced:
            return self.clock() - since < _QUICK
        lines = frozenset(lines)
        in_the_way = self._touching(lines, LOOK)
        if not in_the_way:
            return self.clock() - since < _QUICK
        patience = self.clock() + _PATIENCE
        in_the_way = {path for path in in_the_way if not self._ends(path)}
        while in_the_way and self.clock() < patience:
            self.sleep(_POLL)
            in_the_way &= self._touching(lines, 0)
        if any(not self._ends(path) for path in in_the_way):
            raise BeingCollected(f"a collection has announced it and does not end: {sorted(in_the_way)[0]}")
        return False

    def _touching(self, lines: frozenset[str], age: float) -> set[str]:
        announced = self._looked(age).announced
        return {path for path, listed in announced.items() if not lines.isdisjoint(listed)}

    def _looked(self, age: float) -> _View:
        """Return what is announced, as it was so many seconds ago or later."""
        view = self._view
        if view is None or self.clock() - view.looked > age:
            view = self._view = self._look(view)
        return view

    def _look(self, before: _View | None) -> _View:
        looked, known = self.clock(), before.announced if before is not None else {}
        announced: dict[str, frozenset[str]] = {}
        for name in self._driver.list(paths.CONDEMNED):
            path = paths.CONDEMNED + name
            with contextlib.suppress(ObjectNotFound):  # withdrawn meanwhile, its deletes are long over
                announced[path] = known.get(path) or frozenset(self._driver.read(path).decode().split("\n"))
        return _View(looked, announced)

    def _ends(self, path: str) -> bool:
        """End an announcement whose collector has ended, and return whether it has: its process is no more,
        or the announcement is too old, by the storage's own clock.
        """
        try:
            if has_ended(self._driver.read(path).partition(b"\n")[0].decode("utf-8", "replace")):
                self.sleep(SETTLE)  # its last request may still be on its way
            elif storage_time(self._driver) - self._driver.stat(path).modified <= _DEAD:
                return False
        except ObjectNotFound:
            return True
        self._driver.delete([path])
        return True

    # Collectors

    def announce(self, lines: Iterable[str]) -> list[str]:
        """Announce what will be deleted, and return when every request knows it: the announcement's paths.

        :param lines: what may be deleted.
        """
        written = []
        for batch in _batches(lines):
            path = f"{paths.CONDEMNED}{uuid4()}"
            # The first line says whose it is, and is no line that anybody asks for.
            self._driver.write(path, "\n".join((this_process(), *batch)).encode())
            written.append(path)
        self.sleep(SETTLE)
        return written

    def withdraw(self, announced: Sequence[str]) -> None:
        """Withdraw announcements when its deletes, which have ended, are long enough ago."""
        self.sleep(SETTLE)
        self._driver.delete(announced)

    def clean_up(self) -> None:
        """Delete the announcements of collectors that were ended before they could withdraw them."""
        for path in [path for path, _ in self._driver.walk(paths.CONDEMNED)]:
            self._ends(path)


def storage_time(driver: Driver) -> float:
    """Return the storage's own time, in Unix seconds: that of an object just written."""
    driver.write(paths.CLOCK, b"")
    return driver.stat(paths.CLOCK).modified


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _ENTRIES:
            yield batch
            batch = []
    if batch:
        yield batch
