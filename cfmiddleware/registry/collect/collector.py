"""Garbage collection while pushes, pulls and deletes go on.

A blob's bytes are garbage when no link and no manifest of any repository names them. They go in two steps.
First the link of a blob that no manifest of the repository refers to is *set aside*: clients no longer find
the blob, and upload it again if they need it. When nothing has linked the bytes for a grace period, they are
deleted. Each step is announced, and looked at again just before (see ``condemned.py``).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cfmiddleware.digest import Digest
from cfmiddleware.errors import NotDeleted, ObjectNotFound, StorageError, StorageRefused
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.process.step import Step
from cfmiddleware.registry.cleanup import cleaned_up
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver, Stat
from cfmiddleware.storage.requestmeter import RequestMeter

from .aside import AsideLink, AsideList, aside_lists, bring_back, set_aside
from .census import Census, Walk, blobs, repository_names, take_census
from .condemned import Announced, Condemned, of_data, of_repository, storage_time
from .fingerprints import Fingerprints, fingerprint_of
from .lease import Lease
from .otherwriters import refuse_other_writers
from .references import references
from .remembered import Known, Remembered
from .verdict import Rules, Verdict, judge

if TYPE_CHECKING:
    from .inventory import Inventory

T = TypeVar("T")

# How many deletes one look at the clock allows.
_BATCH = 1000


@dataclass
class Total:
    """A number of things and their bytes."""

    count: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """Count one more."""
        self.count += 1
        self.size += size


class _Unread(NamedTuple):
    """A manifest that is to be read: its name, and the digest of its bytes."""

    manifest: Digest
    data: Digest


@dataclass
class Spent:
    """How many requests of each kind the parts of a look have taken; price.py makes a forecast of them.

    :param naming: to find the repositories.
    :param look: to look at all of them.
    :param losers: to look at those that lose something.
    :param saving: to keep what was read of manifests.
    :param objects: in how many objects that is, before and after.
    :param aside: how many lists of links that were set aside there are.
    :param expired: how many of these have no use any more.
    :param uploading: how many repositories are looked at for uploads of Distribution's.
    :param uploadingagain: how many are before something is deleted.
    """

    naming: Counter[str] = field(default_factory=Counter)
    look: Counter[str] = field(default_factory=Counter)
    losers: Counter[str] = field(default_factory=Counter)
    saving: Counter[str] = field(default_factory=Counter)
    objects: tuple[int, int] = (0, 0)
    aside: int = 0
    expired: int = 0
    uploading: int = 0
    uploadingagain: int = 0


@dataclass
class Survey:
    """What a collection has found, and what becomes of it.

    :param now: the storage's time when it began, in Unix seconds.
    :param verdicts: what becomes of each repository.
    :param data: the bytes that are deleted, with their sizes.
    :param stored: all bytes that there are.
    :param loosened: the bytes that lose their last link and stay for the grace period.
    :param waiting: the bytes without a link whose grace period is not over.
    :param manifests: how many manifests there are.
    :param read: how many of them had to be read.
    :param kept: fingerprints of all bytes that a link or a manifest names, but for the links that go.
    :param unlinked: fingerprints of the bytes that the links that go name.
    :param wanted: the fingerprints that the two above are wanted of, or None for all.
    :param report: the time of the inventory report that it is about, in Unix seconds; None where the storage
        was listed.
    :param spent: how many requests each part of the look has taken.
    """

    now: float
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    data: dict[Digest, int] = field(default_factory=dict)
    stored: Total = field(default_factory=Total)
    loosened: Total = field(default_factory=Total)
    waiting: Total = field(default_factory=Total)
    manifests: int = 0
    read: int = 0
    kept: Fingerprints = field(default_factory=Fingerprints)
    unlinked: Fingerprints = field(default_factory=Fingerprints)
    wanted: Fingerprints | None = None
    report: float | None = None
    spent: Spent = field(default_factory=Spent)

    def take(self, verdict: Verdict) -> None:
        """Add what becomes of a repository."""
        self.verdicts[verdict.name] = verdict
        for ours, theirs in ((self.kept, verdict.kept), (self.unlinked, verdict.loosened)):
            ours.merge(theirs if self.wanted is None else theirs.common(self.wanted))
        # Their numbers are millions, and nobody needs them repository by repository.
        verdict.kept, verdict.loosened = Fingerprints(), Fingerprints()

    def lines(self) -> Iterator[str]:
        """Yield what has to be announced."""
        for verdict in self.verdicts.values():
            for digest in (*verdict.layers, *verdict.revisions):
                yield of_repository(verdict.name, digest)
        yield from map(of_data, self.data)

    def losers(self) -> list[str]:
        """Return the repositories that lose something."""
        return [name for name, verdict in self.verdicts.items() if verdict.layers or verdict.revisions]

    def aside(self) -> Iterator[AsideLink]:
        """Yield the links that are set aside, those of manifests first."""
        yield from self.manifests_aside()
        yield from self.layers_aside()

    def manifests_aside(self) -> Iterator[AsideLink]:
        """Yield the links of manifests that are set aside."""
        for verdict in self.verdicts.values():
            for digest, link in verdict.revisions.items():
                yield AsideLink("manifest", verdict.name, digest, link.data)

    def layers_aside(self) -> Iterator[AsideLink]:
        """Yield the links of blobs that are set aside."""
        for verdict in self.verdicts.values():
            for digest, link in verdict.layers.items():
                yield AsideLink("layer", verdict.name, digest, link.data)


@dataclass
class Outcome:
    """What a collection has done.

    :param survey: what it found.
    :param layers: how many links of blobs it set aside.
    :param revisions: how many links of manifests it set aside.
    :param restored: how many links it brought back.
    :param deleted: the bytes that it deleted.
    :param spared: how many links and bytes it left where they are, because they came into use meanwhile.
    :param unfinished: whether it ended before everything was deleted; another one goes on.
    :param refused: the paths of what the storage did not delete, and what it said of each.
    """

    survey: Survey
    layers: int = 0
    revisions: int = 0
    restored: int = 0
    deleted: Total = field(default_factory=Total)
    spared: int = 0
    unfinished: bool = False
    refused: dict[str, str] = field(default_factory=dict)


class Collector:
    """Collects the garbage of a storage.

    :param driver: the storage.
    :param rules: what is garbage.
    :param parallel: how many requests to the storage are made at a time.
    :param condemned: how it agrees with the registry.
    :param say: is told what the collection does, for people.
    :param inventory: says where to look; without one, the storage is listed.
    :param meter: what the requests of *driver* pass through; None where it makes none.
    :param tell: is told of the links that were set aside, when they are.
    """

    def __init__(
        self,
        driver: Driver,
        rules: Rules,
        parallel: int = 16,
        condemned: Condemned | None = None,
        say: Callable[[str], object] = lambda _: None,
        inventory: Inventory | None = None,
        meter: RequestMeter | None = None,
        tell: Callable[[list[AsideLink]], object] = lambda _: None,
    ) -> None:
        self._driver = driver
        self._rules = rules
        self._say = say
        self._inventory = inventory
        self._meter = meter or RequestMeter(parallel)
        self._tell = tell
        self._condemned = condemned or Condemned(driver)
        self._clock = self._condemned.clock
        # Three of them, because one waits for the other.
        self._beginning = SideBySide(4)
        self._listing = SideBySide(parallel)
        self._reading = SideBySide(parallel)
        self._remembered = Remembered(driver, self._reading)
        self._lease = Lease(driver, self._clock)
        # Whether it has begun to delete something and has not seen the end of that.
        self._deletes = False
        # How many links and blobs are dealt with, of how many.
        self._dealt = self._going = 0
        # What it took to find the repositories.
        self._naming: Counter[str] = Counter()
        #: What :meth:`collect` has done so far, when it has begun to.
        self.outcome: Outcome | None = None
        self._uploading: set[str] = set()

    def survey(self) -> Survey:
        """Find out what would go, and change nothing but what is remembered of manifests."""
        return self._first_look()[0]

    def collect(self) -> Outcome:
        """Collect.

        :raises LeaseTaken: when another collection runs.
        :raises OtherWriter: when Distribution pushes meanwhile, and the rules do not allow that.
        """
        with self._lease.held():
            self._condemned.clean_up()
            survey, aside = self._first_look()
            self._refuse_other_writers(survey.now)
            outcome = self.outcome = Outcome(survey)
            for verdict in survey.verdicts.values():
                if verdict.restored:
                    digests = [link.name for link in verdict.restored]
                    outcome.restored += bring_back(self._driver, verdict.name, digests)
            lines = list(survey.lines())
            if lines:
                self._say(f"announcing {len(lines)} links and blobs")
                self._dealt, self._going = 0, len(lines)
                announced = self._condemned.announce(lines)
                with cleaned_up(lambda: self._condemned.withdraw(announced, late=self._deletes)):
                    self._sweep(outcome, announced)
            if not outcome.unfinished:
                self._forget(aside, survey.now)
            return outcome

    # Looking

    def _first_look(self) -> tuple[Survey, list[AsideList]]:
        """Look at everything. What was read of manifests is kept, also by a collection that is ended."""
        now, aside, names = self._begin()
        objects = self._remembered.objects
        try:
            survey = self._survey(now, aside, names)
        except BaseException:
            with contextlib.suppress(StorageError):
                self._remembered.save()
            raise
        spent = survey.spent
        with self._meter.apart() as spent.saving:
            self._remembered.save()
        spent.naming, spent.objects, spent.aside = (
            self._naming,
            (objects, self._remembered.objects),
            len(aside),
        )
        spent.expired = sum(listed.written < survey.now - self._rules.grace for listed in aside)
        if not self._rules.besidedistribution:
            spent.uploading = len(self._uploading)
            spent.uploadingagain = len(self._uploading.union(survey.losers()))
        return survey, aside

    def _begin(self) -> tuple[float, list[AsideList], list[str]]:
        """Return the time, what has been set aside, and the repositories, when what is remembered is read."""
        times: list[float] = []
        aside: list[AsideList] = []
        names: list[str] = []
        self._beginning.all(
            lambda: names.extend(self._repositories()),
            lambda: times.append(storage_time(self._driver)),
            lambda: aside.extend(aside_lists(self._driver)),
            self._remembered.load,
        )
        (now,) = times
        # What is younger than the report's is not known of.
        return now if self._inventory is None else min(now, self._inventory.created), aside, names

    def _repositories(self) -> list[str]:
        if self._inventory is not None:
            return self._inventory.repositories()
        with self._meter.apart() as self._naming:
            return sorted(self._listed())

    def _listed(self) -> Iterator[str]:
        return repository_names(self._driver, self._listing, self._uploading.add)

    def _refuse_other_writers(self, now: float) -> None:
        if not self._rules.besidedistribution:
            refuse_other_writers(self._driver, sorted(self._uploading), now)

    def _survey(self, now: float, aside: list[AsideList], names: list[str]) -> Survey:
        """Look at all repositories, and then at the bytes.

        The bytes come last: what has been uploaded meanwhile is young, and its link has been seen or it is
        younger than the look at the repositories.
        """
        survey, inventory = Survey(now), self._inventory
        by_repository: dict[str, list[AsideLink]] = {}
        for listed in aside:
            for link in listed.links:
                by_repository.setdefault(link.repository, []).append(link)
        every = dict.fromkeys((*names, *by_repository))
        if inventory is None:
            self._judge(every, survey, by_repository)
            self._look_at_data(survey, aside, blobs(self._driver))
            return survey
        survey.report = inventory.created
        # Of the bytes that have a link, the report knows it.
        orphans = list(inventory.orphans())
        survey.wanted = Fingerprints(fingerprint_of(digest) for digest, _ in orphans)
        self._judge(every, survey, by_repository, inventory.walk)
        self._look_at_data(survey, aside, orphans)
        survey.stored = Total(*inventory.stored())
        survey.loosened = Total(
            *inventory.only_named_by((link.repository, link.name) for link in survey.aside())
        )
        return survey

    def _survey_again(self, survey: Survey) -> Survey:
        """Look once more, and in the storage itself, at what is about to go."""
        again = Survey(survey.now, wanted=Fingerprints(map(fingerprint_of, survey.data)))
        names = survey.losers()
        self._uploading.update(names)
        # A link concerns its repository alone; bytes may be named by any.
        self._judge(self._listed() if survey.data else names, again, {}, what="repositories again")
        return again

    def _judge(
        self,
        names: Iterable[str],
        survey: Survey,
        by_repository: Mapping[str, Iterable[AsideLink]],
        walk: Walk | None = None,
        what: str = "repositories",
    ) -> None:
        total = len(names) if isinstance(names, Collection) else 0
        for number, census in enumerate(self._read_through(names, survey, walk), 1):
            self._lease.renew()
            verdict = judge(
                census, self._remembered.get, self._rules, survey.now, by_repository.get(census.name, ())
            )
            survey.spent.look.update(census.requests)
            if verdict.layers or verdict.revisions:
                survey.spent.losers.update(census.requests)
            survey.take(verdict)
            counts = f"{len(census.revisions)} manifests, {len(census.layers)} blobs"
            self._say(Step(f"{census.name}: {counts}", number, total, what))

    def _read_through(self, names: Iterable[str], survey: Survey, walk: Walk | None) -> Iterator[Census]:
        """Yield what each repository has, when all its manifests that can be read are known."""
        # The manifests of all repositories are read in one go: most repositories have too few to keep as many
        # requests busy as there may be.
        underway: set[_Unread] = set()
        for census, unread, known in self._reading.map(self._learn, self._unread(names, walk, underway)):
            if unread is None:
                survey.manifests += len(census.revisions)
                yield census
                continue
            underway.discard(unread)
            survey.read += 1
            # What cannot be read is not remembered, because it may be mended.
            if known is not None:
                self._remembered.put(unread.manifest, known)
            self._lease.renew()

    def _unread(
        self, names: Iterable[str], walk: Walk | None, underway: set[_Unread]
    ) -> Iterator[tuple[Census, _Unread | None]]:
        """Yield the manifests of repositories that are not known, and after those of each one None.

        :param underway: those that have been yielded and are not known yet.
        """

        def look(name: str) -> Census:
            with self._meter.apart() as requests:
                census = take_census(
                    self._driver, name, tags=self._rules.deleteuntagged, walk=walk, reading=self._reading
                )
            census.requests = requests
            return census

        for census in self._listing.map(look, names):
            for manifest in census.revisions:
                if self._remembered.get(manifest) is None:
                    unread = _Unread(manifest, census.revisions[manifest].data)
                    if unread not in underway:
                        underway.add(unread)
                        yield census, unread
            yield census, None

    def _learn(self, item: tuple[Census, _Unread | None]) -> tuple[Census, _Unread | None, Known | None]:
        """Read what a manifest refers to. One whose bytes are not those of its digest cannot be read."""
        census, unread = item
        if unread is None:
            return census, None, None
        try:
            content = self._driver.read(paths.blob_data(unread.data))
        except ObjectNotFound:
            return census, unread, None
        whole = Digest.of(content, unread.data.algorithm) == unread.data
        found = references(content) if whole else None
        return census, unread, None if found is None else Known.of(found)

    def _look_at_data(
        self, survey: Survey, aside: list[AsideList], stored: Iterable[tuple[Digest, Stat]]
    ) -> None:
        """Find the bytes that nothing has named for the grace period."""
        old = survey.now - self._rules.grace
        recent = _recent(aside, old)
        for digest, stat in stored:
            survey.stored.add(stat.size)
            number = fingerprint_of(digest)
            if number in survey.kept:
                continue
            if number in survey.unlinked:
                survey.loosened.add(stat.size)
            elif stat.modified >= old or number in recent:
                survey.waiting.add(stat.size)
            else:
                survey.data[digest] = stat.size
            self._lease.renew()

    # Deleting

    def _sweep(self, outcome: Outcome, announced: Announced) -> None:
        """Look at everything again, and delete what is still garbage."""
        survey, again = outcome.survey, self._survey_again(outcome.survey)
        self._remembered.save()
        self._refuse_other_writers(survey.now)
        for verdict in again.verdicts.values():
            before = survey.verdicts.get(verdict.name)
            for links, once in (
                (verdict.layers, before.layers if before else {}),
                (verdict.revisions, before.revisions if before else {}),
            ):
                for digest in links.keys() - once.keys():
                    del links[digest]
        found = sum(1 for _ in survey.lines())
        # Manifests first and by themselves: none may stay whose blobs go.
        self._set_aside(self._typed(again), announced, outcome)
        self._forget_manifests(again, announced, outcome)
        if not outcome.unfinished and not outcome.refused:
            self._set_aside(again.layers_aside(), announced, outcome)
        # A link that goes now counts as well: the grace period of its bytes has only begun. So do those that
        # another collection has set aside meanwhile.
        recent = _recent(aside_lists(self._driver), survey.now - self._rules.grace)
        named = (again.kept, again.unlinked, recent)
        data = {
            digest: size
            for digest, size in survey.data.items()
            if not any(fingerprint_of(digest) in numbers for numbers in named)
        }
        if self._inventory is not None:
            data = self._still_old(data, survey.now)
        sizes = ((paths.blob_data(digest), size) for digest, size in data.items())
        for part in _batches(sizes):
            size_of = dict(part)
            for gone in self._delete(size_of, announced, outcome):
                for path in gone:
                    outcome.deleted.add(size_of[path])
                self._deal_with(len(gone))
        going = sum(1 for _ in again.manifests_aside()) + sum(1 for _ in again.layers_aside())
        outcome.spared = found - going - len(data)

    def _typed(self, survey: Survey) -> Iterator[AsideLink]:
        """Yield the manifests that are set aside, with the types that only the registry knows."""
        for name, verdict in survey.verdicts.items():
            if not verdict.revisions:
                continue
            kept = {path for path, _ in self._driver.walk(paths.manifest_types(name))}
            for digest, link in verdict.revisions.items():
                path, media_type = paths.manifest_type(name, digest), ""
                if path in kept:
                    with contextlib.suppress(ObjectNotFound):
                        media_type = self._driver.read(path).decode("ascii", "replace")
                yield AsideLink("manifest", name, digest, link.data, media_type)

    def _set_aside(self, links: Iterable[AsideLink], announced: Announced, outcome: Outcome) -> None:
        """Write down links, and delete them."""
        for batch in set_aside(self._driver, links):
            by_path = {link.path: link for link in batch}
            for paths_gone in self._delete(by_path, announced, outcome):
                gone = [by_path[path] for path in paths_gone]
                outcome.layers += sum(link.kind == "layer" for link in gone)
                outcome.revisions += sum(link.kind == "manifest" for link in gone)
                self._tell(gone)
                self._deal_with(len(gone))

    def _deal_with(self, number: int) -> None:
        self._dealt += number
        self._say(Step("", self._dealt, self._going, "links and blobs deleted"))

    def _still_old(self, data: Mapping[Digest, int], now: float) -> dict[Digest, int]:
        """Return the bytes that have not been written anew since the report."""

        def is_old(digest: Digest) -> bool:
            try:
                return self._driver.stat(paths.blob_data(digest)).modified < now - self._rules.grace
            except ObjectNotFound:
                return False

        looks = zip(data.items(), self._reading.map(is_old, data), strict=True)
        found = {}
        for (digest, size), old in looks:
            self._lease.renew()
            if old:
                found[digest] = size
        return found

    def _delete(self, doomed: Iterable[str], announced: Announced, outcome: Outcome) -> Iterator[list[str]]:
        """Delete, as long as the announcement stands, and yield what is gone. An object that the storage does
        not delete keeps no other one.
        """
        for batch in _batches(doomed):
            self._lease.renew()
            if not self._condemned.stands(announced):
                outcome.unfinished = True
                return
            self._deletes = True
            left = self._refused(batch)
            self._deletes = False
            outcome.refused.update(left)
            yield [path for path in batch if path not in left]

    def _refused(self, batch: list[str]) -> Mapping[str, str]:
        """Delete, and return what the storage did not delete, with what it said."""
        try:
            self._driver.delete(batch)
        except NotDeleted as error:
            return error.codes
        except StorageRefused as error:
            if len(batch) > 1:  # not for one object's sake
                raise
            return {batch[0]: str(error)}
        return {}

    def _forget_manifests(self, survey: Survey, announced: Announced, outcome: Outcome) -> None:
        """Delete what the registry keeps about manifests that were set aside: types, and descriptors in lists
        of referrers.
        """
        for verdict in survey.verdicts.values():
            if not verdict.revisions:
                continue
            doomed = [paths.manifest_type(verdict.name, digest) for digest in verdict.revisions]
            names = {f"{digest.algorithm}-{digest.hex}" for digest in verdict.revisions}
            listed = (path for path, _ in self._driver.walk(paths.all_referrers(verdict.name)))
            doomed += (path for path in listed if path.rpartition("/")[2] in names)
            for _ in self._delete(doomed, announced, outcome):
                pass

    def _forget(self, aside: list[AsideList], now: float) -> None:
        """Delete the lists whose grace period was over before this collection looked at the bytes."""
        self._driver.delete(listed.path for listed in aside if listed.written < now - self._rules.grace)


def _recent(aside: Iterable[AsideList], since: float) -> set[int]:
    """Return fingerprints of the bytes whose links were set aside since then."""
    return {fingerprint_of(link.data) for listed in aside if listed.written >= since for link in listed.links}


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch
