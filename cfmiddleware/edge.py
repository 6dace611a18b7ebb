"""A local edge: what CloudFront does for signed URLs, as a small WSGI app.

It checks a signed URL *as it was sent*, puts its Origin Path in front of the path, and answers GET and HEAD
from the storage, with ranges. So a registry and its redirects run, and are tested, without an AWS account. It
caches nothing: the bytes are on this machine already.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit
from xml.sax.saxutils import escape

from werkzeug.http import http_date, is_resource_modified, unquote_etag

from .digest import Digest
from .errors import ObjectNotFound, StorageError
from .reference import has_whole_segments
from .signing.originpath import directory, encode_key, path_below
from .signing.verify import Refused, Verifier
from .wsgi.client import client_address
from .wsgi.ranges import Span, Unsatisfiable, parse_wanted

if TYPE_CHECKING:
    from .signing.keys import PublicKey
    from .storage.driver import Driver, Reader, Stat

    StartResponse = Callable[..., Any]

_log = logging.getLogger("cfmiddleware.edge")

_CONTENT_TYPE = "application/octet-stream"

_BLOB = re.compile(r"/(sha256|sha512)/(?:[0-9a-f]{2}/)?([0-9a-f]{64,128})(?:/data)?\Z")


class Edge:
    """Serve a storage's objects under CloudFront-signed URLs.

    A request's ``RAW_URI``, ``REQUEST_URI`` and ``QUERY_STRING`` are rewritten without their query once it
    has been read, so that a server's access log, which is written from the environ, shows no signature.

    :param driver: the storage.
    :param publickeys: the keys that may sign, by their Key-Pair-Id: the distribution's key group.
    :param originpath: the Origin Path, put in front of every path.
    :param rootdirectory: the directory of the bucket that the storage's own root stands for. Objects outside
        of it are not there.
    :param trustedproxies: how many proxies in front append to ``X-Forwarded-For``; matters for URLs that are
        bound to an address.
    :param clock: gives the time in Unix seconds.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        publickeys: Mapping[str, PublicKey] | Callable[[], Mapping[str, PublicKey]],
        originpath: str = "",
        rootdirectory: str = "",
        trustedproxies: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._driver = driver
        self._keys = publickeys if callable(publickeys) else (lambda: publickeys)
        self.originpath = directory(originpath, "originpath")
        self._root = directory(rootdirectory, "rootdirectory")
        self._proxies = trustedproxies
        self._clock = clock

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        began = time.monotonic()
        path, query = _as_sent(environ)
        for name in ("RAW_URI", "REQUEST_URI"):
            if name in environ:
                environ[name] = path
        environ["QUERY_STRING"] = ""

        answer = self._answer(environ, path, query)
        method = environ["REQUEST_METHOD"]
        start_response(answer.status, answer.headers)
        return _Logged(answer, method, path, environ.get("REMOTE_ADDR") or "-", began)

    def _answer(self, environ: dict[str, Any], path: str, query: str) -> _Answer:
        method = environ["REQUEST_METHOD"]
        try:
            if method not in ("GET", "HEAD"):
                raise Refused(403, "MethodNotAllowed", f"This distribution does not allow {method} requests")
            client = client_address(environ, self._proxies)
            url = f"{environ['wsgi.url_scheme']}://{_host(environ)}{path}" + (f"?{query}" if query else "")
            Verifier(self._keys()).check(url, self._clock(), None if client is None else str(client))
            return self._object(environ, self._path_in_storage(environ, path))
        except Refused as refused:
            return _error(refused.status, refused.code, refused.message, method)
        except ObjectNotFound:
            # What S3 answers to a reader that may not list: the Origin Path may be wrong as well.
            return _error(403, "AccessDenied", "Access Denied", method, "no object lies at this key")
        except StorageError as error:
            return _error(503, "ServiceUnavailable", "The origin cannot be reached", method, str(error))
        except Exception:  # noqa: BLE001 (a server logs what it catches with the whole URL, signature included)
            _log.exception("edge %s %s failed", method, _printable(path))
            return _error(500, "InternalError", "The request could not be answered", method)

    def _path_in_storage(self, environ: Mapping[str, Any], path: str) -> str:
        """Return the logical path of the object that a request asks for.

        :raises ObjectNotFound: where no object of the storage can lie.
        """
        mount = encode_key(environ.get("SCRIPT_NAME", "").encode("latin-1").decode("utf-8", "replace"))
        if mount and path.startswith(mount + "/"):
            path = path[len(mount) :]
        try:
            key = self.originpath + unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            raise ObjectNotFound(path) from None
        logical = path_below(key.removeprefix("/"), self._root)
        if logical is None or not has_whole_segments(logical[1:]):
            raise ObjectNotFound(key)
        return logical

    def _object(self, environ: dict[str, Any], path: str) -> _Answer:
        """Answer with an object, or with the part of it that is asked for (RFC 9110, section 14)."""
        stat = self._driver.stat(path)
        etag = f'"{stat.size:x}-{int(stat.modified * 1000):x}"'
        headers = [
            ("Content-Type", _CONTENT_TYPE),
            ("Accept-Ranges", "bytes"),
            ("ETag", etag),
            ("Last-Modified", http_date(stat.modified)),
        ]
        digest = _digest(path)
        if digest is not None:
            headers.append(("Docker-Content-Digest", str(digest)))
        if not is_resource_modified(environ, unquote_etag(etag)[0], last_modified=http_date(stat.modified)):
            return _Answer("304 Not Modified", headers)
        status = "200 OK"
        try:
            span = _wanted(environ, stat, etag)
        except Unsatisfiable:
            message = "The requested range is not satisfiable"
            size = [("Content-Range", f"bytes */{stat.size}")]
            return _error(416, "InvalidRange", message, environ["REQUEST_METHOD"], None, size)
        if span is None:
            span = Span(0, stat.size)
        else:
            status = "206 Partial Content"
            last = span.offset + span.length - 1
            headers.append(("Content-Range", f"bytes {span.offset}-{last}/{stat.size}"))
        headers.append(("Content-Length", str(span.length)))
        if environ["REQUEST_METHOD"] == "HEAD":
            return _Answer(status, headers)
        reader = self._driver.open(path, span.offset, span.length)
        try:
            # While the status can still say that the storage failed.
            first = next(iter(reader), b"")
        except BaseException:
            reader.close()
            raise
        return _Answer(status, headers, reader, first=first)


def _digest(path: str) -> Digest | None:
    """Return the digest that the path of a blob holds, in whatever layout, or None.

    A pull must be answered with it (OCI Distribution, "Pulling blobs"), and clients see the last answer only.
    """
    found = _BLOB.search(path)
    try:
        return Digest.parse(f"{found[1]}:{found[2]}") if found else None
    except ValueError:
        return None


def _as_sent(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return path and query as the client sent them, still encoded."""
    raw: str | None = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw is None:  # a server that keeps only the decoded path: encode it as our own URLs are
        whole = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        return encode_key(whole.encode("latin-1").decode("utf-8", "replace")), environ.get("QUERY_STRING", "")
    if not raw.startswith("/"):  # the absolute form that proxies are sent
        try:
            parts = urlsplit(raw)
        except ValueError:
            return "/", ""
        return parts.path, parts.query
    path, _, query = raw.partition("?")
    return path, query


def _host(environ: Mapping[str, Any]) -> str:
    """Return the host and port that the client called, as its URL has them."""
    host: str = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    return host


def _wanted(environ: Mapping[str, Any], stat: Stat, etag: str) -> Span | None:
    """Return the range that is asked for, None for the whole object.

    :raises Unsatisfiable: when the object has no byte of it.
    """
    header = environ.get("HTTP_RANGE")
    validator = environ.get("HTTP_IF_RANGE", "").strip()
    if header is None or validator not in ("", etag, http_date(stat.modified)):
        return None
    return parse_wanted(header, stat.size)


class _Answer:
    """A response: its status line, its headers, and the body if there is one."""

    __slots__ = ("body", "first", "headers", "reason", "status")

    def __init__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        body: Reader | Iterable[bytes] = (),
        reason: str | None = None,
        first: bytes = b"",
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        #: A chunk that stands in front of the body.
        self.first = first
        #: What the log, but not the client, is told.
        self.reason = reason


_REASONS = {
    403: "403 Forbidden",
    416: "416 Range Not Satisfiable",
    500: "500 Internal Server Error",
    503: "503 Service Unavailable",
}


def _error(
    status: int,
    code: str,
    message: str,
    method: str,
    reason: str | None = None,
    headers: list[tuple[str, str]] | None = None,
) -> _Answer:
    """Refuse, as CloudFront does: with a small XML body."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    ).encode()
    fields = [("Content-Type", "text/xml"), ("Content-Length", str(len(body))), *(headers or [])]
    return _Answer(
        _REASONS.get(status, f"{status} Error"), fields, [] if method == "HEAD" else [body], reason or code
    )


def _printable(path: str) -> str:
    return path if path.isprintable() else ascii(path)


class _Logged:
    """A response's body, counted, and logged in one line when the server closes it."""

    __slots__ = ("_answer", "_began", "_chunks", "_client", "_first", "_method", "_path", "_sent")

    def __init__(self, answer: _Answer, method: str, path: str, client: str, began: float) -> None:
        self._answer = answer
        self._first = answer.first
        self._chunks = iter(answer.body)
        self._method = method
        self._path = path
        self._client = client
        self._began = began
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk, self._first = self._first or next(self._chunks), b""
        self._sent += len(chunk)
        return chunk

    def close(self) -> None:
        end = getattr(self._answer.body, "close", None)
        if end is not None:
            end()
        _log.info(
            "edge %s %s %s %d %s %.3f%s",
            self._method,
            _printable(self._path),
            self._answer.status[:3],
            self._sent,
            self._client,
            time.monotonic() - self._began,
            f" ({self._answer.reason})" if self._answer.reason else "",
        )
