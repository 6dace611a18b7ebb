"""Which uploads there are, and how long ago somebody last wrote to each. Nothing is changed here.

Only the folders of uploads are listed, by their prefixes: what repositories have besides may be millions of
links.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.upload import CANCELLED, PURGING
from cfmiddleware.registry.store.uploadticket import SKEW, VALID
from cfmiddleware.storage.driver import Driver, Stat

T = TypeVar("T")

# Ids of uploads, here and in Distribution. What has another name in their folder is not theirs.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_STARTED = "startedat"
_OF_DISTRIBUTION = ("data", "hashstates/")

#: For how long, in seconds, a URL of an upload may be valid that the storage has nothing of.
URL_VALID = VALID + SKEW

#: Runs what may wait for a disk: it lets other requests go on.
Slow = Callable[..., Any]


class Abandoned(NamedTuple):
    """Something that nobody needs any more.

    :param kind: an upload; the parts of an object that was never finished, or a temporary file; an object
        that the registry wrote for a moment.
    :param name: what it is: the upload's id, or a path.
    :param repository: whose upload it is; empty for anything else.
    :param size: how many bytes it has.
    :param touched: when somebody last wrote to it, in Unix seconds by the storage's clock.
    """

    kind: Literal["upload", "unfinished", "temporary"]
    name: str
    repository: str
    size: int
    touched: float


@dataclass
class Folder:
    """What the storage has of an upload.

    :param repository: whose it is.
    :param uuid: its id.
    :param objects: its objects, by their names in its folder.
    """

    repository: str
    uuid: str
    objects: dict[str, Stat]

    @property
    def path(self) -> str:
        """The folder."""
        return paths.upload(self.repository, self.uuid)

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return sum(stat.size for stat in self.objects.values())

    @property
    def touched(self) -> float:
        """When somebody last wrote to it; what a purge wrote does not count. 0 if nobody did."""
        times = (stat.modified for name, stat in self.objects.items() if name != PURGING)
        return max(times, default=0.0)

    @property
    def is_of_distribution(self) -> bool:
        """Whether Distribution writes to it, which does not know the marks of ours."""
        return any(name.startswith(_OF_DISTRIBUTION) for name in self.objects)

    def is_abandoned(self, now: float, age: float) -> bool:
        """Return whether there is anything to be done because nobody has written to it for that age.

        :param now: the storage's time, in Unix seconds.
        :param age: in seconds.
        """
        is_old = self.touched < now - age
        return is_old and bool(self.doomed(now) or self.must_be_cancelled(now))

    def doomed(self, now: float) -> list[str]:
        """Return the names of the objects that go with it.

        Its ``startedat`` stays for as long as one of its URLs may be valid: nothing else could tell that they
        count no more.
        """
        if self._has_urls(now):
            return [name for name in self.objects if name not in (_STARTED, CANCELLED)]
        return [*self.objects]

    def must_be_cancelled(self, now: float) -> bool:
        """Return whether it must still be said that its URLs count no more."""
        return self._has_urls(now) and not self.is_cancelled

    def _has_urls(self, now: float) -> bool:
        times = [self.objects[name].modified for name in (_STARTED, CANCELLED) if name in self.objects]
        return bool(times) and max(times) >= now - URL_VALID and not self.is_of_distribution

    @property
    def is_cancelled(self) -> bool:
        """Whether no request can go on with it."""
        return CANCELLED in self.objects


def folders(driver: Driver, slow: Slow, rest: Callable[[], None]) -> Iterator[Folder]:
    """Yield all uploads of all repositories, also of those that have nothing else.

    :param slow: runs what may wait for a disk.
    :param rest: is called after each request to the storage.
    """
    waiting = [""]
    while waiting:
        name = waiting.pop()
        folder = paths.repository(name) if name else paths.REPOSITORIES
        entries: list[str] = slow(driver.list, folder, hollow=_may_be_a_repository)
        rest()
        if name and "_uploads/" in entries:
            yield from _of_repository(driver, name, slow, rest)
        waiting += [
            f"{name}/{entry[:-1]}" if name else entry[:-1]
            for entry in reversed(entries)
            if entry.endswith("/") and _may_be_a_repository(entry)
        ]


def _may_be_a_repository(folder: str) -> bool:
    return not folder.startswith("_")


def _of_repository(driver: Driver, name: str, slow: Slow, rest: Callable[[], None]) -> Iterator[Folder]:
    """Yield the uploads of a repository. A storage lists many of them with one request."""
    found: dict[str, Folder] = {}
    above = paths.uploads(name)
    for path, stat in slow(list, driver.walk(above)):
        uuid, slash, inner = path[len(above) :].partition("/")
        if slash and _UUID.fullmatch(uuid):
            found.setdefault(uuid, Folder(name, uuid, {})).objects[inner] = stat
    rest()
    yield from found.values()


def look_at(driver: Driver, folder: Folder, slow: Slow) -> Folder:
    """Return an upload as it is now."""
    listed = slow(list, driver.walk(folder.path))
    objects = {path[len(folder.path) :]: stat for path, stat in listed}
    return Folder(folder.repository, folder.uuid, objects)


def left_behind(driver: Driver, old: float, slow: Slow) -> Iterator[Abandoned]:
    """Yield objects that a start of the registry, or ``cfmiddleware check``, writes for a moment, and that
    were written before *old*.
    """
    for name in slow(driver.list, paths.OWN):
        if _UUID.fullmatch(name.removeprefix("check-")):
            with contextlib.suppress(ObjectNotFound):
                stat = driver.stat(paths.OWN + name)
                if stat.modified < old:
                    yield Abandoned("temporary", paths.OWN + name, "", stat.size, stat.modified)
