"""Events of a registry of any kind, from its requests and its answers.

For an app that has none of its own. What neither a request nor its answer says is not in the event, such as
the size of a blob that is mounted.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

from cfmiddleware.notifications.envelope import BLOB, TELLER, Happened, NotRecorded, Target
from cfmiddleware.notifications.requester import requester
from cfmiddleware.process.cache import Cache
from cfmiddleware.reference import is_name
from cfmiddleware.wsgi.origin import origin

if TYPE_CHECKING:
    from cfmiddleware.notifications.notifier import Notifier
    from cfmiddleware.wsgi.types import App, ExcInfo, Headers, StartResponse, Write

Environ = dict[str, Any]

# Uploads of which it is known how much has come.
_UPLOADS = 10_000

_PULLED = ("200", "206", "301", "302", "303", "304", "307", "308")

_ERROR = {
    "code": "UNAVAILABLE",
    "message": "the event of the request cannot be kept; try again later",
    "detail": None,
}
_REFUSAL = json.dumps({"errors": [_ERROR]}).encode()


class _Resource(NamedTuple):
    """What a path names.

    :param kind: ``manifests``, ``blobs`` or ``uploads``.
    :param name: the repository's.
    :param reference: a tag, a digest, or which upload.
    """

    kind: str
    name: str
    reference: str


class Announced:
    """Tells endpoints of what an app does for its clients.

    An app that tells of it by itself says so, see :data:`~cfmiddleware.notifications.envelope.TELLER`, and
    nothing is told twice. The environ is not changed: the app gets another one.

    :param app: the registry, or what is in front of it.
    :param notifier: keeps events until their endpoints have them.
    :param prefix: what stands in front of ``/v2/``.
    """

    def __init__(self, app: App, notifier: Notifier, prefix: str = "") -> None:
        self.app = app
        self._notifier = notifier
        self._prefix = prefix
        self._uploads: Cache[str, int] = Cache(_UPLOADS)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as PEP 3333 has it."""
        self._notifier.start()
        resource = _resource(environ.get("PATH_INFO", ""), self._prefix)
        if resource is None:
            return self.app(environ, start_response)
        changes = environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE")
        if changes:
            try:
                self._notifier.make_sure()
            except NotRecorded:
                return _refuse(start_response)
        own = dict(environ)
        answer = own[TELLER] = _Answer(self, resource, own, start_response)
        if changes and self._notifier.refuses:
            return answer.unless_lost(self.app(own, answer.start_response))
        return self.app(own, answer.start_response)

    def tell(
        self, resource: _Resource, environ: Environ, status: str, headers: Mapping[str, str], size: int
    ) -> None:
        """Keep the event of an answer, if it is one that somebody wants to know of.

        :param headers: the answer's, their names in lower case.
        :param size: of the blob that the client is redirected to; 0 if it is not known.
        :raises NotRecorded: if it could not be kept, and none may get lost.
        """
        found = self._happened(resource, environ, status[:3], headers)
        if found is not None and self._notifier.wants(found.action):
            if size and found.target.size == 0:
                found = found._replace(target=found.target._replace(size=size))
            told = requester(environ, self._notifier.trustedproxies)
            self._notifier.record([found], told, _user(environ))

    def _happened(
        self, resource: _Resource, environ: Environ, status: str, headers: Mapping[str, str]
    ) -> Happened | None:
        method = environ["REQUEST_METHOD"]
        if resource.kind == "uploads":
            return self._of_upload(resource, environ, status, headers)
        is_blob = resource.kind == "blobs"
        if method in ("GET", "HEAD"):
            if status not in (_PULLED if is_blob else ("200",)):
                return None
            media, size = (BLOB if is_blob else _media(headers.get("content-type", ""))), 0
            if status == "200":
                size = _number(headers.get("content-length", ""))
            elif status == "206":
                size = _number(headers.get("content-range", "").rpartition("/")[2])
            return Happened("pull", self._target(resource, environ, headers, media, size))
        if method == "PUT" and not is_blob and status == "201":
            media, size = _media(environ.get("CONTENT_TYPE", "")), _number(environ.get("CONTENT_LENGTH", ""))
            return Happened("push", self._target(resource, environ, headers, media, size))
        if method == "DELETE" and status == "202":
            if ":" in resource.reference:
                return Happened("delete", Target(resource.name, digest=resource.reference))
            return Happened("delete", Target(resource.name, tag=resource.reference))
        return None

    def _of_upload(
        self, resource: _Resource, environ: Environ, status: str, headers: Mapping[str, str]
    ) -> Happened | None:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if status == "202" and method in ("POST", "PATCH"):
            location = urlsplit(headers.get("location", "")).path
            # "0-0" says nothing has come, and so it does where one byte has.
            last = _number(headers.get("range", "").rpartition("-")[2])
            self._uploads.put(location.rpartition("/")[2], last + 1 if last else 0)
            return None
        if status != "201" or method not in ("POST", "PUT"):
            return None
        query = parse_qs(environ.get("QUERY_STRING", ""))
        named = (query.get("digest") or query.get("mount") or [""])[0]
        blob = _Resource("blobs", resource.name, headers.get("docker-content-digest") or named)
        if not blob.reference:
            return None
        if method == "POST" and "mount" in query and "digest" not in query:
            target = self._target(blob, environ, headers, BLOB, 0)
            return Happened("mount", target._replace(from_repository=query.get("from", [""])[0]))
        came: int | None = 0 if method == "POST" else self._uploads.get(path.rpartition("/")[2])
        size = 0 if came is None else came + _number(environ.get("CONTENT_LENGTH", ""))
        return Happened("push", self._target(blob, environ, headers, BLOB, size))

    def _target(
        self, resource: _Resource, environ: Environ, headers: Mapping[str, str], media: str, size: int
    ) -> Target:
        is_tag = ":" not in resource.reference
        digest = headers.get("docker-content-digest") or ("" if is_tag else resource.reference)
        mount = quote(environ.get("SCRIPT_NAME", ""), safe="/", encoding="latin-1")
        path = f"{resource.name}/{resource.kind}/{digest or resource.reference}"
        url = f"{origin(environ)}{mount}{self._prefix}/v2/{path}"
        tag = resource.reference if is_tag else ""
        return Target(resource.name, media, size, digest, url=url, tag=tag)


class _Answer:
    """One answer on its way to the client.

    :param announced: keeps its event.
    """

    __slots__ = ("_announced", "_environ", "_is_lost", "_resource", "_start", "is_told", "size")

    def __init__(
        self, announced: Announced, resource: _Resource, environ: Environ, start_response: StartResponse
    ) -> None:
        self._announced = announced
        self._resource = resource
        self._environ = environ
        self._start = start_response
        self._is_lost = False
        #: Whether there is nothing to tell any more.
        self.is_told = False
        #: The size of the blob that the client is redirected to, if the app has said it.
        self.size = 0

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Be the ``start_response`` that the app sees: the event is kept before the client has an answer."""
        if not self.is_told:
            self.is_told = True
            named = {name.lower(): value for name, value in headers}
            environ, self._environ = self._environ, {}  # which holds this
            try:
                self._announced.tell(self._resource, environ, status, named, self.size)
            except NotRecorded:
                self._is_lost = True
                _refuse(self._start)
                return _drop
        return self._start(status, headers, exc_info) if exc_info else self._start(status, headers)

    def unless_lost(self, response: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the app's response, or that its event could not be kept."""
        try:
            for chunk in response:
                if self._is_lost:
                    break
                yield chunk
            if self._is_lost:
                yield _REFUSAL
        finally:
            close = getattr(response, "close", None)
            if close is not None:
                close()


def _refuse(start_response: StartResponse) -> Iterable[bytes]:
    start_response(
        "503 Service Unavailable",
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(_REFUSAL))),
            ("Retry-After", "5"),
        ],
    )
    return [_REFUSAL]


def _drop(data: bytes) -> None:
    """Be the ``write`` of an answer that is another one."""


def _resource(path: str, prefix: str) -> _Resource | None:
    """Return what a path names, if it is something that there are events of."""
    if not path.startswith(f"{prefix}/v2/") or len(path) > len(prefix) + 4_000:
        return None
    front, _, reference = path[len(prefix) + len("/v2/") :].rpartition("/")
    name, _, kind = front.rpartition("/")
    if kind == "uploads" and name.endswith("/blobs"):
        name = name.removesuffix("/blobs")
    elif kind == "blobs" and reference == "uploads":
        kind = "uploads"
    elif kind not in ("manifests", "blobs") or not reference:
        return None
    return _Resource(kind, name, reference) if is_name(name) else None


def _media(header: str) -> str:
    return header.partition(";")[0].strip()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _user(environ: Environ) -> str:
    """Return the name of the user that the app let in."""
    if environ.get("REMOTE_USER"):
        return str(environ["REMOTE_USER"])
    scheme, _, login = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(login, validate=True).decode("utf-8", "replace").partition(":")[0]
    except (binascii.Error, ValueError):
        return ""
