"""Looks through a storage for what is broken, while pushes, pulls and deletes go on, and writes nothing.

Links are compared with a list of the blobs that there are; what is not in the list is asked for. So an object
that came after the list costs a request, and is no fault. Manifests and tags are read. Of blobs as many are
read as the rules say. What is held in memory grows with the number of blobs, by sixteen bytes each.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound, StorageUnavailable
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.process.step import Step
from cfmiddleware.reference import is_name
from cfmiddleware.registry.collect.census import digest_of_data
from cfmiddleware.registry.collect.fingerprints import fingerprint_of
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from . import layoutkeys
from .bytesread import BytesRead, Rate
from .faults import Fault, Kind, Note
from .repositorycheck import Counts, RepositoryCheck, Rules, mend_data, unknown_key, unreadable
from .secondlook import SecondLooks
from .sizes import Sizes
from .storedobjects import StoredObjects, WrongLink

_ROOT = "/docker/registry/v2/"

# What lies directly below a folder, where all of it is known.
_KNOWN = {
    "/docker/": {"registry/"},
    "/docker/registry/": {"v2/"},
    _ROOT: {"blobs/", "repositories/", "_cfmiddleware/"},
}

_NOTHING = {Digest.of(b"", algorithm) for algorithm in ("sha256", "sha512")}


@dataclass
class Found:
    """What was looked at, and how much of it is broken.

    :param repositories: how many repositories.
    :param counts: what is in them.
    :param blobs: how many blobs the storage has, and their bytes; 0 where only some repositories were asked
        for.
    :param read: how many blobs were read, manifests apart, and their bytes.
    :param faults: how many of each kind.
    :param notes: how many things are worth knowing.
    """

    repositories: int = 0
    counts: Counts = field(default_factory=Counts)
    blobs: int = 0
    size: int = 0
    read: int = 0
    read_size: int = 0
    faults: Counter[Kind] = field(default_factory=Counter)
    notes: int = 0


class Verifier:
    """Verifies a storage.

    :param driver: the storage.
    :param tell: is told of each fault, by one thread at a time.
    :param note: is told of what is worth knowing, by any thread.
    :param rules: what is looked at.
    :param wanted: tells which repositories are looked at; None for all, and for the blobs that are nobody's.
    :param below: where the names of those begin, up to a slash; empty for everywhere.
    :param rate: how many bytes of blobs are read in a second at the most; 0 for no bound.
    :param parallel: how many requests to the storage are made at a time.
    :param clock: tells the seconds, from any moment on.
    :param sleep: waits for so many seconds; by default until :meth:`stop`.
    :param say: is told what is done, for people.
    """

    def __init__(
        self,
        driver: Driver,
        tell: Callable[[Fault], object],
        note: Callable[[Note], object] = lambda _: None,
        rules: Rules | None = None,
        wanted: Callable[[str], bool] | None = None,
        below: str = "",
        rate: int = 0,
        parallel: int = 16,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.found = Found()
        #: Tells the time in Unix seconds.
        self.now = time.time
        self._driver = driver
        self._tell = tell
        self._note = note
        self._rules = rules or Rules()
        self._wanted = wanted
        self._below = below
        self._say = say
        # Two of them, because the check of a repository waits for its manifests.
        self._checking = SideBySide(parallel)
        self._reading = SideBySide(parallel)
        self._sizes = Sizes() if wanted is None else None
        self._objects = StoredObjects(driver, self._sizes)
        sleep = sleep or self._objects.sleep
        self._bytes = BytesRead(driver, Rate(rate, clock, sleep))
        self._seconds = SecondLooks(self._told, clock, sleep)
        self._sample: list[Digest] = []
        self._passed = 0

    def stop(self) -> None:
        """Have what goes on in other threads end."""
        self._objects.stopped.set()

    def verify(self) -> Found:
        """Look at everything, and return how much of it is broken.

        :raises StorageUnavailable: when the storage does not answer any more.
        """
        try:
            if self._sizes is not None:
                self._list_top()
                self._list_blobs(self._sizes)
            now = self.now()
            for name, counts in self._checking.map(partial(self._check, now), self._repositories()):
                self.found.repositories += 1
                self.found.counts.add(counts)
                told = f"{name}: {counts.manifests} manifests, {counts.layers} blobs"
                self._say(Step(told, self.found.repositories, 0, "repositories"))
            self._read_blobs()
            self._seconds.finish(self._reading)
            return self.found
        finally:
            self.stop()

    def _told(self, fault: Fault) -> None:
        if fault.kind is Kind.UNREADABLE:
            # One object may be; if all are, it is the storage that does not answer.
            self._driver.list(_ROOT)
        self.found.faults[fault.kind] += 1
        self._tell(fault)

    def _noted(self, note: Note) -> None:
        self.found.notes += 1
        self._note(note)

    def _unknown(self, path: str, repository: str = "") -> None:
        self._seconds.suspect(partial(unknown_key, self._objects, path, repository))

    # Lists

    def _list_top(self) -> None:
        for folder, known in _KNOWN.items():
            for name in self._driver.list(folder):
                if name not in known:
                    self._unknown(folder + name)

    def _list_blobs(self, sizes: Sizes) -> None:
        for path, stat in self._objects.walk(paths.BLOBS, self._unknown):
            digest = digest_of_data(path)
            if digest is None:
                self._unknown(path)
                continue
            self.found.blobs += 1
            self.found.size += stat.size
            sizes.add(digest, stat.size)
            if not stat.size and digest not in _NOTHING:
                self._check_bytes(digest)
            else:
                self._choose(digest)
            self._say(Step("", self.found.blobs, 0, "blobs listed"))
        sizes.freeze()

    def _choose(self, digest: Digest) -> None:
        """Put a blob in the sample, with the same chance for all that are seen."""
        if self._rules.every:
            return
        self._passed += 1
        if len(self._sample) < self._rules.sample:
            self._sample.append(digest)
        elif (place := random.randrange(self._passed)) < len(self._sample):  # noqa: S311
            self._sample[place] = digest

    def _repositories(self, *, again: bool = False) -> Iterator[tuple[str, frozenset[str]]]:
        """Yield the repositories that are looked at, with their folders.

        :param again: whether what lies beside them was looked at before.
        """
        level = [self._below]
        while level:
            below: list[str] = []
            for name, entries in zip(level, self._reading.map(self._folders, level), strict=True):
                own = frozenset(entry for entry in entries if entry in layoutkeys.FOLDERS)
                is_wanted = self._wanted is None or self._wanted(name)
                if own and name and is_wanted:
                    yield name, own
                for entry in entries:
                    child = f"{name}/{entry[:-1]}" if name else entry[:-1]
                    if entry.endswith("/") and is_name(child):
                        below.append(child)
                    elif is_wanted and not again and not (name and entry in own):
                        self._unknown(_folder(name) + entry, name)
            level = below

    def _folders(self, name: str) -> list[str]:
        return self._driver.list(_folder(name), hollow=lambda folder: not folder.startswith("_"))

    def _check(self, now: float, item: tuple[str, frozenset[str]]) -> tuple[str, Counts]:
        name, folders = item
        check = RepositoryCheck(
            name,
            folders,
            self._objects,
            self._bytes,
            self._seconds,
            self._reading,
            self._noted,
            self._rules,
            now,
        )
        return name, check.run()

    # Bytes

    def _read_blobs(self) -> None:
        blobs: Iterable[Digest] = self._sample
        if self._wanted is not None:
            blobs = self._linked()
            if not self._rules.every:
                for digest in blobs:
                    self._choose(digest)
                blobs = self._sample
        elif self._rules.every:
            blobs = self._stored()
        # Of what is listed again nobody knows how much it is.
        total = len(blobs) if isinstance(blobs, list) else self.found.blobs
        for number, _ in enumerate(self._reading.map(self._check_bytes, blobs), 1):
            self._say(Step(f"{self._bytes.size} bytes", number, total, "blobs read"))
        self.found.read, self.found.read_size = self._bytes.blobs, self._bytes.size

    def _stored(self) -> Iterator[Digest]:
        for path, stat in self._objects.walk(paths.BLOBS):
            digest = digest_of_data(path)
            if digest is not None and (stat.size or digest in _NOTHING):
                yield digest

    def _linked(self) -> Iterator[Digest]:
        """Yield the blobs of the repositories that are looked at, each once."""
        seen = set[int]()
        for name, _ in self._repositories(again=True):
            for path, stat in self._objects.walk(paths.layers(name)):
                digest = layoutkeys.layer_in(path[len(paths.repository(name)) :])
                if digest is None:
                    continue
                try:
                    data = self._objects.named(path, digest, stat, read=False)
                except (WrongLink, StorageUnavailable):
                    continue
                if data is None or (number := fingerprint_of(data)) in seen:
                    continue
                seen.add(number)
                if self._objects.size(data) is not None:
                    yield data

    def _check_bytes(self, digest: Digest) -> None:
        self._seconds.suspect(partial(self._look_at_bytes, digest))

    def _look_at_bytes(self, digest: Digest) -> Fault | None:
        names = self._objects.other_names(digest)
        try:
            content = self._bytes.content(digest, [name.algorithm for name in names])
        except ObjectNotFound:
            return None  # a collection has taken it
        except StorageUnavailable as error:
            return unreadable("", f"blob {digest}", error)
        wrong = [name for name in (digest, *names) if name not in content.digests]
        if not wrong:
            return None
        return Fault(
            Kind.DATA,
            "",
            f"blob {digest}: its {content.size} bytes are not those of "
            + ("its digest" if wrong[0] == digest else f"{wrong[0]}, as which they are linked"),
            mend_data(self._objects, digest),
        )


def _folder(name: str) -> str:
    return paths.repository(name) if name else paths.REPOSITORIES
