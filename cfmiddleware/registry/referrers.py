"""Referrers: the manifests that are about another one (OCI Distribution, "Listing Referrers").

Each has an object of its own with its descriptor, so that pushes at the same time lose none. For a registry
without this list, clients keep an index under a *fallback tag* ("Referrers Tag Schema"). Every response
includes that index as it is at that moment, so that referrers that were pushed through Distribution are
found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.process.cache import Cache
from cfmiddleware.process.step import Step
from cfmiddleware.storage.driver import Driver
from cfmiddleware.wsgi.response import Response, whole

from .catalog import repositories
from .requests import Request
from .routes import parse_digest
from .store import paths
from .store.links import has_link, read_link
from .store.manifest import OCI_INDEX, Manifest, indexed, read_manifest
from .store.turns import ParseTurns
from .tags import Tags

#: The most bytes of a response: the size of a manifest that every client must accept.
MAX_PAGE = 4 << 20

# A response ends after so many referrers, and when so many bytes were read for it, so that it takes bounded
# time.
_MAX_LOOKS = 1000
_MAX_READ = MAX_PAGE

# How many manifests a process remembers, and the most bytes of a type or a descriptor that it remembers.
_REMEMBERED = 10_000
_SHORT = 1024

# How many indexes under fallback tags a process remembers, and of how many entries at the most.
_INDEXES = 64
_FEW_ENTRIES = 1000

# Bytes around the descriptors of a page, with room to spare.
_FRAME = 200


class _Seen(NamedTuple):
    """What a process remembers of a manifest's bytes.

    :param subject: what it is about, or None if it is about nothing.
    :param descriptor: the encoded descriptor if it is short and comes from the bytes alone.
    """

    subject: Digest | None
    artifact_type: str
    descriptor: bytes | None = None


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
    :param turns: parses manifests and descriptors.
    :param max_page: the most bytes of a response, unless one descriptor alone has more.
    """

    def __init__(
        self, driver: Driver, tags: Tags, turns: ParseTurns | None = None, max_page: int = MAX_PAGE
    ) -> None:
        self._driver = driver
        self._tags = tags
        self._turns = turns or ParseTurns()
        self._max_page = max_page
        self._seen: Cache[Digest, _Seen] = Cache(_REMEMBERED)
        self._indexes: Cache[Digest, frozenset[Digest]] = Cache(_INDEXES)

    def add(self, repository: str, digest: Digest, manifest: Manifest, size: int) -> None:
        """Store that a manifest of *size* bytes has a subject, if it has one."""
        if manifest.subject is not None:
            self._remember(digest, _Seen(manifest.subject, manifest.artifact_type))
            descriptor = manifest.encoded_descriptor(digest, size)
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
        size, read = _FRAME, 0
        last: Digest | None = None
        linked = self._linked(repository, subject)
        names = linked | self._in_fallback_tag(repository, subject)
        for looks, digest in enumerate(sorted((d for d in names if str(d) > after), key=str)):
            if looks >= _MAX_LOOKS or read >= _MAX_READ:
                return page, last
            look = self._look_at_linked if digest in linked else self._look_at_other
            found, cost = look(repository, digest, subject, wanted)
            if found is not None:
                if page and size + len(found) + 1 > self._max_page:
                    return page, last
                page.append(found)
                size += len(found) + 1
            read += cost
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

    def _in_fallback_tag(self, repository: str, subject: Digest) -> frozenset[Digest]:
        """Return the manifests in the index under the fallback tag, which may have another subject.

        The tag has at most 64 digits of the digest, so two sha512 digests may share one.
        """
        current = self._tags.current(repository, f"{subject.algorithm}-{subject.hex[:64]}")
        if current is None:
            return frozenset()
        known = self._indexes.get(current)
        if known is not None and has_link(self._driver, paths.revision_link(repository, current)):
            return known
        content = self._manifest(repository, current)
        if content is None:
            return frozenset()
        entries = frozenset(self._turns(indexed, content))
        if len(entries) <= _FEW_ENTRIES:
            self._indexes.put(current, entries)
        return entries

    def _look_at_linked(
        self, repository: str, digest: Digest, subject: Digest, wanted: str | None
    ) -> tuple[bytes | None, int]:
        """Return the descriptor of a referrer that has an object of its own, and how many bytes were read.

        There is no descriptor if the referrer is gone or of another type than the one that is wanted. For one
        whose type is remembered and is another, the storage is not asked.
        """
        seen = self._seen.get(digest)
        if not _fits(seen, subject, wanted):
            return None, 0
        if not has_link(self._driver, paths.revision_link(repository, digest)):
            return None, 0
        try:
            stored = self._driver.read(paths.referrer(repository, subject, digest))
        except ObjectNotFound:
            return None, 0
        if seen is None:
            artifact_type = self._turns(_artifact_type_in, stored)
            if artifact_type is None:
                return None, len(stored)
            seen = self._remember(digest, _Seen(subject, artifact_type))
        elif not (stored.startswith(b"{") and stored.endswith(b"}")):
            return None, len(stored)
        return stored if _fits(seen, subject, wanted) else None, len(stored)

    def _look_at_other(
        self, repository: str, digest: Digest, subject: Digest, wanted: str | None
    ) -> tuple[bytes | None, int]:
        """Do the same for a manifest that a fallback tag names, which may also have another subject."""
        seen = self._seen.get(digest)
        if not _fits(seen, subject, wanted):
            return None, 0
        if seen is not None and seen.descriptor is not None:
            there = has_link(self._driver, paths.revision_link(repository, digest))
            return seen.descriptor if there else None, 0
        content = self._manifest(repository, digest)
        if content is None:
            return None, 0
        seen, descriptor = self._turns(_referring, content, digest)
        self._remember(digest, seen)
        return descriptor if _fits(seen, subject, wanted) else None, len(content)

    def _remember(self, digest: Digest, seen: _Seen) -> _Seen:
        if len(seen.artifact_type) <= _SHORT:
            self._seen.put(digest, seen)
        return seen

    def _manifest(self, repository: str, digest: Digest) -> bytes | None:
        data = read_link(self._driver, paths.revision_link(repository, digest), digest)
        try:
            return None if data is None else self._driver.read(paths.blob_data(data))
        except ObjectNotFound:
            return None

    def scan(self, *, write: bool = True, say: Callable[[Step], object] = lambda _: None) -> Iterator[Found]:
        """Yield every manifest with a subject, after writing the link of those that no list has.

        :param write: whether anything is written. If not, ``written`` says what would be.
        :param say: is told how far it is.
        """
        read = 0
        for repository in repositories(self._driver):
            for path, _ in self._driver.walk(paths.revisions(repository)):
                algorithm, hexadecimal = path.split("/")[-3:-1]
                try:
                    digest = Digest.parse(f"{algorithm}:{hexadecimal}")
                except ValueError:
                    continue
                content = self._manifest(repository, digest)
                read += 1
                say(Step(repository, read, 0, "manifests read"))
                manifest = None if content is None else read_manifest(content)
                if content is None or manifest is None or manifest.subject is None:
                    continue
                known = has_link(self._driver, paths.referrer(repository, manifest.subject, digest))
                known = known or digest in self._in_fallback_tag(repository, manifest.subject)
                if write and not known:
                    self.add(repository, digest, manifest, len(content))
                yield Found(repository, digest, manifest.subject, not known)


def _fits(seen: _Seen | None, subject: Digest, wanted: str | None) -> bool:
    """Return whether a manifest may be one that a client asks for, as far as is known of it."""
    if seen is None:
        return True
    return seen.subject == subject and (not wanted or seen.artifact_type == wanted)


def _artifact_type_in(stored: bytes) -> str | None:
    """Return the artifact type in a stored descriptor, or None if the bytes are not one.

    Annotations come last and may be megabytes, so they are not parsed. In a text before them, the quotes of
    their name would stand behind backslashes.
    """
    head, mark, _ = stored.partition(b',"annotations":{')
    try:
        descriptor = json.loads(head + b"}" if mark and stored.endswith(b"}}") else stored)
    except (ValueError, RecursionError):
        return None
    return str(descriptor.get("artifactType") or "") if isinstance(descriptor, dict) else None


def _referring(content: bytes, digest: Digest) -> tuple[_Seen, bytes]:
    """Return what is remembered of a stored manifest, and its descriptor."""
    manifest = read_manifest(content)
    if manifest is None or manifest.subject is None:
        return _Seen(None, ""), b""
    encoded = manifest.encoded_descriptor(digest, len(content))
    short = encoded if len(encoded) <= _SHORT else None
    return _Seen(manifest.subject, manifest.artifact_type, short), encoded
