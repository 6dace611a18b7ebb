"""Deleting the tags that no rule keeps, while pushes go on.

A tag is deleted as a client deletes it: its manifest stays, and endpoints are told. What is decided follows
from the listings. Right before each delete the tag is looked at again, and it stays if it has been moved, or
if a push is about to move it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from cfmiddleware.metrics.names import REMOVED
from cfmiddleware.process.offload import offload
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.process.step import Step
from cfmiddleware.registry.announcements import Announcements
from cfmiddleware.registry.catalog import repositories
from cfmiddleware.registry.collect.condemned import storage_time
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.tags import ListedTag, Tags
from cfmiddleware.storage.driver import Driver

from .fates import LINK_SIZES, Fate, broken, fates
from .tagrules import TagPolicy

_log = logging.getLogger("cfmiddleware")

# How many seconds the clocks of the storage and of this machine may differ. With more, one of the two is
# wrong, and nobody knows how old a tag is.
_MOST_APART = 3600.0

# For how long, in seconds, a tag that is deleted must not have been moved. S3's times are whole seconds.
_AT_REST = 3.0

# Up to this many tags are judged in less than a millisecond.
_FEW = 50


class ClockDoubtful(Exception):
    """The storage's clock and this machine's are far apart, so that nothing may go by its age."""


@dataclass
class Expired:
    """What retention has done.

    :param deleted: the tags that are gone.
    :param moved: those that were pushed or deleted meanwhile, and were left alone.
    :param broken: those that stay because their links hold no digest.
    :param kept: how many others stay, in repositories that a rule covers.
    """

    deleted: list[Fate] = field(default_factory=list)
    moved: list[Fate] = field(default_factory=list)
    broken: list[Fate] = field(default_factory=list)
    kept: int = 0


class Retention:
    """Applies the rules to a storage.

    :param driver: the storage.
    :param policy: the rules.
    :param events: is told of what is deleted.
    :param parallel: how many requests to the storage are made at a time.
    :param say: is told what is done, for people.
    :param clock: tells the seconds, from any moment on.
    :param sleep: waits for so many seconds.
    """

    def __init__(
        self,
        driver: Driver,
        policy: TagPolicy,
        events: Announcements | None = None,
        parallel: int = 16,
        say: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._driver = driver
        self._policy = policy
        self._tags = Tags(driver, policy=policy)
        self._events = events or Announcements()
        self._say = say
        self._clock = clock
        self._sleep = sleep
        # Two of them, because what is done with a tag waits for its repository's listing.
        self._listing = SideBySide(parallel)
        self._looking = SideBySide(parallel)

    def survey(self) -> Iterator[list[Fate]]:
        """Yield what becomes of the tags of each repository, and change nothing.

        :raises ClockDoubtful: when nothing may go by its age.
        """
        yield from self._survey(self._now(), lambda _: True)

    def apply(self) -> Expired:
        """Delete the tags that no rule keeps.

        :raises ClockDoubtful: when nothing may go by its age; then nothing is gone.
        """
        began, now = self._clock(), self._now()
        done = Expired()
        doomed: list[Fate] = []
        for decided in self._survey(now, self._policy.may_take_of):
            doomed += [fate for fate in decided if fate.goes]
            done.broken += [fate for fate in decided if fate.broken]
            done.kept += sum(not fate.goes and not fate.broken for fate in decided)
        if not doomed:
            return done
        # A tag that was moved in this very second could be moved again without a difference in its time.
        youngest = now - max(fate.tag.moved for fate in doomed)
        passed = self._clock() - began
        self._sleep(min(max(0.0, _AT_REST - youngest - passed), _AT_REST))
        for number, (fate, gone) in enumerate(self._delete_all(doomed, now - began), 1):
            if gone:
                done.deleted.append(fate)
            else:
                done.moved.append(fate._replace(goes=False, why="pushed or deleted meanwhile"))
            self._say(Step(fate.repository, number, len(doomed), "tags deleted"))
        return done

    def _now(self) -> float:
        """Return the storage's time.

        :raises ClockDoubtful: when it is far from this machine's.
        """
        now = storage_time(self._driver)
        apart = now - time.time()
        if abs(apart) > _MOST_APART:
            direction = "ahead of" if apart > 0 else "behind"
            raise ClockDoubtful(
                f"the storage's clock is {abs(apart) / 3600:.1f} hours {direction} this machine's, "
                "so nobody knows how old a tag is; nothing was deleted"
            )
        return now

    def _survey(self, now: float, wanted: Callable[[str], bool]) -> Iterator[list[Fate]]:
        names = (name for name in repositories(self._driver) if wanted(name))
        for number, decided in enumerate(self._listing.map(partial(self._decide, now), names), 1):
            if decided:
                self._say(Step(f"{decided[0].repository}: {len(decided)} tags", number, 0, "repositories"))
                yield decided

    def _decide(self, now: float, repository: str) -> list[Fate]:
        """Return what becomes of a repository's tags. The links of those that would go are read, and those of
        an odd size.
        """
        # A disk must keep no redirect waiting; a storage's client belongs to the process's greenlets.
        on_disk = self._driver.shared and not self._driver.remote
        found = (offload if on_disk else _at_once)(self._tags.listed, repository)
        listed = [self._mended(repository, tag) for tag in found]
        if len(listed) <= _FEW:
            decided = fates(repository, listed, self._policy, now)
        else:
            decided = offload(fates, repository, listed, self._policy, now)
        doomed = [fate for fate in decided if fate.goes]
        named = self._looking.map(lambda fate: self._tags.current(repository, fate.tag.name), doomed)
        unreadable = {fate.tag.name for fate, digest in zip(doomed, named, strict=True) if digest is None}
        gone = {name for name in unreadable if not self._tags.is_there(repository, name)}
        return [
            broken(repository, fate.tag) if fate.tag.name in unreadable else fate
            for fate in decided
            if fate.tag.name not in gone
        ]

    def _mended(self, repository: str, tag: ListedTag) -> ListedTag:
        """Return a tag with the size that its link should have, if it holds a digest and white space."""
        if tag.size in LINK_SIZES or (named := self._tags.current(repository, tag.name)) is None:
            return tag
        return tag._replace(size=len(str(named)))

    def _delete_all(self, doomed: list[Fate], offset: float) -> Iterator[tuple[Fate, bool]]:
        """Delete tags, and yield of each whether it is gone.

        :param offset: the storage's time when the clock of this object is at zero.
        """
        gone = self._looking.map(lambda fate: self._delete(fate, offset), doomed)
        yield from zip(doomed, gone, strict=True)

    def _delete(self, fate: Fate, offset: float) -> bool:
        self._events.begin("DELETE")
        if not self._tags.delete_unmoved(fate.repository, fate.tag, offset + self._clock()):
            return False
        REMOVED.inc("tag")
        _log.info("retention: %s:%s deleted: %s: %s", fate.repository, fate.tag.name, fate.rule, fate.why)
        self._events.tag_expired(fate.repository, fate.tag.name)
        return True


def _at_once(listed: Callable[[str], list[ListedTag]], repository: str) -> list[ListedTag]:
    return listed(repository)


def keep_record(driver: Driver, done: Expired) -> None:
    """Keep in the storage that retention was done."""
    record = {"deleted": len(done.deleted), "stay": done.kept + len(done.moved) + len(done.broken)}
    driver.write(paths.LAST_RETENTION, json.dumps(record).encode())
