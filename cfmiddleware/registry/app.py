"""The registry as a WSGI app: it finds the resource and the method, and makes responses of errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from cfmiddleware.errors import StorageFull, StorageUnavailable
from cfmiddleware.health.watch import Health
from cfmiddleware.metrics.names import AUTHENTICATIONS
from cfmiddleware.storage.driver import Driver
from cfmiddleware.wsgi.accessrecord import ACCESS, AccessRecord
from cfmiddleware.wsgi.blobplace import PulledPlace
from cfmiddleware.wsgi.origin import origin
from cfmiddleware.wsgi.response import NO_BYTES, STATUS_LINES, Response, as_json, empty

from . import errors
from .admission import ADMITTED, Admission
from .announcements import Announcements, blob_target
from .auth.access import Authenticator, Grant, granted
from .blobs import Blobs
from .cache.descriptors import DescriptorCache
from .catalog import Catalog
from .collect.condemned import Condemned
from .errors import RegistryError
from .manifests import Manifests
from .reading import Reading
from .referrers import Referrers
from .requests import Request
from .retention.tagguard import TagGuard
from .retention.tagrules import TagPolicy
from .routes import Resource, Route, below_v2_without_slash, blob_route, parse_route
from .store.manifest import Required
from .store.turns import ParseTurns
from .store.upload import DEFAULT_INLINE_LIMIT
from .tags import Tags
from .uploads import DEFAULT_MOUNT_SEARCH, Uploads

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.notifications.notifier import Notifier
    from cfmiddleware.process.chores import Chores
    from cfmiddleware.wsgi.blobplace import BlobPlace, PlaceOf
    from cfmiddleware.wsgi.types import Environ, StartResponse

_log = logging.getLogger(__name__)

_Handler = Callable[[Request], Response]


class Registry:
    """A container registry (OCI Distribution Specification 1.1, Docker Registry HTTP API V2) over a driver.

    Without *auth*, every client that reaches it may push.

    :param driver: where everything is.
    :param prefix: what stands in front of ``/v2/``, such as ``/registry``; Distribution's ``http.prefix``. An
        app that is mounted by its server (``SCRIPT_NAME``) needs none.
    :param delete: whether blobs, manifests and tags may be deleted.
    :param readonly: whether every change is refused, as during garbage collection.
    :param max_uploads: how many uploads each process takes in at a time, of those whose client has sent more
        than a little (:mod:`cfmiddleware.registry.admission`).
    :param uploadwait: how many seconds an upload waits for its turn before it is refused with 429. Where each
        request holds a thread, none waits.
    :param relativeurls: whether ``Location`` headers have no scheme and host, for a proxy in front that
        passes them neither in ``X-Forwarded-Proto`` and ``X-Forwarded-Host`` nor in ``Host``.
    :param host: scheme and host for ``Location`` headers, such as ``https://registry.example.com``, if
        clients should not use those of the request.
    :param inline_limit: how many bytes of an upload are kept without an object of their own. A larger limit
        saves requests to the storage, a smaller one saves memory.
    :param maxentries: how many repositories a page of the catalog has at most.
    :param maxtags: how many tags a page of a list of tags has at most; None for no limit but the client's.
    :param required: which of the things that a manifest refers to must be in the repository before it; by
        default all but layers that are not distributed.
    :param mountsearch: in how many repositories at most the registry looks for a blob that a client mounts
        without naming a source, and without a token that names repositories.
    :param descriptors: the descriptor cache that pulls use; None asks the storage each time.
    :param health: tells whether a check fails; every request then gets 503, but for redirects that need no
        storage. None where nothing is checked.
    :param notifier: is told of pushes, pulls and deletes; None where nobody wants to know.
    :param retention: which tags are protected, and which are immutable; without it, none is.
    :param auth: tells what a client may do. It is asked before anything is done, and before a body is read.
    :param chores: what its processes do beside requests; None for nothing.
    :param condemned: what garbage collections are about to delete; by default what the driver's storage
        says.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        prefix: str = "",
        delete: bool = False,
        readonly: bool = False,
        max_uploads: int = 32,
        uploadwait: float = 30,
        relativeurls: bool = False,
        host: str = "",
        inline_limit: int = DEFAULT_INLINE_LIMIT,
        maxentries: int = 1000,
        maxtags: int | None = None,
        required: Required | None = None,
        mountsearch: int = DEFAULT_MOUNT_SEARCH,
        descriptors: DescriptorCache | None = None,
        health: Health | None = None,
        notifier: Notifier | None = None,
        retention: TagPolicy | None = None,
        auth: Authenticator | None = None,
        chores: Chores | None = None,
        condemned: Condemned | None = None,
    ) -> None:
        self._prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self._relative = relativeurls
        self._host = host.rstrip("/") or None
        self._admission = Admission(max_uploads, uploadwait)
        self._readonly = readonly
        self._auth = auth
        self._health = health
        self._chores = chores
        reading = self._reading = Reading()
        events = self._events = Announcements(notifier)
        condemned = condemned or Condemned(driver)
        policy = retention or TagPolicy()
        tags, turns = Tags(driver, maxtags, policy), ParseTurns()
        guard = TagGuard(driver, tags, policy, turns)
        blobs = self._blobs = Blobs(driver, reading, descriptors, health, events, condemned, guard)
        self._holds = blobs.holds
        uploads = Uploads(driver, blobs, inline_limit, mountsearch, events)
        referrers = Referrers(driver, tags, turns)
        manifests = Manifests(
            driver, tags, referrers, required or Required(), turns, reading, events, condemned, guard
        )
        self._handlers: dict[Resource, dict[str, _Handler]] = {
            "root": {"GET": _alive},
            "base": {"GET": _base},
            "catalog": {"GET": Catalog(driver, maxentries).get},
            "tags": {"GET": tags.get},
            "referrers": {"GET": referrers.get},
            "blob": {"GET": blobs.get, "DELETE": blobs.delete},
            "uploads": {"POST": uploads.start},
            "upload": {
                "GET": uploads.status,
                "PATCH": uploads.patch,
                "PUT": uploads.finish,
                "DELETE": uploads.cancel,
            },
            "manifest": {"GET": manifests.get, "PUT": manifests.put, "DELETE": manifests.delete},
        }
        self._expectations: dict[Resource, Callable[[Request], None]] = {
            "uploads": uploads.expect_start,
            "upload": uploads.expect,
            "manifest": manifests.expect,
        }
        if readonly:
            for methods in self._handlers.values():
                for method in methods.keys() - {"GET", "HEAD"}:
                    del methods[method]
        if not delete:
            self._handlers["blob"].pop("DELETE", None)
            self._handlers["manifest"].pop("DELETE", None)
        for methods in self._handlers.values():
            if "GET" in methods:
                methods["HEAD"] = methods["GET"]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as PEP 3333 has it. The environ is not changed."""
        try:
            answer = self._dispatch(environ)
        except Exception as error:  # noqa: BLE001 (whatever it is, the client gets an answer)
            answer = _response_to(error, environ)
        body = _begin(answer, start_response)
        if environ["REQUEST_METHOD"] == "HEAD":
            return NO_BYTES  # the body of a HEAD is lazy and holds nothing
        return body

    def place_of(self, prefix: str) -> PlaceOf | None:
        """Return what a wrapper may ask in place of sending a blob's GET, whose answer it would not send on.

        :param prefix: what the wrapper takes for the prefix. Where that is not this registry's, None is
            returned: the wrapper does not know its paths.
        """
        return self._place_of if prefix == self._prefix else None

    def _place_of(
        self,
        blob: tuple[str, Digest],
        environ: Environ,
        start_response: StartResponse,
        last: BlobPlace | None = None,
    ) -> BlobPlace | PulledPlace | Iterable[bytes] | None:
        """Answer a GET of a blob as far as :data:`~cfmiddleware.wsgi.blobplace.PlaceOf` has it."""
        if "HTTP_RANGE" in environ or "HTTP_IF_NONE_MATCH" in environ:
            return None
        health = self._health
        if health is not None and not health.is_healthy:
            return None
        record: AccessRecord | None = environ.get(ACCESS)
        if record is not None:
            record.repository, record.sent = blob[0], "app"
        try:
            user = ""
            if self._auth is not None:
                grant = _authorized(self._auth, self._request(environ, blob_route(*blob)))
                user = grant.user
                if record is not None:
                    record.user = user
            # The last one: no further look-up, whose memory the processor would have to fetch.
            place = last if last is not None and self._holds(last) else self._blobs.place(*blob)
            if not self._events.of_pulls:
                return place
            self._events.begin("GET", environ)
            front = "" if self._relative else origin(environ) if self._host is None else self._host
            target = blob_target(blob[0], str(blob[1]), place.size or 0, front + self._base(environ))
            return PulledPlace(place, self._events.redirect_of(target, user, environ))
        except Exception as error:  # noqa: BLE001 (as for every request)
            return _begin(_response_to(error, environ), start_response)

    def _dispatch(self, environ: Environ) -> Response:
        if self._chores is not None:
            self._chores.start()
        health = self._health
        if health is not None and not health.is_healthy:
            # What a wrapper asks for a redirect may be answered without the storage.
            asked = environ["REQUEST_METHOD"] == "GET" and "cfmiddleware.probe" in environ
            if not (asked and health.redirects):
                raise errors.unhealthy()
        path = environ.get("PATH_INFO", "")
        try:
            route = parse_route(path, self._prefix)
        except RegistryError:
            moved = below_v2_without_slash(path, self._prefix)
            if moved is None:
                raise
            query = environ.get("QUERY_STRING", "")
            location = f"{self._base(environ)}/v2/{quote(moved, safe='/:')}" + (f"?{query}" if query else "")
            return empty(301, {"Location": location})
        request = self._request(environ, route)
        record: AccessRecord | None = environ.get(ACCESS)
        if record is not None:
            record.repository = route.repository
            record.sent = "app" if route.resource == "blob" and request.method == "GET" else ""
        methods = self._handlers[route.resource]
        if request.method == "OPTIONS":
            # A browser asks before it sends a request of another site, and sends no credential with that.
            return empty(200, {"Allow": ", ".join(sorted([*methods, "OPTIONS"]))})
        if self._auth is not None and route.resource != "root":
            grant = _authorized(self._auth, request)
            request = granted(request, grant)
            if record is not None:
                record.user = grant.user
        handler = methods.get(environ["REQUEST_METHOD"])
        if handler is None:
            raise errors.method_unsupported(methods, readonly=self._readonly)
        self._events.begin(request.method, environ)
        if request.method not in ADMITTED:
            return handler(request)
        expect = self._expectations.get(route.resource)
        if expect is not None and request.header("Expect"):
            # The client waits with the body for a 100 Continue, which it gets when the body is first read.
            expect(request)
        self._reading.pushed()
        with self._admission.admit(request) as admitted:
            return handler(admitted)

    def _request(self, environ: Environ, route: Route) -> Request:
        return Request(environ, route, self._base(environ), self._host, self._relative)

    def _base(self, environ: Environ) -> str:
        """Return what stands in front of ``/v2/`` for the client."""
        mount = environ.get("SCRIPT_NAME", "")
        return (quote(mount, safe="/", encoding="latin-1") if mount else "") + self._prefix


def _begin(answer: Response, start_response: StartResponse) -> Iterable[bytes]:
    headers = [("Docker-Distribution-API-Version", "registry/2.0"), *answer.headers]
    start_response(STATUS_LINES[answer.status], headers)
    return answer.body


def _response_to(error: Exception, environ: Environ) -> Response:
    """Return the response to a request that failed. This is the one place where errors become responses."""
    if isinstance(error, RegistryError):
        return error.response()
    if isinstance(error, StorageUnavailable):
        _log.warning("%s %r: %s", environ["REQUEST_METHOD"], environ.get("PATH_INFO"), error)
        if isinstance(error, StorageFull):
            return errors.storage_full().response()
        kind = errors.storage_refuses if error.lasting else errors.storage_unavailable
        return kind(error.told).response()
    _log.error("%s %r failed", environ["REQUEST_METHOD"], environ.get("PATH_INFO"), exc_info=error)
    return errors.unknown().response()


def _authorized(auth: Authenticator, request: Request) -> Grant:
    try:
        grant = auth.authorize(request)
    except RegistryError as error:
        # Clients send their first request without a credential, to be told which one.
        if error.status in (401, 403):
            AUTHENTICATIONS.inc("refused" if request.header("Authorization") else "challenged")
        raise
    AUTHENTICATIONS.inc("granted")
    return grant


def _alive(request: Request) -> Response:
    """Answer who asks without a credential whether there is a server: balancers, and Kubernetes' probes."""
    return empty(200, {"Cache-Control": "no-cache"})


def _base(request: Request) -> Response:
    return as_json(200, {})
