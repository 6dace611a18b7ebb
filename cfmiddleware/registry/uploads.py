"""Pushing blobs (OCI Distribution, "Pushing blobs"): the HTTP side of upload chains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from uuid import uuid4

from cfmiddleware.digest import HEX_LENGTHS, Digest
from cfmiddleware.errors import ObjectExists, ObjectNotFound
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.reference import is_name
from cfmiddleware.storage.driver import Driver
from cfmiddleware.wsgi.ranges import parse_sent
from cfmiddleware.wsgi.response import Response, empty

from . import errors
from .announcements import Announcements
from .auth.access import GrantedRequest
from .blobs import Blobs
from .bodies import BodyBroken, content_length, has_body, read_body
from .catalog import repositories
from .requests import Request
from .routes import parse_digest
from .store import paths
from .store.upload import DEFAULT_INLINE_LIMIT, DigestMismatch, State, Upload, UploadUnknown
from .store.uploadticket import Ticket, Tickets

#: In how many repositories the registry looks for a blob that a client mounts without naming a source.
DEFAULT_MOUNT_SEARCH = 100


class Uploads:
    """The uploads of all repositories.

    :param driver: where they are kept.
    :param blobs: what a completed upload becomes.
    :param inline_limit: an upload with fewer bytes is kept in the states of its chain alone; never less than
        the driver's smallest piece.
    :param mountsearch: in how many repositories at most the registry looks for a blob that is mounted without
        a source.
    :param events: is told of blobs that were pushed or mounted.
    """

    def __init__(
        self,
        driver: Driver,
        blobs: Blobs,
        inline_limit: int = DEFAULT_INLINE_LIMIT,
        mountsearch: int = DEFAULT_MOUNT_SEARCH,
        events: Announcements | None = None,
    ) -> None:
        self._events = events or Announcements()
        self._mountsearch = mountsearch
        self._driver = driver
        self._blobs = blobs
        self._inline_limit = max(inline_limit, driver.smallest_piece)
        self._tickets = Tickets(driver)
        self._all = SideBySide().all if driver.remote else in_turn

    def start(self, request: Request) -> Response:
        """Answer POST: an upload, or at once a blob if ``digest`` or ``mount`` make that possible."""
        digest = request.parameter("digest")
        if digest is not None:
            return self._store(request, parse_digest(digest))
        mounted = self._mount(request)
        if mounted is not None:
            return self._created(request, mounted)
        upload = self._begin(request, _algorithm(request))
        headers = self._standing(request, upload, 0)
        if self._driver.smallest_piece:
            # Shorter chunks are accepted as well, and gathered in the upload's state.
            headers["OCI-Chunk-Min-Length"] = str(self._driver.smallest_piece)
        return empty(202, headers)

    def _store(self, request: Request, digest: Digest) -> Response:
        body = read_body(request.environ)
        with _refusals():
            if self._is_one_object(request):
                size = self._blobs.store(request.repository, digest, body)
            else:
                upload = self._begin(request, digest.algorithm)
                try:
                    size = self._join(request, upload, State(algorithm=digest.algorithm), body, digest)
                finally:
                    upload.leave()
        self._events.blob_pushed(request, digest, size)
        return self._created(request, digest)

    def _is_one_object(self, request: Request) -> bool:
        """Return whether the body fits one object of the storage, as far as its length is known."""
        most = self._driver.largest_piece
        return not most or (content_length(request.environ) or 0) <= most

    def _mount(self, request: Request) -> Digest | None:
        mount, source = request.parameter("mount"), request.parameter("from")
        if mount is None:
            return None
        digest = _mounted(mount)
        if digest is None:
            return None
        for name in self._sources(request, digest, source):
            since = self._blobs.now()
            # The link must be there. That the bytes exist does not mean that this client may read them.
            located = self._blobs.looking(partial(self._blobs.locate, name, digest))
            if located is None:
                continue
            # Distribution serves data under another name only if its own name is linked too.
            for linked in dict.fromkeys((located.data, digest)):
                if not self._blobs.link(request.repository, linked, located.data, since):
                    return None
            self._events.blob_mounted(request, digest, located.size or 0, name)
            return digest
        return None

    def _sources(self, request: Request, digest: Digest, source: str | None) -> Iterable[str]:
        """Return the repositories that a blob may be mounted from, all of which the client may read."""
        if source is not None:
            return (source,) if is_name(source) else ()
        if isinstance(request, GrantedRequest) and request.grant.actions is not None:
            named = sorted(name for kind, name in request.grant.actions if kind == "repository")
            return [name for name in named if request.grant.may_pull(name)][: self._mountsearch]
        # Most blobs that are not found exist nowhere, which one request shows.
        if not self._blobs.stored(digest):
            return ()
        return islice(repositories(self._driver), self._mountsearch)

    def expect_start(self, request: Request) -> None:
        """Refuse what :meth:`start` would refuse before it reads the body."""
        digest = request.parameter("digest")
        if digest is not None:
            parse_digest(digest)

    def expect(self, request: Request) -> None:
        """Refuse what :meth:`patch` or :meth:`finish` would refuse before it reads the body."""
        text = request.parameter("digest")
        if request.method == "PUT" and text is None:
            raise errors.digest_missing()
        digest = parse_digest(text) if request.method == "PUT" and text is not None else None
        upload = self._upload(request)
        try:
            self._checked_body(request, upload, upload.size())
        except UploadUnknown:
            # A PUT that is repeated because its answer was lost is answered like the first.
            if digest is None or self._blobs.locate(request.repository, digest) is None:
                raise errors.upload_unknown() from None
        except BodyBroken as broken:
            raise errors.upload_invalid(str(broken)) from None

    def status(self, request: Request) -> Response:
        """Answer GET: where the upload stands."""
        upload = self._upload(request)
        return empty(204, self._standing(request, upload, self._size(upload)))

    def patch(self, request: Request) -> Response:
        """Answer PATCH: the body is added to the upload, whole or not at all."""
        upload = self._upload(request)
        ticket = upload.ticket
        follows = bool(request.header("Content-Range"))
        is_first = ticket is not None and ticket.digest is None and not follows
        # Nobody asks the storage where a first chunk begins. What is there is seen when it is put in place.
        before = State(algorithm=ticket.algorithm) if ticket and is_first else self._state(upload)
        if ticket is not None and ticket.digest is not None and upload.chained and not follows:
            # Another request went on from there. The chunk would follow bytes that the client may not know.
            raise self._out_of_order(request, upload, before.size)
        body = self._checked_body(request, upload, before.size)
        with _refusals():
            after = upload.extend(before, body)
        if after.size == before.size:  # no new state is needed
            return empty(
                202, self._standing(request, upload, self._size(upload) if is_first else before.size)
            )
        if is_first and not after.pieces:
            if upload.put_in_place(after):
                return empty(202, self._standing(request, upload, after.size))
            self._state(upload)  # it may be cancelled
        try:
            upload.install(after, before)
        except ObjectExists:
            upload.discard(after, before)
            raise self._out_of_order(request, upload, self._size(upload)) from None
        except UploadUnknown:
            raise errors.upload_unknown() from None
        return empty(202, self._standing(request, upload, after.size))

    def finish(self, request: Request) -> Response:
        """Answer PUT: the upload, with what the body adds to it, becomes a blob.

        An upload whose bytes are not those of the digest is cancelled, as Distribution does it: no further
        request could mend it. A PUT that is repeated because its answer was lost is answered like the first.
        """
        text = request.parameter("digest")
        if text is None:
            raise errors.digest_missing()
        digest = parse_digest(text)
        upload = self._upload(request)
        try:
            size = self._complete(request, upload, digest)
        except (UploadUnknown, ObjectNotFound):
            located = self._blobs.locate(request.repository, digest)
            if located is None:
                raise errors.upload_unknown() from None
            size = located.size or 0
        except DigestMismatch as mismatch:
            upload.give_up()
            raise errors.digest_mismatch(mismatch) from None
        except BodyBroken as broken:
            raise errors.upload_invalid(str(broken)) from None
        else:
            upload.leave()
        self._events.blob_pushed(request, digest, size)
        return self._created(request, digest)

    def _complete(self, request: Request, upload: Upload, digest: Digest) -> int:
        """Make a blob of the upload and the body, and return its size in bytes."""
        bare = not has_body(request.environ) and not request.header("Content-Range")
        if bare:
            since = self._blobs.now()
            size = self._blobs.looking(partial(upload.size_in_place, digest))
            if size is not None:
                if not self._blobs.link(request.repository, digest, digest, since):
                    raise UploadUnknown(upload.uuid)
                return size
            first = upload.first_state(digest) if upload.kept else None
            if first is not None:
                self._publish(request, upload, first, digest)
                return first.size
        before = upload.state()
        if bare and not before.size and not upload.chained and digest != Digest.of(b"", digest.algorithm):
            # Not the end of the upload, as its client may know a later URL of it.
            raise errors.digest_mismatch("the upload has no bytes at this URL; its last Location was another")
        body = self._checked_body(request, upload, before.size)
        if not before.size and self._is_one_object(request):
            return self._blobs.store(request.repository, digest, body)
        return self._join(request, upload, before, body, digest)

    def _join(
        self, request: Request, upload: Upload, before: State, body: Iterable[bytes], digest: Digest
    ) -> int:
        """Make a blob of the bytes of *before* and *body*, and return its size in bytes."""
        after = upload.extend(before, body) if has_body(request.environ) else before
        try:
            upload.check(after, digest)
            self._publish(request, upload, after, digest)
        except BaseException:
            upload.discard(after, before)
            raise
        return after.size

    def _publish(self, request: Request, upload: Upload, state: State, digest: Digest) -> None:
        path = paths.blob_data(digest)
        self._blobs.publish(request.repository, digest, lambda: upload.assemble(state, path))

    def cancel(self, request: Request) -> Response:
        """Answer DELETE: the upload and its bytes are gone."""
        upload = self._upload(request)
        try:
            upload.cancel()
        except UploadUnknown:
            raise errors.upload_unknown() from None
        return empty(204, {"Docker-Upload-UUID": upload.uuid})

    def _begin(self, request: Request, algorithm: str) -> Upload:
        """Begin an upload. Nothing is written."""
        return self._named(request.repository, str(uuid4()), self._tickets.begin(algorithm))

    def _upload(self, request: Request) -> Upload:
        return self._named(
            request.repository, *self._tickets.read(request.repository, request.route.reference)
        )

    def _named(self, repository: str, uuid: str, ticket: Ticket | None) -> Upload:
        return Upload(self._driver, repository, uuid, self._inline_limit, ticket, self._all)

    def _state(self, upload: Upload) -> State:
        try:
            return upload.state()
        except UploadUnknown:
            raise errors.upload_unknown() from None

    def _size(self, upload: Upload) -> int:
        try:
            return upload.size()
        except UploadUnknown:
            raise errors.upload_unknown() from None

    def _checked_body(self, request: Request, upload: Upload, size: int) -> Iterator[bytes]:
        """Return the body after checking, before it is read, that it begins after *size* bytes."""
        body = read_body(request.environ)
        header = request.header("Content-Range")
        if not header:
            return body
        span = parse_sent(header)
        if span is None or span.offset != size:
            raise self._out_of_order(request, upload, size)
        return _exactly(span.length, body)

    def _out_of_order(self, request: Request, upload: Upload, size: int) -> errors.RegistryError:
        return errors.upload_out_of_order(size, self._standing(request, upload, size))

    def _standing(self, request: Request, upload: Upload, size: int) -> dict[str, str]:
        """Return the headers that say where an upload stands.

        An empty upload is at ``0-0``, like one of a single byte. Distribution does so, and clients expect it.
        """
        name = upload.uuid
        if upload.ticket is not None and not upload.chained:
            name = self._tickets.seal(request.repository, name, upload.ticket)
        return {
            "Location": request.url_to(f"{request.repository}/blobs/uploads/{name}"),
            "Range": f"0-{max(size - 1, 0)}",
            "Docker-Upload-UUID": upload.uuid,
        }

    def _created(self, request: Request, digest: Digest) -> Response:
        location = request.url_to(f"{request.repository}/blobs/{digest}")
        return empty(201, {"Location": location, "Docker-Content-Digest": str(digest)})


def _algorithm(request: Request) -> str:
    """Return what a new upload is to be hashed with: the client's choice, or the algorithm of a mount that
    found nothing.
    """
    named = request.parameter("digest-algorithm")
    if named is None:
        digest = _mounted(request.parameter("mount") or "")
        return "sha256" if digest is None else digest.algorithm
    if named not in HEX_LENGTHS:
        raise errors.digest_algorithm_invalid()
    return named


def _mounted(mount: str) -> Digest | None:
    """Return the digest to mount, or None for a text that is none: then there is nothing to mount, and the
    client uploads. Distribution does so, for algorithms that it does not know as for any other text.
    """
    try:
        return Digest.parse(mount)
    except ValueError:
        return None


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn a fault of a body into the error that says so."""
    try:
        yield
    except DigestMismatch as mismatch:
        raise errors.digest_mismatch(mismatch) from None
    except BodyBroken as broken:
        raise errors.upload_invalid(str(broken)) from None


def _exactly(length: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield *chunks*, which must have *length* bytes in all."""
    left = length
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise errors.chunk_size_invalid(length)
