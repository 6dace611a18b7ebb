"""Manifests: pulling, pushing and deleting them (OCI Distribution, "Pull" and "Push")."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.notifications.envelope import Target
from cfmiddleware.process.cache import Cache
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.storage.driver import Driver
from cfmiddleware.wsgi.ranges import has_etag
from cfmiddleware.wsgi.response import Response, empty

from . import errors
from .announcements import Announcements, parse_references
from .bodies import BodyBroken, content_length, read_body
from .collect.condemned import Condemned, of_data, of_repository
from .errors import RegistryError
from .leftovers import Leftovers
from .reading import Reading
from .referred import Lacking, Referred
from .referrers import Referrers
from .requests import Request
from .retention.tagguard import TagGuard
from .retention.tagrules import TagPolicy
from .routes import parse_digest, parse_reference, parse_tag
from .store import paths
from .store.links import has_link, read_link, write_link
from .store.manifest import Manifest, Required, read_manifest
from .store.mediatypes import MediaTypes
from .store.turns import FEW, ParseTurns
from .tags import Tags
from .understood import understand

#: The largest manifest, in bytes (OCI Distribution, "Pushing manifests").
MAX_SIZE = 4 << 20

# Up to this many bytes of a manifest that is too large are read. Most clients read the response only after
# they have sent everything, and would find the connection closed.
_MOST_READ = 4 * MAX_SIZE

# Of how many manifests it is remembered what they refer to, where events say that.
_REFERENCES_KEPT = 1000
# And of how many of those that refer to much, of up to some four MiB each.
_LARGE_KEPT = 4


class _Pushed(NamedTuple):
    """A manifest that is being pushed.

    :param lines: what no garbage collection may take, as lines of an announcement.
    :param since: when the registry began to look for what it refers to, by the clock of
        :class:`~cfmiddleware.registry.collect.condemned.Condemned`.
    :param deep: whether it looked at bytes, and not only at links.
    """

    repository: str
    digest: Digest
    content: bytes
    manifest: Manifest
    lines: frozenset[str]
    since: float = 0.0
    deep: bool = False


class Manifests:
    """The manifests of all repositories.

    :param driver: where they are.
    :param tags: the tags that name them.
    :param referrers: those of them that have a subject.
    :param required: which of the things that a manifest refers to must be there before it.
    :param turns: parses them.
    :param reading: gives pulls their turns.
    :param events: is told of pushes, pulls and deletes.
    :param condemned: what garbage collections are about to delete.
    :param guard: what protected tags need.
    """

    def __init__(
        self,
        driver: Driver,
        tags: Tags,
        referrers: Referrers,
        required: Required,
        turns: ParseTurns,
        reading: Reading,
        events: Announcements | None = None,
        condemned: Condemned | None = None,
        guard: TagGuard | None = None,
    ) -> None:
        self._guard = guard or TagGuard(driver, tags, TagPolicy(), turns)
        self._events = events or Announcements()
        self._references: Cache[Digest, str] = Cache(_REFERENCES_KEPT)
        self._large_references: Cache[Digest, str] = Cache(_LARGE_KEPT)
        self._condemned = condemned or Condemned(driver)
        self._reading = reading
        self._driver = driver
        self._tags = tags
        self._referrers = referrers
        self._required = required
        self._turns = turns
        looks = SideBySide()
        self._all = looks.all if driver.remote else in_turn
        self._referred = Referred(driver, required, turns, looks, self._condemned)
        self._leftovers = Leftovers(driver, tags, self._condemned)
        self._types = MediaTypes(driver, turns)

    def get(self, request: Request) -> Response:
        """Answer GET and HEAD, by tag or by digest.

        The response has the manifest as it was pushed, whatever the ``Accept`` header says. Another type
        would be another manifest, with another digest.
        """
        with self._reading.turn():
            response, pulled = self._get(request)
        if pulled is not None:
            self._events.manifest_pulled(request, pulled)
        return response

    def _get(self, request: Request) -> tuple[Response, Target | None]:
        """Return the answer, and what a pull's event says of the manifest; None where nothing is pulled."""
        reference = parse_reference(request.route.reference)
        digest = self._resolve(request.repository, reference)
        # The revision is checked for tags as well, because a delete removes it first.
        data = None if digest is None else self._revision(request.repository, digest)
        if digest is None or data is None:
            raise errors.manifest_unknown(reference)
        path = paths.blob_data(data)
        # The client that pushed chose the type, and a browser must not guess another one from the bytes.
        headers = [
            ("Docker-Content-Digest", str(digest)),
            ("ETag", f'"{digest}"'),
            ("X-Content-Type-Options", "nosniff"),
        ]
        try:
            if has_etag(request.header("If-None-Match"), str(digest)):
                self._driver.stat(path)
                return Response(304, headers), None
            known, content = self._types.known(data), None
            if known is None:
                known, content = self._types.learn(data)
            elif request.method == "HEAD":
                known = known._replace(size=self._driver.stat(path).size)
            media_type = self._types.of(request.repository, digest, known)
            headers.append(("Content-Type", media_type))
            body: Iterable[bytes]
            if request.method == "HEAD":
                size, body = known.size, ()
            elif content is not None:
                size, body = len(content), (content,)
            else:
                size, body = self._open(path)
            pulled = None
            if self._events.of_pulls:
                tag = "" if isinstance(reference, Digest) else reference
                told = self._referred_to(data, content)
                pulled = Target("", media_type, size, str(digest), tag=tag, references=told)
        except ObjectNotFound:
            raise errors.manifest_unknown(reference) from None
        return Response(200, [*headers, ("Content-Length", str(size))], body), pulled

    def _referred_to(self, data: Digest, content: bytes | None) -> str:
        """Return what an event says of the things that a manifest refers to, as JSON.

        :param data: the digest of the manifest's bytes.
        :param content: the bytes themselves, where they are at hand.
        """
        if not self._events.have_references:
            return ""
        found = self._references.get(data)
        if found is None:
            found = self._large_references.get(data)
        if found is None:
            if content is None:
                content = self._driver.read(paths.blob_data(data))
            found = self._turns(parse_references, content)
            self._remember(data, found)
        return found

    def _remember(self, data: Digest, references: str) -> None:
        (self._references if len(references) <= FEW else self._large_references).put(data, references)

    def _open(self, path: str) -> tuple[int, Iterable[bytes]]:
        """Return the size of the object at *path* and its bytes: a few at once, many piece by piece, because
        a client may be slow to take them.
        """
        reader = self._driver.open(path)
        if reader.size > FEW:
            return reader.size, self._reading.body(reader)
        with contextlib.closing(reader):
            content = b"".join(reader)
        return len(content), (content,)

    def _resolve(self, repository: str, reference: Digest | str) -> Digest | None:
        if isinstance(reference, Digest):
            return reference
        return self._tags.current(repository, reference)

    def _revision(self, repository: str, digest: Digest) -> Digest | None:
        """Return the digest of a manifest's data, or None if the repository has no such manifest."""
        return read_link(self._driver, paths.revision_link(repository, digest), digest)

    def _bytes(self, data: Digest) -> bytes | None:
        try:
            return self._driver.read(paths.blob_data(data))
        except ObjectNotFound:
            return None

    def expect(self, request: Request) -> None:
        """Refuse what :meth:`put` would refuse before it reads the body, and what it would throw away."""
        parse_reference(request.route.reference)
        for tag in request.query.get("tag", []):
            parse_tag(tag)
        try:
            announced = content_length(request.environ) or 0
        except BodyBroken as broken:
            raise errors.manifest_invalid(str(broken)) from None
        if announced > MAX_SIZE:
            raise errors.manifest_too_large(MAX_SIZE)

    def put(self, request: Request) -> Response:
        """Answer PUT: by tag, or by digest and with any number of ``tag`` parameters."""
        reference = parse_reference(request.route.reference)
        tags = [parse_tag(tag) for tag in request.query.get("tag", [])]
        content = _read_content(request)
        if isinstance(reference, Digest):
            digest = Digest.of(content, reference.algorithm)
            if digest != reference:
                raise errors.digest_mismatch(f"the bytes sent are {digest}")
        else:
            digest = _expected(request, content)
            tags = [reference]
        content_type = str(request.environ.get("CONTENT_TYPE", ""))
        said = self._turns(
            understand,
            content,
            content_type,
            self._required,
            request.repository,
            digest,
            tell=self._events.have_references,
        )
        manifest = said.manifest
        self._guard.check_push(request.repository, tags, digest)
        if not manifest.in_bytes.stated:
            likely = manifest.in_bytes.media_type
            self._guard.check_type(request.repository, digest, manifest.media_type, likely)
        pushed = _Pushed(request.repository, digest, content, manifest, said.lines)
        is_seen = False
        try:
            pushed, is_seen = self._look(pushed), True
            self._make(pushed, tags)
        except Lacking as lacking:
            self._clean_up(pushed, tags, lacking, written=is_seen)
            raise errors.manifest_blob_unknown(lacking.missing) from None
        if said.told is not None:
            self._remember(digest, said.told)
        self._events.manifest_pushed(
            request,
            Target("", manifest.media_type, len(content), str(digest), references=said.told or ""),
            dict.fromkeys(tags),
        )
        headers = {
            "Location": request.url_to(f"{request.repository}/manifests/{digest}"),
            "Docker-Content-Digest": str(digest),
        }
        if manifest.subject is not None:
            headers["OCI-Subject"] = str(manifest.subject)
        answer = empty(201, headers)
        if isinstance(reference, Digest):
            answer.headers.extend(("OCI-Tag", tag) for tag in tags)
        return answer

    def _make(self, pushed: _Pushed, tags: list[str]) -> None:
        """Make bytes that are stored a manifest of the repository."""
        repository, digest, content, manifest = pushed[:4]
        if not manifest.in_bytes.stated:
            # It stays when the manifest is deleted. It is not read then, and every push writes it again.
            self._driver.write(paths.manifest_type(repository, digest), manifest.media_type.encode())
        self._types.remember(digest, len(content), manifest.in_bytes)
        since = self._condemned.clock()
        self._name(pushed, tags)
        # A delete of the same manifest may have come between, or a garbage collection that did not see the
        # tag. The push wins.
        own = (of_repository(repository, digest), of_data(digest))
        if not self._condemned.settled(own, since):
            self._condemned.mend(own, partial(self._make_again, pushed, tags))
        elif not has_link(self._driver, paths.revision_link(repository, digest)):
            self._name(pushed, tags)

    def _make_again(self, pushed: _Pushed, tags: list[str]) -> None:
        if not pushed.manifest.in_bytes.stated:
            path = paths.manifest_type(pushed.repository, pushed.digest)
            self._driver.write(path, pushed.manifest.media_type.encode())
        self._driver.write(paths.blob_data(pushed.digest), pushed.content)
        self._name(pushed, tags)

    def _name(self, pushed: _Pushed, tags: list[str]) -> None:
        """Write the revision, and then what names it.

        A tag's entry in its index names nothing yet. It need only come before the tag.
        """
        repository, digest, content, manifest = pushed[:4]
        named = list(dict.fromkeys(tags))
        self._all(
            partial(write_link, self._driver, paths.revision_link(repository, digest), digest),
            self._condemned.look_ahead,
            *(partial(self._tags.announce, repository, tag, digest) for tag in named),
        )
        self._hold(pushed)
        naming: list[Callable[[], object]] = [
            partial(self._tags.point, repository, tag, digest) for tag in named
        ]
        if manifest.subject is not None:
            naming.insert(0, partial(self._referrers.add, repository, digest, manifest, len(content)))
        self._all(*naming)

    def _hold(self, pushed: _Pushed) -> None:
        """See that no garbage collection, which did not know of the manifest, has taken it or what it refers
        to.

        :raises Lacking: if it has.
        """
        if self._stands(pushed):
            return
        lines = set(pushed.lines)

        def again() -> None:
            lines.update(self._look_again(pushed).lines)
            write_link(self._driver, paths.revision_link(pushed.repository, pushed.digest), pushed.digest)

        self._condemned.mend(lines, again)

    def _stands(self, pushed: _Pushed) -> bool:
        """Return whether what was seen of the things that a manifest refers to is still so."""
        settled = self._condemned.settled(pushed.lines, pushed.since)
        return settled and (pushed.deep or not self._condemned.has_deleted)

    def _look(self, pushed: _Pushed) -> _Pushed:
        """Store the bytes of a manifest and look for what it refers to, before the revision is written.

        The bytes are nobody's manifest until then, and may be stored for nothing.

        :raises Lacking: when something is missing.
        """
        deep = self._condemned.has_deleted
        first = pushed._replace(since=self._condemned.clock(), deep=deep)
        lines = set(pushed.lines)
        self._all(
            lambda: lines.update(self._referred.check(pushed.repository, pushed.manifest, data=deep)),
            partial(self._driver.write, paths.blob_data(pushed.digest), pushed.content),
            self._condemned.look_ahead,
        )
        first = first._replace(lines=frozenset(lines))
        return first if self._stands(first) else self._look_again(first)

    def _look_again(self, pushed: _Pushed) -> _Pushed:
        """Do that until no garbage collection comes between. Bytes count, not links."""
        lines = set(pushed.lines)

        def look() -> float:
            since = self._condemned.clock()
            lines.update(self._referred.check(pushed.repository, pushed.manifest, data=True))
            self._driver.write(paths.blob_data(pushed.digest), pushed.content)
            return since

        since = self._condemned.mend(lines, look)
        return pushed._replace(since=since, deep=True, lines=frozenset(lines))

    def _clean_up(self, pushed: _Pushed, tags: list[str], lacking: Lacking, *, written: bool) -> None:
        """Take away what cannot be pulled, so that clients do not take it for pushed.

        :param tags: what this push may already have named so, where it was stopped for long before it did.
        :param written: whether this push may have written the revision. If not, a client may have deleted a
            blob of a manifest that was there before, and that stays.
        """
        if not written and not self._condemned.has_deleted:
            return
        repository, digest = pushed.repository, pushed.digest

        def lacks() -> bool:
            try:
                self._referred.check(repository, pushed.manifest, data=True)
            except Lacking:
                return written or self._referred.is_broken(repository, digest)
            return False

        suspects = {digest: lacks}
        for one in chain.from_iterable(lacking.broken):
            suspects[one] = partial(self._referred.is_broken, repository, one)
        self._leftovers.remove(repository, suspects, {digest: tags} if written else {})

    def delete(self, request: Request) -> Response:
        """Answer DELETE: by tag, the tag alone; by digest, the manifest and every tag that names it."""
        reference = parse_reference(request.route.reference)
        if isinstance(reference, Digest):
            tags = self._delete(request.repository, reference)
            self._events.manifest_deleted(request, reference, tags)
            return empty(202, {"Docker-Content-Digest": str(reference)})
        self._guard.check_tag(request.repository, reference)
        if not self._tags.delete(request.repository, reference):
            raise errors.manifest_unknown(reference)
        self._events.tag_deleted(request, reference)
        return empty(202, {})

    def _delete(self, repository: str, digest: Digest) -> list[str]:
        """Delete a manifest: first its revision, then everything that names it. Return the tags that did."""
        revision = paths.revision_link(repository, digest)
        if not has_link(self._driver, revision):
            raise errors.manifest_unknown(digest)
        self._check_unprotected(repository, digest)
        data = self._revision(repository, digest)
        content = None if data is None else self._bytes(data)
        manifest = None if content is None else self._turns(read_manifest, content)
        self._driver.delete([revision])
        if content is not None and manifest is not None and manifest.subject is not None:
            self._referrers.remove(repository, digest, manifest)
            if has_link(self._driver, revision):  # a push came between, and wins
                self._referrers.add(repository, digest, manifest, len(content))
        try:
            self._check_unprotected(repository, digest)
        except RegistryError:  # a push came between
            if content is not None and manifest is not None:
                self._referrers.add(repository, digest, manifest, len(content))
            if data is not None:
                write_link(self._driver, revision, data)
            raise
        return self._tags.forget(repository, digest)

    def _check_unprotected(self, repository: str, digest: Digest) -> None:
        self._guard.check_digest(repository, digest, "GET, HEAD, OPTIONS, PUT")


def _read_content(request: Request) -> bytes:
    content = bytearray()
    try:
        announced = content_length(request.environ) or 0
        if announced > _MOST_READ:
            raise errors.manifest_too_large(MAX_SIZE)
        too_large, taken = announced > MAX_SIZE, 0
        for chunk in read_body(request.environ):
            taken += len(chunk)
            too_large = too_large or taken > MAX_SIZE
            if not too_large:
                content += chunk
            if taken > _MOST_READ:
                break
    except BodyBroken as broken:
        raise errors.manifest_invalid(str(broken)) from None
    if too_large:
        raise errors.manifest_too_large(MAX_SIZE)
    return bytes(content)


def _expected(request: Request, content: bytes) -> Digest:
    """Return the digest that a manifest pushed by tag gets."""
    text = request.parameter("digest")
    if text is None:
        return Digest.of(content)
    expected = parse_digest(text)
    digest = Digest.of(content, expected.algorithm)
    if digest != expected:
        raise errors.digest_mismatch(f"the bytes sent are {digest}")
    return digest
