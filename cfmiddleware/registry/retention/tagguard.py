"""Whether a tag, a manifest or a blob may be deleted: what a protected tag needs may not.

Everything that deletes asks here: a client's DELETE, retention, and commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.process.cache import Cache
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.registry import errors
from cfmiddleware.registry.collect.references import references
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.links import read_link
from cfmiddleware.registry.store.manifest import indexed
from cfmiddleware.registry.store.turns import ParseTurns
from cfmiddleware.registry.tags import Tags
from cfmiddleware.storage.driver import Driver

from .tagrules import Protection, TagPolicy

# Of how many manifests a process remembers what they refer to, and of how many digests at the most.
_REMEMBERED = 1000
_FEW = 200


class _Needs(NamedTuple):
    """What a manifest needs.

    :param digests: everything that it refers to.
    :param manifests: those of them whose needs are its own: the entries of an index, and its subject.
    """

    digests: frozenset[Digest]
    manifests: tuple[Digest, ...]


class Held(NamedTuple):
    """A protected tag that something belongs to.

    :param tag: its name.
    :param why: why it is protected.
    """

    tag: str
    why: Protection


class TagGuard:
    """Tells what is protected.

    :param driver: where the tags are.
    :param tags: the tags.
    :param policy: which of them are protected.
    :param turns: parses manifests.
    """

    def __init__(
        self, driver: Driver, tags: Tags, policy: TagPolicy, turns: ParseTurns | None = None
    ) -> None:
        self._driver = driver
        self._tags = tags
        self._policy = policy
        self._turns = turns or ParseTurns()
        self._needs: Cache[Digest, _Needs] = Cache(_REMEMBERED)
        self._looks = SideBySide()

    def of_tag(self, repository: str, tag: str) -> Protection | None:
        """Return why a tag may not be deleted, or None if it may. The storage is not asked."""
        return self._policy.protection(repository, tag)

    def of_digest(self, repository: str, digest: Digest) -> Held | None:
        """Return the protected tag that a manifest or a blob of the repository belongs to, or None if it may
        be deleted.

        A tag needs the manifest that it names, and everything that this one refers to, at any depth. Of a
        protected manifest that nobody can read, everything of the repository may be part.
        """
        if not self._policy.protects_in(repository):
            return None
        named: dict[Digest, Held] = {}
        for held, current in self._protected(repository):
            if current == digest:
                return held
            if current is not None:
                named.setdefault(current, held)
        return next((held for top, held in named.items() if self._is_part(repository, top, digest)), None)

    def of_repository(self, repository: str) -> Held | None:
        """Return a protected tag of a repository, or None if all of it may be deleted."""
        if not self._policy.protects_in(repository):
            return None
        return next((held for held, _ in self._protected(repository)), None)

    def check_tag(self, repository: str, tag: str) -> None:
        """See that a client may delete a tag.

        :raises RegistryError: ``DENIED`` (405) if it is protected; ``MANIFEST_UNKNOWN`` (404) if it would be
            and is not there.
        """
        why = self.of_tag(repository, tag)
        if why is None:
            return
        if not self._tags.is_there(repository, tag):
            raise errors.manifest_unknown(tag)
        raise errors.tag_protected(tag, str(why))

    def check_digest(self, repository: str, digest: Digest, allowed: str) -> None:
        """See that a client may delete a manifest or a blob.

        :param allowed: the methods that may be used instead.
        :raises RegistryError: ``DENIED`` (405) if a protected tag needs it.
        """
        held = self.of_digest(repository, digest)
        if held is not None:
            raise errors.part_of_protected(digest, held.tag, str(held.why), allowed)

    def check_push(self, repository: str, tags: list[str], digest: Digest) -> None:
        """See that a client may point tags to a manifest.

        :raises RegistryError: ``DENIED`` (403) if one of them is immutable and names another one.
        """
        for tag in dict.fromkeys(tags):
            if self._policy.is_immutable(repository, tag):
                self._tags.check_unmoved(repository, tag, digest)

    def check_type(self, repository: str, digest: Digest, media_type: str, likely: str) -> None:
        """See that a client may push a manifest whose bytes do not say its type: under another one, clients
        could no longer read the image that a tag names.

        :param media_type: the type that it is pushed with.
        :param likely: the type that it is pulled with if none is kept.
        :raises RegistryError: ``DENIED`` (403) if a protected tag needs it, and it has another type.
        """
        if not self._policy.protects_in(repository):
            return
        try:
            kept = self._driver.read(paths.manifest_type(repository, digest)).decode("utf-8", "replace")
        except ObjectNotFound:
            kept = likely
        held = None if kept == media_type else self.of_digest(repository, digest)
        if held is not None:
            raise errors.type_of_protected(digest, held.tag, kept)

    def _protected(self, repository: str) -> Iterator[tuple[Held, Digest | None]]:
        """Yield each protected tag, and the manifest that it names."""
        held = [
            Held(tag.name, why)
            for tag in self._tags.listed(repository)
            if (why := self._policy.protection(repository, tag.name)) is not None
        ]
        named = self._looks.map(lambda each: self._tags.current(repository, each.tag), held)
        yield from zip(held, named, strict=True)

    def _is_part(self, repository: str, top: Digest, wanted: Digest) -> bool:
        waiting, seen = [top], {top}
        while waiting:
            needs = self._needs_of(repository, waiting.pop())
            if needs is None or wanted in needs.digests:
                return True
            waiting += [digest for digest in needs.manifests if digest not in seen]
            seen.update(needs.manifests)
        return False

    def _needs_of(self, repository: str, manifest: Digest) -> _Needs | None:
        """Return what a manifest needs, nothing if it is not there, and None if nobody can tell."""
        known = self._needs.get(manifest)
        if known is not None:
            return known
        data = read_link(self._driver, paths.revision_link(repository, manifest), manifest)
        try:
            content = None if data is None else self._driver.read(paths.blob_data(data))
        except ObjectNotFound:
            content = None
        if content is None:
            return _Needs(frozenset(), ())
        found = self._turns(references, content)
        if found is None:
            return None
        about = () if found.subject is None else (found.subject,)
        needs = _Needs(found.digests, (*self._turns(indexed, content), *about))
        if len(needs.digests) <= _FEW:
            self._needs.put(manifest, needs)
        return needs
