"""Deletes at an operator's word: tags, manifests, whole repositories, one by one or by patterns.

Tags and manifests go as a client's DELETE has them go, by the registry itself: with its events, its caches
and its protected tags.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple, Self

from werkzeug.test import create_environ, run_wsgi_app

from cfmiddleware.digest import Digest
from cfmiddleware.reference import is_name, is_tag
from cfmiddleware.storage.driver import Driver
from cfmiddleware.version import __version__

from . import errors
from .announcements import Announcements
from .app import Registry
from .cache.descriptors import DescriptorCache
from .catalog import repositories
from .collect.condemned import Condemned
from .repositorydelete import RepositoryDelete, RepositoryDeleted
from .retention.tagguard import TagGuard
from .store.links import has_link
from .store.paths import revision_link
from .tags import Tags


class Doomed(NamedTuple):
    """What is to go: a whole repository, a tag or a manifest; where ``*`` or ``?`` is in it, all that match.

    :param repository: its name, or a pattern.
    :param tag: the tag, or a pattern; empty for anything else.
    :param digest: the manifest's; None for anything else.
    """

    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name``, ``name:tag`` or ``name@sha256:...``.

        :raises ValueError: for anything else; the message says what is wrong.
        """
        name, at, digest = text.partition("@")
        if at:
            found = cls(name, digest=Digest.parse(digest))
        else:
            name, colon, tag = text.rpartition(":")
            found = cls(name, tag) if colon and "/" not in tag else cls(text)
            if colon and not tag:
                raise ValueError("there is no tag behind the colon")
        if not is_name(_plain(found.repository)):
            raise ValueError("this is not the name of a repository")
        if found.tag and not is_tag(_plain(found.tag)):
            raise ValueError("this is not a tag")
        return found

    def __str__(self) -> str:
        if self.digest is not None:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag}" if self.tag else self.repository


def _plain(pattern: str) -> str:
    """Return a name that a pattern has, so that it can be seen whether there can be any."""
    return pattern.replace("*", "x").replace("?", "x")


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


_NO_TAG = "there is no such tag"


class NotDeletedHere(Exception):
    """It stays; the message says why."""


class Deletes:
    """Deletes what an operator names.

    :param driver: the storage.
    :param registry: deletes tags and manifests.
    :param guard: tells what is protected.
    :param events: is told of whole repositories.
    :param descriptors: the descriptor cache, which forgets what is gone.
    :param condemned: how whole repositories agree with pushes.
    """

    def __init__(
        self,
        driver: Driver,
        registry: Registry,
        guard: TagGuard,
        events: Announcements,
        descriptors: DescriptorCache | None = None,
        condemned: Condemned | None = None,
    ) -> None:
        self._driver = driver
        self._registry = registry
        self._guard = guard
        self._events = events
        self._tags = Tags(driver)
        self._descriptors = descriptors
        self._whole = RepositoryDelete(driver, condemned, self._gone)

    def expand(self, wanted: Doomed) -> Iterator[Doomed]:
        """Yield what a pattern stands for in the storage; what is no pattern, as it is."""
        names = [wanted.repository]
        if _is_pattern(wanted.repository):
            names = [name for name in repositories(self._driver) if fnmatchcase(name, wanted.repository)]
            if wanted.digest is not None:
                names = [name for name in names if self._has(name, wanted.digest)]
        for name in names:
            if not _is_pattern(wanted.tag):
                yield wanted._replace(repository=name)
                continue
            listed = sorted(tag.name for tag in self._tags.listed(name))
            yield from (Doomed(name, tag) for tag in listed if fnmatchcase(tag, wanted.tag))

    def survey(self, doomed: Doomed) -> RepositoryDeleted:
        """Return what a repository has that would go.

        :raises NotDeletedHere: where it stays, or is not there.
        """
        self._check(doomed)
        if doomed.tag or doomed.digest is not None:
            return RepositoryDeleted()
        found = self._whole.survey(doomed.repository)
        if found.is_empty:
            raise NotDeletedHere("there is no such repository")
        return found

    def delete(self, doomed: Doomed) -> RepositoryDeleted:
        """Delete something, and return what that was.

        :raises NotDeletedHere: where it stays, or is not there.
        :raises StorageUnavailable: where the storage fails; another try goes on.
        :raises RegistryError: where endpoints cannot be told, and no event may get lost.
        """
        if doomed.tag or doomed.digest is not None:
            self._ask(doomed)
            return RepositoryDeleted()
        self.survey(doomed)
        self._events.begin("DELETE")
        return self._whole.delete(doomed.repository)

    def _gone(self, repository: str, gone: RepositoryDeleted) -> None:
        if self._descriptors is not None:
            for digest in gone.blobs:
                self._descriptors.forget(repository, digest)
        self._events.repository_deleted(repository, (*gone.manifests, *gone.blobs), gone.tags)

    def _check(self, doomed: Doomed) -> None:
        if doomed.tag:
            why = self._guard.of_tag(doomed.repository, doomed.tag)
            if why is not None:
                raise NotDeletedHere(f"it is protected ({why})")
            if not self._tags.is_there(doomed.repository, doomed.tag):
                raise NotDeletedHere(_NO_TAG)
            return
        if doomed.digest is not None:
            if not self._has(doomed.repository, doomed.digest):
                raise NotDeletedHere("the repository has no such manifest")
            held = self._guard.of_digest(doomed.repository, doomed.digest)
        else:
            held = self._guard.of_repository(doomed.repository)
        if held is not None:
            raise NotDeletedHere(f"the tag {held.tag} is protected ({held.why})")

    def _has(self, repository: str, manifest: Digest) -> bool:
        return has_link(self._driver, revision_link(repository, manifest))

    def _ask(self, doomed: Doomed) -> None:
        environ = create_environ(
            f"/v2/{doomed.repository}/manifests/{doomed.digest or doomed.tag}",
            method="DELETE",
            headers={"User-Agent": f"cfmiddleware delete/{__version__}"},
        )
        body, status, _ = run_wsgi_app(self._registry, environ, buffered=True)
        if not status.startswith("202"):
            (error,) = json.loads(b"".join(body))["errors"]
            is_absent = error["code"] == errors.manifest_unknown(doomed.tag).code
            raise NotDeletedHere(_NO_TAG if is_absent and doomed.tag else error["message"])
