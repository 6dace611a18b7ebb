"""How a collection and the pushes that go on meanwhile agree, without a lock and without a clock in common.

A collector *announces* what it is about to delete, and waits for :data:`SETTLE` seconds. Only then it looks
at the storage again, and deletes what still nothing refers to. The announcement stays for as long again after
the deletes. A request that makes something refer to something writes, and then looks at the
announcements; what it remembers of them is at most :data:`LOOK` seconds old. So there are three cases:

- The collector's second look came after the request's write. It sees the write, and deletes nothing of it.
- It came before. Then the announcement is older still, by more than a look can be old, and the request finds
  what it needs in it. It waits until the announcement is withdrawn, sees what is still there, and mends it or
  refuses.
- The announcement is already withdrawn. Then it stood for twice :data:`SETTLE`, and the process has met it if
  it looked all the time; and it left a mark, so that a process that did not look knows that it missed one.
  Then its deletes may be younger than what the request saw, which looks again.

What a request mends is a write like the first. It is finished only when no collection has come between: when
it looked without an announcement in the way, wrote, and still there was none.

A request that is killed between its write and its look mends nothing. So it looks before it writes as well,
and waits while something of it is announced. Then a collection misses only a write that came more than
:data:`SETTLE` less :data:`LOOK` seconds after that. This may still happen. Therefore, where a collection has
ever been (:attr:`Condemned.has_deleted`), a link alone does not count: the push of a manifest looks at the
bytes, also below the manifests of an index (``referred.py``).

Each side measures time with its own monotonic clock. A process may be stopped anywhere for any time: before
each request that deletes, a collector sees that its announcement still stands, and a request does not trust
what it saw before it was stopped. Two collectors at once agree in the same way, each with all requests.

One thing is taken for granted: that what a storage was asked is done within :data:`LATE` seconds after the
one who asked has gone or was stopped, and that a collector is not stopped for more than twenty minutes
between that look and the request after it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar
from uuid import uuid4

from cfmiddleware.digest import Digest
from cfmiddleware.errors import BeingCollected, ObjectNotFound, StorageError
from cfmiddleware.process.owner import has_ended, this_process
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

T = TypeVar("T")

#: How old, in seconds, what a request knows of the announcements may be.
LOOK = 1.0

#: How long, in seconds, an announcement stands before the second look, and after the deletes.
SETTLE = 4.0

#: How many seconds a storage may go on with what it was asked by one who was killed, or who waits no longer.
#: It may delete a thousand objects one after the other.
LATE = 30.0

# What a request saw so many seconds before its process had looked is older than the deletes of all that was
# withdrawn by then; and between two looks that are not further apart nothing was announced and withdrawn.
_BEFORE = SETTLE - LOOK
_APART = 2 * SETTLE - LOOK

# How long an announcement that was withdrawn is remembered.
_REMEMBER = 300.0

# What the name of an object begins with that says that an announcement was withdrawn.
_MARK = "withdrawn-"

# How often a request mends what collections have taken.
_ATTEMPTS = 5

# How long a request waits for an announcement to be withdrawn, and how often it looks.
_PATIENCE = 30.0
_POLL = 0.5

# How long a collector may go on deleting after it announced, and how old an announcement is, by the storage's
# own clock, when its collector must have ended and every request of it with it.
LIMIT = 600.0
_DEAD = 3 * LIMIT

_ENTRIES = 10_000


def of_repository(repository: str, digest: Digest) -> str:
    """Return the announcement's line for a repository's link, of a blob or of a manifest."""
    return f"{repository}@{digest}"


def of_data(digest: Digest) -> str:
    """Return the announcement's line for the bytes of a digest."""
    return f"@{digest}"


class Announced(NamedTuple):
    """What a collector has announced.

    :param paths: where.
    :param began: when it began to, by its clock.
    """

    paths: list[str]
    began: float


class _Met(NamedTuple):
    """An announcement that a process has met.

    :param gone: when the process first saw that it was withdrawn, or None.
    """

    lines: frozenset[str]
    gone: float | None = None


class _View(NamedTuple):
    """What a process knows of announcements.

    :param looked: when it last began to look.
    :param ever: whether it has ever seen an announcement, or the mark of one.
    :param unbroken: since when it has met all that there were.
    :param marks: what withdrawn announcements have left.
    :param met: those that stand, and those that were withdrawn not long ago, by their paths.
    """

    looked: float
    ever: bool
    unbroken: float
    marks: frozenset[str]
    met: Mapping[str, _Met]

    def touching(self, lines: frozenset[str]) -> set[str]:
        """Return the paths of those that stand and that announce one of the lines."""
        return {p for p, met in self.met.items() if met.gone is None and not lines.isdisjoint(met.lines)}

    def leaves(self, lines: frozenset[str], since: float) -> bool:
        """Return whether no announcement's deletes came after that time, of those that are withdrawn."""
        if self.unbroken > since + _BEFORE:
            return False
        return not any(
            met.gone is not None and met.gone > since + _BEFORE and not lines.isdisjoint(met.lines)
            for met in self.met.values()
        )


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

    @property
    def has_deleted(self) -> bool:
        """Whether a collection has ever announced a delete here, as far as this process knows."""
        return self._view is not None and self._view.ever

    def look_ahead(self) -> None:
        """Look at what is announced if it is nearly time to, beside something after which :meth:`settled` is
        asked.
        """
        self._looked(LOOK / 2)

    def settled(self, lines: Iterable[str], since: float) -> bool:
        """Return whether what a request has seen since then still stands, before and after it writes what
        refers to it. If not, no collection has announced it any more, and it looks again: see :meth:`mend`.

        :param lines: what must not be deleted.
        :param since: the time, by this object's clock, when the request began to look.
        :raises BeingCollected: when a collection does not come to its end.
        """
        view = self._looked(LOOK)
        # Nearly always, nothing was announced.
        if not view.met:
            return view.unbroken <= since + _BEFORE
        lines = frozenset(lines)
        if not view.touching(lines):
            return view.leaves(lines, since)
        self._wait(lines)
        return False

    def mend(self, lines: Collection[str], make: Callable[[], T]) -> T:
        """Do again what makes something refer to something, until no collection has come between; return what
        the last attempt has returned.

        :param lines: what must not be deleted; *make* may add to it.
        :param make: looks for what is needed, or writes what refers to it. It may be called more than once.
        :raises BeingCollected: when collections come between again and again, or one does not end.
        """
        for _ in range(_ATTEMPTS):
            since = self.clock()
            made = make()
            if self.settled(lines, since):
                return made
        raise BeingCollected(f"collections come between again and again: {next(iter(lines), '')}")

    def keep_looking(self, since: float) -> None:
        """Look at what is announced, in the middle of something that takes long, if it is time to.

        :param since: when that began.
        """
        if self.clock() - since > _BEFORE - LOOK:
            self._looked(_BEFORE - LOOK)

    def _wait(self, lines: frozenset[str]) -> None:
        """Wait until nothing of the lines is announced."""
        patience = self.clock() + _PATIENCE
        self._end(self._looked(LOOK).touching(lines))
        while in_the_way := self._looked(0).touching(lines):
            if self.clock() >= patience:
                in_the_way = self._end(in_the_way)
                if in_the_way:
                    raise BeingCollected(
                        f"a collection has announced it and does not end: {sorted(in_the_way)[0]}"
                    )
                continue
            self.sleep(_POLL)

    def _looked(self, age: float) -> _View:
        """Return what is announced, as it was so many seconds ago or later."""
        view = self._view
        if view is None or self.clock() - view.looked > age:
            view = self._view = self._look(view)
        return view

    def _look(self, before: _View | None) -> _View:
        looked, known = self.clock(), before.met if before is not None else {}
        standing: dict[str, _Met] = {}
        names = self._driver.list(paths.CONDEMNED)
        marks = frozenset(name for name in names if name.startswith(_MARK))
        for path in (paths.CONDEMNED + name for name in names if not name.startswith(_MARK)):
            if path in known:
                standing[path] = known[path]._replace(gone=None)
                continue
            with contextlib.suppress(ObjectNotFound):  # withdrawn meanwhile, its deletes are long over
                standing[path] = _Met(frozenset(self._driver.read(path).decode().split("\n")))
        now = self.clock()
        withdrawn = {
            path: met if met.gone is not None else met._replace(gone=now)
            for path, met in known.items()
            if path not in standing
        }
        unbroken = now
        if before is not None and (now - before.looked <= _APART or marks == before.marks):
            # Of what is forgotten now, nobody could tell any more whether it concerned a request that slow.
            old = [
                met.gone for met in withdrawn.values() if met.gone is not None and met.gone <= now - _REMEMBER
            ]
            unbroken = max([before.unbroken, *old])
        recent = {
            p: met for p, met in withdrawn.items() if met.gone is not None and met.gone > now - _REMEMBER
        }
        ever = bool(marks or standing) or (before is not None and before.ever)
        return _View(looked, ever, unbroken, marks, {**recent, **standing})

    def _end(self, announced: Iterable[str]) -> set[str]:
        """End the announcements whose collectors have ended, and return the others: its process is no more,
        or the announcement is too old, by the storage's own clock.
        """
        standing, left = set(), set()
        for path in announced:
            with contextlib.suppress(ObjectNotFound):
                owner = self._driver.read(path).partition(b"\n")[0].decode("utf-8", "replace")
                if has_ended(owner):
                    left.add(path)
                elif storage_time(self._driver) - self._driver.stat(path).modified <= _DEAD:
                    standing.add(path)
                else:
                    self._remove([path])
        if left:
            self.sleep(LATE)  # their last requests may still be on their way
            self._remove(left)
        return standing

    def _remove(self, announced: Iterable[str]) -> None:
        """Delete announcements, and leave a mark in the place of the last one."""
        mark = f"{_MARK}{uuid4()}"
        self._driver.write(paths.CONDEMNED + mark, b"")
        names = (n for n in self._driver.list(paths.CONDEMNED) if n.startswith(_MARK) and n != mark)
        self._driver.delete([*announced, *(paths.CONDEMNED + name for name in names)])

    # Collectors

    def announce(self, lines: Iterable[str]) -> Announced:
        """Announce what will be deleted, and return when every request knows it.

        :param lines: what may be deleted.
        """
        announced = Announced([], self.clock())
        try:
            for batch in _batches(lines):
                path = f"{paths.CONDEMNED}{uuid4()}"
                announced.paths.append(path)
                # The first line says whose it is, and is no line that anybody asks for.
                self._driver.write(path, "\n".join((this_process(), *batch)).encode())
            self.sleep(SETTLE)
        except BaseException:
            with contextlib.suppress(StorageError):
                self._remove(announced.paths)  # nothing was deleted
            raise
        return announced

    def stands(self, announced: Announced) -> bool:
        """Return whether a collector may act on an announcement now. It asks before each of its requests that
        delete, because it may have been stopped for so long that others took it for dead.
        """
        there = {paths.CONDEMNED + name for name in self._driver.list(paths.CONDEMNED)}
        return there.issuperset(announced.paths) and self.clock() - announced.began <= LIMIT

    def withdraw(self, announced: Announced, *, late: bool = False) -> None:
        """Withdraw an announcement when its deletes are long enough ago.

        :param late: whether the collector did not wait for the end of one of them.
        """
        self.sleep(LATE if late else SETTLE)
        self._remove(announced.paths)

    def clean_up(self) -> None:
        """Delete the announcements of collectors that were ended before they could withdraw them."""
        names = self._driver.list(paths.CONDEMNED)
        self._end(paths.CONDEMNED + name for name in names if not name.startswith(_MARK))


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
