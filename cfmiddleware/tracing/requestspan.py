"""A span for each request that an app answers (OpenTelemetry's conventions for HTTP servers).

Only what is traced imports this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Span, Status, StatusCode

from cfmiddleware.logs import redacted
from cfmiddleware.metrics.httpcount import handler_of
from cfmiddleware.wsgi.accessrecord import ACCESS
from cfmiddleware.wsgi.client import client_text, parse_address

from . import exporting
from .environs import name_parent, parent_of
from .loglines import carry, ids_of

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import App, ExcInfo, Headers, StartResponse, Write

# What is longer was made to be long.
_LONGEST, _LONGEST_HOST = 2000, 300

# No address is as long as this.
_NO_ADDRESS = 50

_PORT = re.compile(r"[0-9]{1,5}")

_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))

_REPOSITORY = "/v2/{name}"
_ROUTES = {
    "base": "/v2/",
    "blob": f"{_REPOSITORY}/blobs/{{digest}}",
    "blob_upload": f"{_REPOSITORY}/blobs/uploads/",
    "blob_upload_chunk": f"{_REPOSITORY}/blobs/uploads/{{uuid}}",
    "catalog": "/v2/_catalog",
    "manifest": f"{_REPOSITORY}/manifests/{{reference}}",
    "referrers": f"{_REPOSITORY}/referrers/{{digest}}",
    "tags": f"{_REPOSITORY}/tags/list",
}


class Traced:
    """Wrap a WSGI app so that each request is a span.

    The span's parent is the one that the request names (``traceparent``). The app finds the span itself in
    its place in the environ, and as OpenTelemetry's current span. No query and no header is an attribute,
    except for ``User-Agent``.

    :param app: the app, and whatever wraps it.
    :param trustedproxies: how many proxies in front append to ``X-Forwarded-For``.
    """

    def __init__(self, app: App, trustedproxies: int = 0) -> None:
        self.app = app
        self._proxies = trustedproxies

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        tracer = exporting.begin()
        if tracer is None:
            return self.app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        shown = method if method in _METHODS else "HTTP"
        route = _ROUTES.get(handler_of(environ.get("PATH_INFO", "")))
        context = get_current()
        if not context or not trace.get_current_span(context).get_span_context().is_valid:
            context = parent_of(environ, context)
        span = tracer.start_span(f"{shown} {route}" if route else shown, context, trace.SpanKind.SERVER)
        within = trace.set_span_in_context(span, context)
        name_parent(environ, span, within)
        record = environ.get(ACCESS)
        if record is not None:
            record.trace = (ids_of(span) or ("",))[0]
        if span.is_recording():
            span.set_attributes(self._about(environ, method, route))
        request = _Request(span, within, start_response)
        return request.begin(self.app, environ)

    def _about(self, environ: dict[str, Any], method: str, route: str | None) -> dict[str, str | int]:
        """Return what a span tells about a request."""
        path = redacted((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))[:_LONGEST])
        about: dict[str, str | int] = {
            "http.request.method": method if method in _METHODS else "_OTHER",
            "url.path": path.encode("latin-1", "replace").decode("utf-8", "replace"),
            "url.scheme": environ["wsgi.url_scheme"],
            "network.protocol.version": environ["SERVER_PROTOCOL"].rpartition("/")[2],
        }
        if route:
            about["http.route"] = route
        about.update(_server((environ.get("HTTP_HOST") or environ["SERVER_NAME"])[:_LONGEST_HOST]))
        client = client_text(environ, self._proxies)
        if len(client) < _NO_ADDRESS and (address := _address(client)):
            about["client.address"] = address
        agent = environ.get("HTTP_USER_AGENT")
        if agent:
            about["user_agent.original"] = redacted(agent[:_LONGEST])
        return about


@lru_cache(maxsize=1000)
def _server(host: str) -> Mapping[str, str | int]:
    """Return what a span tells of the server that a client asked for."""
    name, _, port = host.rpartition(":")
    if name and _PORT.fullmatch(port):  # a greater number has no place in a span
        return {"server.address": name, "server.port": int(port)}
    return {"server.address": host}


@lru_cache(maxsize=1000)
def _address(text: str) -> str:
    """Return a client's address as it is usually written, or nothing for what is none."""
    address = parse_address(text)
    return "" if address is None else str(address)


class _Request:
    """The request of one span, which is the current span whenever the app runs.

    The body is never within the span between two chunks: a server may go on with another request there.
    """

    __slots__ = ("_body", "_chunks", "_context", "_size", "_span", "_start_response", "_status")

    def __init__(self, span: Span, context: Context, start_response: StartResponse) -> None:
        self._span = span
        self._context = context
        self._start_response = start_response
        self._status = 0
        self._size = 0

    def begin(self, app: App, environ: dict[str, Any]) -> Iterable[bytes]:
        """Run the app and return its response."""
        token = attach(self._context)
        try:
            self._body: Any = app(environ, self.start)
            if type(self._body) in (list, tuple):
                self._size += sum(map(len, self._body))
                self._end()
                return self._body
            self._chunks = iter(self._body)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            detach(token)
        return self

    def start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Be the ``start_response`` that the app sees."""
        write = self._start_response(status, headers, exc_info)
        if status[:3].isdecimal():
            self._status = int(status[:3])
        return write

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = attach(self._context)
        try:
            chunk: bytes = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            detach(token)
        self._size += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the app's response, and end the span."""
        token = attach(self._context)
        try:
            end = getattr(self._body, "close", None)
            if end is not None:
                end()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            detach(token)
            self._end()

    def _fail(self, error: BaseException) -> None:
        carry(error, ids_of(self._span))
        self._status = 500
        self._end(type(error).__qualname__)

    def _end(self, failure: str = "") -> None:
        span = self._span
        if span.is_recording():
            about = {"http.response.status_code": self._status, "http.response.body.size": self._size}
            if not self._status:
                del about["http.response.status_code"]
            span.set_attributes(about)
            if failure or self._status >= 500:
                span.set_attribute("error.type", failure or str(self._status))
                span.set_status(Status(StatusCode.ERROR))
            span.end()
