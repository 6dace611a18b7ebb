"""Referrers: the manifests that are about another one (OCI Distribution, "Listing Referrers").

Each has an object of its own with its descriptor, so that pushes at the same time lose none. For a registry
without this list, clients keep an index under a *fallback tag* ("Referrers Tag Schema"). Every response
includes that index as it is at that moment, so that referrers that were pushed through Distribution are
found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.storage.driver import Driver
from cfmiddleware.wsgi.response import Response, whole

from .catalog import repositories
from .requests import Request
from .routes import parse_digest
from .store import paths
from .store.links import has_link, read_link
from .store.manifest import OCI_INDEX, Manifest, indexed, read_manifest
from .tags import Tags

#: The most bytes of a response: the size of a manifest that every client must accept.
MAX_PAGE = 4 << 20

# The most referrers that are read for a response, so that it takes bounded time.
_MAX_LOOKS = 1000

# Bytes around the descriptors of a page, with room to spare.
_FRAME = 200


class Found(NamedTuple):
    """A manifest with a subject that :func:`scan` came across, and whether its link had to be written."""

    repository: str
    digest: Digest
    subject: Digest
    written: bool


class Referrers:
    """The referrers of all repositories.

    :param driver: where they are.
    :param tags: the tags, among them the fallback tags.
    :param max_page: the most bytes of a response, unless one descriptor alone has more.
    """

    def __init__(self, driver: Driver, tags: Tags, max_page: int = MAX_PAGE) -> None:
        self._driver = driver
        self._tags = tags
        self._max_page = max_page

    def add(self, repository: str, digest: Digest, manifest: Manifest, size: int) -> None:
        """Store that a manifest of *size* bytes has a subject, if it has one."""
        if manifest.subject is not None:
            descriptor = json.dumps(manifest.descriptor(digest, size), separators=(",", ":")).encode()
            self._driver.write(paths.referrer(repository, manifest.subject, digest), descriptor)

    def remove(self, repository: str, digest: Digest, manifest: Manifest | None) -> None:
        """Remove a manifest from the list of its subject."""
        if manifest is not None and manifest.subject is not None:
            self._driver.delete([paths.referrer(repository, manifest.subject, digest)])

    def get(self, request: Request) -> Response:
        """Answer GET: an index of the manifests whose subject is the digest. The subject need not exist."""
        subject = parse_digest(request.route.reference)
        wanted = request.parameter("artifactType")
        descriptors, last = self._page(request.repository, subject, request.parameter("last") or "", wanted)
        headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        if last is not None:
            path = request.path_to(f"{request.repository}/referrers/{subject}")
            chosen = f"artifactType={quote(wanted, safe='')}&" if wanted else ""
            headers["Link"] = f'<{path}?{chosen}last={quote(str(last), safe="")}>; rel="next"'
        head = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX})[:-1].encode()
        body = head + b', "manifests": [' + b",".join(descriptors) + b"]}"
        return whole(200, OCI_INDEX, body, headers)

    def _page(
        self, repository: str, subject: Digest, after: str, wanted: str | None
    ) -> tuple[list[bytes], Digest | None]:
        """Return the descriptors of a page and, if more follow, the last one that was read."""
        page: list[bytes] = []
        size = _FRAME
        last: Digest | None = None
        linked = self._linked(repository, subject)
        names = linked | self._in_fallback_tag(repository, subject)
        for looks, digest in enumerate(sorted((d for d in names if str(d) > after), key=str)):
            if looks >= _MAX_LOOKS:
                return page, last
            found = self._descriptor(repository, subject, digest, digest in linked)
            if found is not None and (not wanted or found.get("artifactType") == wanted):
                encoded = json.dumps(found, separators=(",", ":")).encode()
                if page and size + len(encoded) + 1 > self._max_page:
                    return page, last
                page.append(encoded)
                size += len(encoded) + 1
            last = digest
        return page, None

    def _linked(self, repository: str, subject: Digest) -> set[Digest]:
        found: set[Digest] = set()
        for name in self._driver.list(paths.referrers(repository, subject)):
            algorithm, _, hexadecimal = name.partition("-")
            try:
                found.add(Digest.parse(f"{algorithm}:{hexadecimal}"))
            except ValueError:
                continue
        return found

    def _in_fallback_tag(self, repository: str, subject: Digest) -> set[Digest]:
        """Return the manifests in the index under the fallback tag, which may have another subject.

        The tag has at most 64 digits of the digest, so two sha512 digests may share one.
        """
        current = self._tags.current(repository, f"{subject.algorithm}-{subject.hex[:64]}")
        content = None if current is None else self._manifest(repository, current)
        return set() if content is None else set(indexed(content))

    def _descriptor(
        self, repository: str, subject: Digest, digest: Digest, is_linked: bool
    ) -> dict[str, Any] | None:
        """Return a referrer's descriptor, or None if the manifest is gone or has another subject."""
        if is_linked and has_link(self._driver, paths.revision_link(repository, digest)):
            try:
                stored = json.loads(self._driver.read(paths.referrer(repository, subject, digest)))
            except (ObjectNotFound, ValueError):
                stored = None
            if isinstance(stored, dict):
                return stored
        content = None if is_linked else self._manifest(repository, digest)
        manifest = None if content is None else read_manifest(content)
        if content is None or manifest is None or manifest.subject != subject:
            return None
        return manifest.descriptor(digest, len(content))

    def _manifest(self, repository: str, digest: Digest) -> bytes | None:
        data = read_link(self._driver, paths.revision_link(repository, digest))
        try:
            return None if data is None else self._driver.read(paths.blob_data(data))
        except ObjectNotFound:
            return None

    def scan(self, *, write: bool = True) -> Iterator[Found]:
        """Yield every manifest with a subject, after writing the link of those that no list has.

        :param write: whether anything is written. If not, ``written`` says what would be.
        """
        for repository in repositories(self._driver):
            for path, _ in self._driver.walk(paths.revisions(repository)):
                algorithm, hexadecimal = path.split("/")[-3:-1]
                try:
                    digest = Digest.parse(f"{algorithm}:{hexadecimal}")
                except ValueError:
                    continue
                content = self._manifest(repository, digest)
                manifest = None if content is None else read_manifest(content)
                if content is None or manifest is None or manifest.subject is None:
                    continue
                known = has_link(self._driver, paths.referrer(repository, manifest.subject, digest))
                known = known or digest in self._in_fallback_tag(repository, manifest.subject)
                if write and not known:
                    self.add(repository, digest, manifest, len(content))
                yield Found(repository, digest, manifest.subject, not known)
