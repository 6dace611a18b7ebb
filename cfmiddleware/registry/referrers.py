"""Referrers: the manifests that are about another one (OCI Distribution, "Listing Referrers").

Each has an object of its own, which holds its descriptor, so that pushes at the same time lose none. Clients
of registries without this list keep one themselves, as an index under a *fallback tag* ("Referrers Tag
Schema"); each answer joins it as it is at that moment, so that what was pushed through Distribution is found.
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
from .store.manifest import OCI_INDEX, Document, indexed, read_document
from .tags import Tags

#: The most bytes of one answer: what a client must be able to take as a manifest.
MAX_PAGE = 4 << 20

# The most referrers that are looked at for one answer, so that it ends in bounded time.
_MAX_LOOKS = 1000

# What stands around the descriptors of a page, with room to spare.
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
    :param tags: where the fallback tags are.
    :param max_page: bytes of one answer at the most, unless one descriptor alone has more.
    """

    def __init__(self, driver: Driver, tags: Tags, max_page: int = MAX_PAGE) -> None:
        self._driver = driver
        self._tags = tags
        self._max_page = max_page

    def add(self, repository: str, digest: Digest, document: Document, size: int) -> None:
        """Remember that a manifest of *size* bytes has a subject; nothing where it has none."""
        if document.subject is not None:
            descriptor = json.dumps(document.descriptor(digest, size), separators=(",", ":")).encode()
            self._driver.write(paths.referrer(repository, document.subject, digest), descriptor)

    def remove(self, repository: str, digest: Digest, document: Document | None) -> None:
        """Forget a manifest."""
        if document is not None and document.subject is not None:
            self._driver.delete([paths.referrer(repository, document.subject, digest)])

    def get(self, request: Request) -> Response:
        """Answer GET: an index of the manifests whose subject is the digest, whether that exists or not."""
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
        """Return the descriptors of a page and, where more follow, the last one that was looked at."""
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
        """Return what the index under the fallback tag names; whether of this subject is still to be seen.

        The tag has 64 digits of the digest at the most, so those of sha512 may be shared.
        """
        current = self._tags.current(repository, f"{subject.algorithm}-{subject.hex[:64]}")
        content = None if current is None else self._manifest(repository, current)
        return set() if content is None else set(indexed(content))

    def _descriptor(
        self, repository: str, subject: Digest, digest: Digest, is_linked: bool
    ) -> dict[str, Any] | None:
        """Return a referrer's descriptor, or None where the manifest is gone or is about another one."""
        if is_linked and has_link(self._driver, paths.revision_link(repository, digest)):
            try:
                stored = json.loads(self._driver.read(paths.referrer(repository, subject, digest)))
            except (ObjectNotFound, ValueError):
                stored = None
            if isinstance(stored, dict):
                return stored
        content = None if is_linked else self._manifest(repository, digest)
        document = None if content is None else read_document(content)
        if content is None or document is None or document.subject != subject:
            return None
        return document.descriptor(digest, len(content))

    def _manifest(self, repository: str, digest: Digest) -> bytes | None:
        data = read_link(self._driver, paths.revision_link(repository, digest))
        try:
            return None if data is None else self._driver.read(paths.blob_data(data))
        except ObjectNotFound:
            return None

    def scan(self, *, write: bool = True) -> Iterator[Found]:
        """Yield every manifest with a subject, having written the link of those that no list has.

        :param write: whether anything is written; otherwise ``written`` says what would be.
        """
        for repository in repositories(self._driver):
            for path, _ in self._driver.walk(paths.revisions(repository)):
                algorithm, hexadecimal = path.split("/")[-3:-1]
                try:
                    digest = Digest.parse(f"{algorithm}:{hexadecimal}")
                except ValueError:
                    continue
                content = self._manifest(repository, digest)
                document = None if content is None else read_document(content)
                if content is None or document is None or document.subject is None:
                    continue
                known = has_link(self._driver, paths.referrer(repository, document.subject, digest))
                known = known or digest in self._in_fallback_tag(repository, document.subject)
                if write and not known:
                    self.add(repository, digest, document, len(content))
                yield Found(repository, digest, document.subject, not known)
