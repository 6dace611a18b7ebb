"""Manifests that pushes have left without bytes, because they were killed beside a garbage collection.

Their clients were never told that they were pushed, but find them: a client that sees a manifest with HEAD
does not push it, and so nobody would ever bring what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from cfmiddleware.digest import Digest
from cfmiddleware.storage.driver import Driver

from .collect.aside import AsideLink, set_aside
from .collect.condemned import Condemned, of_repository
from .store import paths
from .store.links import has_link, read_link
from .tags import Tags


class Leftovers:
    """Takes such manifests away, so that they can be pushed again.

    :param driver: where they are.
    :param tags: what names manifests that are no leftovers.
    :param condemned: how it agrees with pushes, of which one may bring what is missing at the same time.
    """

    def __init__(self, driver: Driver, tags: Tags, condemned: Condemned) -> None:
        self._driver = driver
        self._tags = tags
        self._condemned = condemned

    def remove(
        self,
        repository: str,
        suspects: Mapping[Digest, Callable[[], bool]],
        pushed: Mapping[Digest, Collection[str]] = MappingProxyType({}),
    ) -> None:
        """Set aside those of the manifests that no tag names and that lack something, as a collection would:
        they come back with what they lack. If there are any, this takes twice four seconds.

        :param suspects: tells of each whether it does; first those that refer to others.
        :param pushed: tags that name one only because of the push that is refused.
        """

        def left() -> list[Digest]:
            return [
                digest
                for digest, lacks in suspects.items()
                if self._is_left(repository, digest, lacks, pushed.get(digest, ()))
            ]

        found = left()
        if not found:
            return
        announced = self._condemned.announce(of_repository(repository, digest) for digest in found)
        deletes = False
        try:
            links = [self._link(repository, digest) for digest in left() if digest in found]
            for batch in set_aside(self._driver, links):
                if self._condemned.stands(announced):
                    deletes = True
                    self._driver.delete([link.path for link in batch])
                    deletes = False
        finally:
            self._condemned.withdraw(announced, late=deletes)

    def _is_left(
        self, repository: str, digest: Digest, lacks: Callable[[], bool], pushed: Collection[str]
    ) -> bool:
        if not has_link(self._driver, paths.revision_link(repository, digest)) or not lacks():
            return False
        return not self._tags.lead_to(repository, digest, without=pushed)

    def _link(self, repository: str, digest: Digest) -> AsideLink:
        data = read_link(self._driver, paths.revision_link(repository, digest), digest)
        return AsideLink("manifest", repository, digest, data or digest)
