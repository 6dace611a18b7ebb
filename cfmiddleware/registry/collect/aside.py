"""The links that collections have set aside, so that what is needed after all comes back.

The bytes stay for a grace period after their last link. Until then a manifest that refers to them again
brings the link back (:mod:`cfmiddleware.registry.manifests`), and so does the next collection, if another
program wrote that manifest.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple
from uuid import uuid4

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.links import has_link, read_link, write_link
from cfmiddleware.registry.store.manifest import read_manifest
from cfmiddleware.registry.store.turns import ParseTurns
from cfmiddleware.storage.driver import Driver

from .references import references

_log = logging.getLogger(__name__)

# How many links one list has.
_ENTRIES = 10_000


class AsideLink(NamedTuple):
    """A link that was set aside.

    :param kind: of a blob or of a manifest.
    :param repository: whose it was.
    :param name: its name.
    :param data: the digest whose bytes it named.
    :param media_type: the type that a manifest was pushed with, if its bytes do not say it.
    """

    kind: Literal["layer", "manifest"]
    repository: str
    name: Digest
    data: Digest
    media_type: str = ""

    @property
    def path(self) -> str:
        """Where the link was."""
        path = paths.layer_link if self.kind == "layer" else paths.revision_link
        return path(self.repository, self.name)


class AsideList(NamedTuple):
    """A list of links that were set aside together.

    :param path: where it is.
    :param written: when, in Unix seconds by the storage's clock.
    """

    path: str
    written: float
    links: tuple[AsideLink, ...]


def set_aside(driver: Driver, links: Iterable[AsideLink]) -> Iterator[list[AsideLink]]:
    """Write down what is about to be set aside, and yield it in batches, whose links may then be deleted."""
    batch: list[AsideLink] = []
    for link in links:
        batch.append(link)
        if len(batch) == _ENTRIES:
            yield _write(driver, batch)
            batch = []
    if batch:
        yield _write(driver, batch)


def _write(driver: Driver, batch: list[AsideLink]) -> list[AsideLink]:
    rows = [[kind, repository, str(name), str(data), *more] for kind, repository, name, data, *more in batch]
    driver.write(f"{paths.ASIDE}{uuid4()}", json.dumps(rows).encode())
    return batch


def aside_lists(driver: Driver) -> Iterator[AsideList]:
    """Yield what collections have set aside."""
    for path, stat in driver.walk(paths.ASIDE):
        with contextlib.suppress(ObjectNotFound):
            yield AsideList(path, stat.modified, tuple(_read(path, driver.read(path))))


def _read(path: str, content: bytes) -> Iterator[AsideLink]:
    try:
        for kind, repository, name, data, *more in json.loads(content):
            yield AsideLink(
                "layer" if kind == "layer" else "manifest",
                str(repository),
                Digest.parse(name),
                Digest.parse(data),
                str(more[0]) if more else "",
            )
    except (TypeError, ValueError) as error:
        # Its links do not come back by themselves. Their bytes still stay for the grace period.
        _log.error("%s is damaged: %s", path, error)


def bring_back(
    driver: Driver, repository: str, names: Iterable[Digest], turns: ParseTurns | None = None
) -> int:
    """Bring back what was set aside of a repository and has its bytes still; return how many links are back.

    A manifest comes back after all that it refers to, and not without that. Another collection may delete the
    bytes meanwhile. So a link that is back is no more than any other: who pushes a manifest that refers to it
    looks at the bytes, and then at what is announced.

    :param names: the digests that a manifest refers to and that the repository does not have.
    :param turns: parses manifests, where other requests must not wait for it.
    """
    found: dict[Digest, list[AsideLink]] = {}
    for aside in aside_lists(driver):
        for link in aside.links:
            if link.repository == repository and link not in found.setdefault(link.name, []):
                found[link.name].append(link)
    return _Return(driver, found, turns or ParseTurns()).bring(names) if found else 0


class _Return:
    """The way back of links.

    :param found: those that were set aside, by name.
    """

    def __init__(
        self, driver: Driver, found: Mapping[Digest, Sequence[AsideLink]], turns: ParseTurns
    ) -> None:
        self._driver = driver
        self._found = found
        self._turns = turns
        self._seen: dict[AsideLink, bool] = {}
        self._back = 0

    def bring(self, names: Iterable[Digest]) -> int:
        """Bring back the names, and return how many links are back with them."""
        for name in names:
            for link in self._found.get(name, ()):
                self._bring(link)
        return self._back

    def _bring(self, link: AsideLink) -> bool:
        """Bring a link back unless it is there, and return whether its bytes are."""
        if link not in self._seen:
            self._seen[link] = False  # manifests cannot refer to each other in a circle
            self._seen[link] = self._return(link)
        return self._seen[link]

    def _return(self, link: AsideLink) -> bool:
        if not has_link(self._driver, paths.blob_data(link.data)):
            return False
        if link.kind == "manifest":
            content = self._driver.read(paths.blob_data(link.data))
            found = self._turns(references, content)
            if found is None:
                return False
            for name in found.digests - {link.name, found.subject}:
                if not self._is_there(link.repository, name):
                    return False
            if not has_link(self._driver, link.path):
                self._describe(link, content)
        elif link.data != link.name:  # Distribution looks for the bytes by a link of their own
            for other in self._found.get(link.data, ()):
                self._bring(other)
        if not has_link(self._driver, link.path):
            write_link(self._driver, link.path, link.data)
            self._back += 1
        return True

    def _describe(self, link: AsideLink, content: bytes) -> None:
        """Write what the registry keeps about a manifest: its type, and its place among the referrers."""
        if link.media_type:
            self._driver.write(paths.manifest_type(link.repository, link.name), link.media_type.encode())
        manifest = self._turns(read_manifest, content)
        subject = None if manifest is None else manifest.subject
        if manifest is not None and subject is not None:
            manifest = manifest._replace(media_type=link.media_type or manifest.media_type)
            path = paths.referrer(link.repository, subject, link.name)
            self._driver.write(path, manifest.encoded_descriptor(link.name, len(content)))

    def _is_there(self, repository: str, name: Digest) -> bool:
        """Return whether what a manifest refers to is there, or comes back."""
        below = self._found.get(name)
        if below:
            back = [self._bring(one) for one in below]
            return any(back)
        for path in (paths.layer_link(repository, name), paths.revision_link(repository, name)):
            data = read_link(self._driver, path, name)
            if data is not None:
                # A push that was killed may have left a link whose bytes are gone.
                return has_link(self._driver, paths.blob_data(data))
        return False
