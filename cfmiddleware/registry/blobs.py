"""Blobs: reading them, and making them part of a repository (OCI Distribution, "Pulling blobs")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Protocol, TypeVar, cast

from cfmiddleware.digest import Digest
from cfmiddleware.errors import BeingCollected, ObjectNotFound, StorageUnavailable
from cfmiddleware.health.watch import Health
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.storage.driver import Driver, Reader
from cfmiddleware.wsgi.blobplace import BlobPlace
from cfmiddleware.wsgi.ranges import Span, Unsatisfiable, has_etag, select
from cfmiddleware.wsgi.response import NO_BYTES, Response, empty

from . import errors
from .announcements import Announcements
from .cache.descriptors import Ask, DescriptorCache, Located
from .collect.condemned import Condemned, of_data, of_repository
from .reading import Reading
from .requests import Request
from .retention.tagguard import TagGuard
from .routes import parse_digest
from .store import paths
from .store.links import has_link, read_link, write_link
from .store.upload import DigestMismatch

T = TypeVar("T")

# The content of a digest never changes. Distribution sends a year as well.
_CACHE_CONTROL = "max-age=31536000"

_CONTENT_TYPE = ("Content-Type", "application/octet-stream")

# How often bytes are written that garbage collections delete.
_ATTEMPTS = 3


class BlobListener(Protocol):
    """The object that a wrapper puts into the environ as ``cfmiddleware.probe`` to learn where a blob is."""

    #: Whether the wrapper must know the size.
    needs_size: bool

    #: What the wrapper calls with the environ of a request that it redirects without having asked by a GET.
    pulled: Callable[[Mapping[str, Any]], None] | None

    def located(self, key: str, size: int | None) -> None:
        """Take the object's whole key in its bucket and its size in bytes; the response's status is final."""

    def placed(self, path: str, size: int | None) -> None:
        """Take the path below the root directory and the size of an object whose bucket the registry does not
        know.
        """

    def redirects(self) -> bool:
        """Return whether the client is redirected to the object that was named, if the answer is a yes."""


class LazyBody:
    """The bytes of an object, which is opened when the first chunk is asked for.

    :param reading: gives the turn to open it.
    :param span: which of its bytes; None for all, whose number need not be known.
    """

    __slots__ = ("_closed", "_driver", "_path", "_reader", "_reading", "_span")

    def __init__(self, driver: Driver, reading: Reading, path: str, span: Span | None) -> None:
        self._driver = driver
        self._reading = reading
        self._path = path
        self._span = span
        self._reader: Reader | None = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._closed:
            raise StopIteration
        if self._reader is None:
            wanted = () if self._span is None else self._span
            with self._reading.turn():
                self._reader = self._reading.body(self._driver.open(self._path, *wanted))
        return next(self._reader)

    def close(self) -> None:
        """Close the object, if it was ever opened."""
        self._closed = True
        if self._reader is not None:
            self._reader.close()


class Blobs:
    """The blobs of all repositories.

    :param driver: where they are.
    :param reading: gives pulls their turns.
    :param descriptors: the descriptor cache that pulls use; without it the storage is asked each time.
    :param health: tells whether the storage is to be asked at all; None if it is.
    :param events: is told of pulls and deletes.
    :param condemned: what garbage collections are about to delete.
    :param guard: what protected tags need; None where none are.
    """

    def __init__(
        self,
        driver: Driver,
        reading: Reading,
        descriptors: DescriptorCache | None = None,
        health: Health | None = None,
        events: Announcements | None = None,
        condemned: Condemned | None = None,
        guard: TagGuard | None = None,
    ) -> None:
        self._guard = guard
        self._events = events or Announcements()
        self._condemned = condemned or Condemned(driver)
        self._all = SideBySide().all if driver.remote else in_turn
        self._health = health
        self._driver = driver
        self._reading = reading
        self._descriptors = descriptors
        # A few blobs are asked for again and again, and a driver checks every path.
        self._key_at = lru_cache(maxsize=4096)(self._key_of)
        #: Returns whether a place is still what :meth:`place` would return.
        self.holds: Callable[[BlobPlace], bool] = descriptors.holds if descriptors is not None else _never

    def locate(self, repository: str, digest: Digest, *, sized: bool = True) -> Located | None:
        """Return where a repository's blob is, or None if the repository has no such blob.

        The link's content names the data: Distribution links sha512 names to sha256 data.

        :param sized: whether the data is looked at as well, which is one more request to the storage and
            shows that it is there.
        """
        data = read_link(self._driver, paths.layer_link(repository, digest), digest)
        if data is None:
            return None
        if not sized:
            return Located.of(data, None)
        try:
            return Located.of(data, self._driver.stat(paths.blob_data(data)).size)
        except ObjectNotFound:  # Distribution's garbage collector leaves links behind
            return None

    def _find(self, repository: str, digest: Digest, *, sized: bool) -> Located:
        """Return where a repository's blob is, for a pull, which may use the descriptor cache.

        :raises RegistryError: ``BLOB_UNKNOWN`` if the repository has no such blob.
        """
        return self._known(
            repository, digest, lambda: self.locate(repository, digest, sized=sized), sized=sized
        )

    def _known(self, repository: str, digest: Digest, ask: Ask, *, sized: bool) -> Located:
        """Return where a blob is, as the descriptor cache has it or *ask* says.

        :raises RegistryError: ``BLOB_UNKNOWN`` if the repository has no such blob.
        """
        if self._descriptors is None:
            located = ask()
        else:
            located = self._descriptors.find(repository, digest, ask, sized=sized)
        if located is None:
            raise errors.blob_unknown(digest)
        return located

    def _open(self, repository: str, digest: Digest, path: str, span: Span | tuple[()] = ()) -> Reader:
        """Open a blob that was found.

        :raises RegistryError: ``BLOB_UNKNOWN`` if it is gone; the descriptor cache then forgets it.
        """
        try:
            with self._reading.turn():
                return self._reading.body(self._driver.open(path, *span))
        except ObjectNotFound:
            self._forget(repository, digest)
            raise errors.blob_unknown(digest) from None

    def _forget(self, repository: str, digest: Digest) -> None:
        if self._descriptors is not None:
            self._descriptors.forget(repository, digest)

    def stored(self, digest: Digest) -> bool:
        """Return whether the storage has a digest's bytes. A repository may still not have the blob."""
        return has_link(self._driver, paths.blob_data(digest))

    def link(self, repository: str, digest: Digest, data: Digest, since: float) -> bool:
        """Make the bytes of *data* the repository's blob *digest*, and return whether they are there still: a
        garbage collection may have deleted them meanwhile.

        :param since: when the caller began to write the bytes or saw them, by the clock of
            :meth:`now`.
        """
        path = paths.layer_link(repository, digest)
        lines = (of_repository(repository, digest), of_data(data))
        if self._condemned.settled(lines, since):
            self._all(partial(write_link, self._driver, path, data), self._condemned.look_ahead)
            if self._condemned.settled(lines, since):
                return True
        return self._condemned.mend(lines, partial(self._link_again, path, data))

    def _link_again(self, path: str, data: Digest) -> bool:
        # A link may stay without its bytes. A push of a manifest that refers to them looks at the bytes.
        if not self.stored(data):
            return False
        if not has_link(self._driver, path):
            write_link(self._driver, path, data)
        return True

    def looking(self, part: Callable[[], T]) -> T:
        """Do something that takes a round trip before a blob is linked, and look beside it at what garbage
        collections are about to delete.
        """
        made: list[T] = []
        self._all(lambda: made.append(part()), self._condemned.look_ahead)
        return made[0]

    def now(self) -> float:
        """Return the time for :meth:`link`, in seconds from any moment on."""
        return self._condemned.clock()

    def publish(self, repository: str, digest: Digest, write: Callable[[], object]) -> None:
        """Write a blob's bytes, and make it part of a repository.

        :param write: writes the bytes; it may be called more than once.
        """
        for _ in range(_ATTEMPTS):
            since = self.now()
            self.looking(write)
            if self.link(repository, digest, digest, since):
                return
        raise BeingCollected(f"a garbage collection deletes {digest} again and again")

    def store(self, repository: str, digest: Digest, chunks: Iterable[bytes]) -> int:
        """Write a blob straight to its place and link it. Nothing appears unless the digest is right.

        :returns: its size in bytes.

        :raises DigestMismatch: if it is not.
        :raises RegistryError: ``SIZE_INVALID`` (413) for more bytes than the driver takes as one object.
        :raises BeingCollected: when a garbage collection has deleted the bytes; they can be pushed again.
        """
        most = self._driver.largest_piece
        hasher = digest.hasher()
        with self._driver.writer(paths.blob_data(digest)) as writer:
            for chunk in chunks:
                if most and writer.size + len(chunk) > most:
                    raise errors.blob_too_large(most)
                hasher.update(chunk)
                writer.write(chunk)
            known = Digest(digest.algorithm, hasher.hexdigest())
            if known != digest:
                raise DigestMismatch(f"the bytes sent are {known}")
            since = self.now()
            self.looking(writer.commit)
            size = writer.size
        if not self.link(repository, digest, digest, since):
            raise BeingCollected(f"a garbage collection has deleted {digest}, which was just pushed")
        return size

    def get(self, request: Request) -> Response:
        """Answer GET and HEAD: the blob, or the range of it that was asked for."""
        digest = parse_digest(request.route.reference)
        # A wrapper sets it. A client cannot: it can only set names that begin with HTTP_.
        probe = cast("BlobListener | None", request.environ.get("cfmiddleware.probe"))
        is_healthy = self._health is None or self._health.is_healthy
        if probe is not None and not is_healthy:
            response, size = self._remembered(request, digest, probe)
        elif probe is None and request.method == "GET" and not _is_selective(request):
            response, size = self._whole(request.repository, digest)
        else:
            response, size = self._some(request, digest, probe)
        tell = self._events.pull_of_blob(request, digest, size)
        if tell is not None:
            if probe is not None:
                probe.pulled = tell
            # A wrapper that asks by a HEAD tells of the pull itself.
            if probe is None or request.method == "GET":
                tell(request.environ)
        return response

    def _some(
        self, request: Request, digest: Digest, probe: BlobListener | None
    ) -> tuple[Response, int | None]:
        """Answer all that is not simply the whole blob, and return the blob's size as well."""
        ranged = bool(request.header("Range"))
        # Nobody needs the size of what is redirected, unless the wrapper or an event says so.
        sized = probe is None or ranged or self._events.of_pulls or getattr(probe, "needs_size", True)
        located = self._find(request.repository, digest, sized=sized)
        headers = _headers(request.route.reference)
        if probe is not None:
            self._tell(probe, located)
            if located.size is None:
                if has_etag(request.header("If-None-Match"), request.route.reference):
                    return Response(304, headers), None
                if probe.redirects():
                    # Without a length: it is not known, and this response is not sent.
                    body = LazyBody(self._driver, self._reading, located.path, None)
                    return Response(200, [*headers, _CONTENT_TYPE], body), None
                located = self._find(request.repository, digest, sized=True)
                self._tell(probe, located)
        return self._selected(request, digest, located, opened=probe is None), located.size

    def _remembered(
        self, request: Request, digest: Digest, probe: BlobListener
    ) -> tuple[Response, int | None]:
        """Answer a wrapper while the storage is not to be asked: it may redirect to a blob that the
        descriptor cache remembers.

        :raises RegistryError: ``UNAVAILABLE`` (503) for any other blob, and for one that is not redirected.
        """
        try:
            located = self._known(
                request.repository, digest, _ask_nobody, sized=getattr(probe, "needs_size", True)
            )
        except StorageUnavailable:
            raise errors.unhealthy() from None
        self._tell(probe, located)
        if located.size is None and not probe.redirects():
            raise errors.unhealthy()
        body = LazyBody(self._driver, self._reading, located.path, None)
        length = [] if located.size is None else [("Content-Length", str(located.size))]
        headers = [*_headers(request.route.reference), _CONTENT_TYPE, *length]
        return Response(200, headers, body), located.size

    def place(self, repository: str, digest: Digest) -> BlobPlace:
        """Return where a repository's blob is, for a client that may have it.

        :raises RegistryError: ``BLOB_UNKNOWN`` if the repository has no such blob.
        """
        sized = self._events.of_pulls  # an event says how large the blob is
        if self._descriptors is None:
            located, generation = self.locate(repository, digest, sized=sized), None
        else:
            generation = self._descriptors.generation()
            ask = partial(self.locate, repository, digest, sized=sized)
            located = self._descriptors.find(repository, digest, ask, sized=sized, later=True)
        if located is None:
            raise errors.blob_unknown(digest)
        place = located.place
        if place is None or place.size != located.size:
            place = located.place = BlobPlace(*self._key_at(located.path), located.size)
        place.due, place.lent = located.due, generation
        return place

    def _key_of(self, path: str) -> tuple[str, bool]:
        """Return the object's key, and whether it is that: a driver without a bucket has only the path."""
        is_key = self._driver.in_bucket
        return self._driver.key(path) if is_key else path, is_key

    def _tell(self, probe: BlobListener, located: Located) -> None:
        """Tell a wrapper where a blob is."""
        key, is_key = self._key_at(located.path)
        (probe.located if is_key else probe.placed)(key, located.size)

    def _selected(self, request: Request, digest: Digest, located: Located, *, opened: bool) -> Response:
        """Answer with what the request's conditions and its range select of a blob whose size is known.

        :param opened: whether the object is opened before the status is sent, so that one that is gone can
            still be an error.
        """
        size = located.size or 0
        headers = _headers(request.route.reference)
        try:
            selected = select(request.environ, size, request.route.reference)
        except Unsatisfiable:
            raise errors.range_not_satisfiable(digest, size) from None
        if selected.status == 304:
            return Response(304, headers)
        headers += [_CONTENT_TYPE, *selected.headers]
        span = selected.span
        body: Iterable[bytes] = NO_BYTES
        if span.length:
            body = LazyBody(self._driver, self._reading, located.path, span)
        if opened and request.method == "GET" and span.length:
            body = self._open(request.repository, digest, located.path, span)
        return Response(selected.status, headers, body)

    def _whole(self, repository: str, digest: Digest) -> tuple[Response, int]:
        """Answer with all of a blob. The storage says its size with the first byte."""
        opened: list[Reader] = []

        def ask() -> Located | None:
            with self._reading.turn():
                located = self.locate(repository, digest, sized=False)
                if located is None:
                    return None
                try:
                    opened.append(self._reading.body(self._driver.open(located.path)))
                except ObjectNotFound:
                    return None
                return replace(located, size=opened[0].size)

        located = self._known(repository, digest, ask, sized=False)
        reader = opened[0] if opened else self._open(repository, digest, located.path)
        headers = [*_headers(str(digest)), _CONTENT_TYPE, ("Content-Length", str(reader.size))]
        if not reader.size:
            reader.close()
            return Response(200, headers), 0
        return Response(200, headers, reader), reader.size

    def delete(self, request: Request) -> Response:
        """Answer DELETE: the blob is no longer part of this repository; its bytes stay."""
        digest = parse_digest(request.route.reference)
        path = paths.layer_link(request.repository, digest)
        if not has_link(self._driver, path):
            # Another worker may have deleted it, or this one, without an answer of the storage in time.
            self._forget(request.repository, digest)
            raise errors.blob_unknown(digest)
        if self._guard is not None:
            self._guard.check_digest(request.repository, digest, "GET, HEAD, OPTIONS")
        self._forget(request.repository, digest)
        try:
            self._driver.delete([path])
        finally:  # an error does not mean that nothing was deleted
            self._forget(request.repository, digest)
        self._events.blob_deleted(request, digest)
        return empty(202, {"Docker-Content-Digest": str(digest)})


def _is_selective(request: Request) -> bool:
    """Return whether the client may want less than the whole blob."""
    return bool(request.header("Range") or request.header("If-None-Match"))


def _never(place: BlobPlace) -> bool:
    return False


def _ask_nobody() -> Located | None:
    raise StorageUnavailable("a health check fails")


def _headers(digest: str) -> list[tuple[str, str]]:
    """Return the headers of every response about a blob."""
    return [
        ("Docker-Content-Digest", digest),
        ("ETag", f'"{digest}"'),
        ("Cache-Control", _CACHE_CONTROL),
        ("Accept-Ranges", "bytes"),
    ]
