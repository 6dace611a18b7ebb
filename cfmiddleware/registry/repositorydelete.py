"""Deleting a whole repository while pushes go on.

What is about to go is announced, as garbage collections do it (``collect/condemned.py``), and looked at again
when every request knows. What was pushed since the first look stays, with all that it refers to: such a push
wins. A push that comes later finds the announcement, waits for its end and finds out what is missing. So a
push that was acknowledged is whole or, if it was there before, gone.

Manifests, tags and links go with batches; bytes are left to the next collection, and uploads to the next
purge. A delete that was killed leaves less than there was, and the same command goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.storage.driver import Driver

from .cleanup import cleaned_up
from .collect.condemned import Condemned, of_repository, storage_time
from .collect.references import references
from .store import paths
from .store.links import read_link

# S3's times are whole seconds. What is younger than this might be written again without a difference.
_YOUNG = 2.0

# How often a repository is looked at whose objects are that young.
_LOOKS = 5

# How many objects one look at the announcement allows to be deleted, and one event is kept with.
_BATCH = 500


@dataclass
class RepositoryDeleted:
    """What became of a repository.

    :param manifests: those that are gone.
    :param tags: those that are gone.
    :param blobs: those that it had and has no more.
    :param kept: how many objects stay, because they were pushed meanwhile.
    """

    def add(self, other: RepositoryDeleted) -> None:
        """Add what else is gone."""
        self.manifests += other.manifests
        self.tags += other.tags
        self.blobs += other.blobs

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing."""
        return not (self.manifests or self.tags or self.blobs)

    manifests: list[Digest] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    blobs: list[Digest] = field(default_factory=list)
    kept: int = 0


class RepositoryDelete:
    """Deletes whole repositories.

    :param driver: the storage.
    :param condemned: how it agrees with pushes.
    :param tell: is told what is gone of a repository, after each request that deletes.
    """

    def __init__(
        self,
        driver: Driver,
        condemned: Condemned | None = None,
        tell: Callable[[str, RepositoryDeleted], object] = lambda *_: None,
    ) -> None:
        self._driver = driver
        self._condemned = condemned or Condemned(driver)
        self._tell = tell

    def survey(self, name: str) -> RepositoryDeleted:
        """Return what would go, and change nothing."""
        found = RepositoryDeleted()
        self._note(name, self._all(name), found)
        return found

    def delete(self, name: str) -> RepositoryDeleted:
        """Delete a repository, those nested in it not.

        :raises StorageUnavailable: where the storage fails; another try goes on.
        """
        done = RepositoryDeleted()
        before = self._first_look(name)
        while before:
            left = self._round(name, before, done)
            if left is None:
                return done
            before = left
        return done

    def _first_look(self, name: str) -> dict[str, float]:
        for _ in range(_LOOKS):
            now, found = storage_time(self._driver), self._all(name)
            young = [path for path, modified in found.items() if modified >= now - _YOUNG]
            if not young:
                return found
            self._condemned.sleep(_YOUNG)
        # Pushes do not end. What is young counts as pushed since.
        return found | dict.fromkeys(young, -1.0)

    def _all(self, name: str) -> dict[str, float]:
        """Return all objects that make the repository, with their times."""
        return {path: stat.modified for folder in _folders(name) for path, stat in self._driver.walk(folder)}

    def _round(self, name: str, before: dict[str, float], done: RepositoryDeleted) -> dict[str, float] | None:
        """Announce and delete what was seen; return what is left of it, or None if nothing is left to do."""
        digests = dict.fromkeys(digest for path in before if (digest := _linked(name, path)) is not None)
        announced = self._condemned.announce(of_repository(name, digest) for digest in digests)
        with cleaned_up(lambda: self._condemned.withdraw(announced)):
            now = self._all(name)
            fresh = {path for path, modified in now.items() if before.get(path) != modified}
            kept = fresh | self._needed(name, fresh, now)
            doomed = sorted((path for path in now if path not in kept), key=_order)
            done.kept = len(kept)
            for batch in _batches(doomed):
                if not self._condemned.stands(announced):
                    return {path: before[path] for path in doomed if path in before}
                gone = RepositoryDeleted()
                self._note(name, batch, gone)
                self._driver.delete(batch)
                done.add(gone)
                self._tell(name, gone)
        return None

    def _needed(self, name: str, fresh: Iterable[str], now: dict[str, float]) -> set[str]:
        """Return what the manifests need that were pushed meanwhile, or named by a tag that was."""
        waiting = [digest for path in fresh if (digest := _manifest_in(name, path)) is not None]
        for path in fresh:
            if path.startswith(paths.tags(name)) and path.endswith("/" + paths.CURRENT_LINK):
                digest = read_link(self._driver, path)
                if digest is not None:
                    waiting.append(digest)
        needed: set[Digest] = set()
        while waiting:
            digest = waiting.pop()
            if digest in needed:
                continue
            needed.add(digest)
            if paths.revision_link(name, digest) in now:
                waiting += self._referred_to(name, digest)
        marks = {f"/{digest.algorithm}-{digest.hex}" for digest in needed}
        return {
            path
            for path in now
            if _linked(name, path) in needed
            or (path.startswith(paths.all_referrers(name)) and path[path.rindex("/") :] in marks)
        }

    def _referred_to(self, name: str, digest: Digest) -> Iterable[Digest]:
        data = read_link(self._driver, paths.revision_link(name, digest), digest)
        try:
            content = b"" if data is None else self._driver.read(paths.blob_data(data))
        except ObjectNotFound:
            return ()
        found = references(content)
        return () if found is None else found.digests

    def _note(self, name: str, batch: Iterable[str], done: RepositoryDeleted) -> None:
        tags = paths.tags(name)
        for path in batch:
            digest = _linked(name, path)
            if path.startswith(tags):
                tag, _, rest = path[len(tags) :].partition("/")
                if rest == paths.CURRENT_LINK:
                    done.tags.append(tag)
            elif digest is not None and path == paths.layer_link(name, digest):
                done.blobs.append(digest)
            elif digest is not None and path == paths.revision_link(name, digest):
                done.manifests.append(digest)


def _folders(name: str) -> tuple[str, ...]:
    """Return the folders of a repository that make it one: not its uploads."""
    inside = paths.repository(name)
    return paths.manifests(name), paths.layers(name), paths.all_referrers(name), f"{inside}_types/"


def _order(path: str) -> int:
    """Return when a path goes: tags and manifests first, so that clients see nothing half."""
    if path.endswith("/" + paths.CURRENT_LINK):
        return 0
    return 1 if "/_manifests/revisions/" in path else 2


def _linked(name: str, path: str) -> Digest | None:
    """Return the digest of a repository that a path is about, by its last two folders."""
    below = path.removeprefix(paths.repository(name)).split("/")
    parts = below[1:3] if below[0] in ("_layers", "_types") else below[2:4]
    if below[0] == "_manifests" and below[1] == "tags":
        parts = below[4:6]
    if below[0] not in ("_layers", "_types", "_manifests") or len(parts) != 2:
        return None
    try:
        return Digest.parse(":".join(parts))
    except ValueError:
        return None


def _manifest_in(name: str, path: str) -> Digest | None:
    """Return the manifest whose link, or whose entry among a tag's, a path is."""
    return _linked(name, path) if path.startswith(paths.manifests(name)) else None


def _batches(items: Iterable[str]) -> Iterator[list[str]]:
    left = iter(items)
    while batch := list(islice(left, _BATCH)):
        yield batch
