"""A local edge: what CloudFront does for signed URLs, as a small WSGI app.

It checks a signed URL *as it was sent*, puts its Origin Path in front of the path, and answers GET and HEAD
from the storage, with ranges. So a registry and its redirects can be run and tested without an AWS account.
It has no cache, because the bytes are on this machine.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit
from xml.sax.saxutils import escape

from werkzeug.http import http_date

from .digest import Digest
from .errors import ObjectNotFound, StorageError, StorageUnavailable
from .logs import printable
from .reference import has_whole_segments
from .signing.originpath import directory, encode_key, path_below
from .signing.verify import Refused, Verifier
from .wsgi.accesslog import LoggedResponse
from .wsgi.client import client_address
from .wsgi.ranges import Unsatisfiable, select
from .wsgi.response import NO_BYTES, STATUS_LINES, Response, whole

if TYPE_CHECKING:
    from .signing.keys import PublicKey
    from .storage.driver import Driver, Reader
    from .wsgi.types import StartResponse

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
        of it are not found.
    :param trustedproxies: how many proxies in front append to ``X-Forwarded-For``; matters for URLs that are
        bound to an address.
    :param digestheader: whether the answers to pulls have ``Docker-Content-Digest``, which a distribution
        sends only with a function that adds it.
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
        digestheader: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._driver = driver
        self._keys = publickeys if callable(publickeys) else (lambda: publickeys)
        self.originpath = directory(originpath, "originpath")
        self._root = directory(rootdirectory, "rootdirectory")
        self._proxies = trustedproxies
        self._digestheader = digestheader
        self._clock = clock

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        path, query = _sent_target(environ)
        for name in ("RAW_URI", "REQUEST_URI"):
            if name in environ:
                environ[name] = path
        environ["QUERY_STRING"] = ""
        line = _Line(environ["REQUEST_METHOD"], path, environ.get("REMOTE_ADDR") or "-")

        def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            response = self._respond(environ, path, query, line)
            start_response(STATUS_LINES[response.status], response.headers)
            return response.body if environ["REQUEST_METHOD"] != "HEAD" else NO_BYTES

        return LoggedResponse(line, start_response).begin(app, environ)

    def _respond(self, environ: dict[str, Any], path: str, query: str, line: _Line) -> Response:
        method = environ["REQUEST_METHOD"]
        try:
            if method not in ("GET", "HEAD"):
                raise Refused(403, "MethodNotAllowed", f"This distribution does not allow {method} requests")
            client = client_address(environ, self._proxies)
            url = f"{environ['wsgi.url_scheme']}://{_host(environ)}{path}" + (f"?{query}" if query else "")
            Verifier(self._keys()).check(url, self._clock(), None if client is None else str(client))
            return self._object(environ, self._path_in_storage(environ, path))
        except Refused as refused:
            return line.refuse(refused.status, refused.code, refused.message)
        except Unsatisfiable as unsatisfiable:
            size = [("Content-Range", f"bytes */{unsatisfiable.size}")]
            return line.refuse(416, "InvalidRange", "The requested range is not satisfiable", headers=size)
        except ObjectNotFound:
            # S3's answer to a reader that may not list. A wrong Origin Path gives the same.
            return line.refuse(403, "AccessDenied", "Access Denied", "no object lies at this key")
        except StorageError as error:
            told = error.told if isinstance(error, StorageUnavailable) else StorageUnavailable.told
            return line.refuse(503, "ServiceUnavailable", f"The origin fails: {told}", str(error))
        except Exception:  # noqa: BLE001 (a server logs what it catches with the whole URL, signature included)
            _log.exception("edge %s %s failed", method, printable(path))
            return line.refuse(500, "InternalError", "The request could not be answered")

    def _path_in_storage(self, environ: Mapping[str, Any], path: str) -> str:
        """Return the logical path of the object that a request asks for.

        :raises ObjectNotFound: if the storage cannot have an object there.
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

    def _object(self, environ: dict[str, Any], path: str) -> Response:
        """Respond with an object, or with the range of it that is asked for (RFC 9110, section 14)."""
        stat = self._driver.stat(path)
        etag = f"{stat.size:x}-{int(stat.modified * 1000):x}"
        headers = [
            ("Content-Type", _CONTENT_TYPE),
            ("Accept-Ranges", "bytes"),
            ("ETag", f'"{etag}"'),
            ("Last-Modified", http_date(stat.modified)),
        ]
        digest = digest_in(path) if self._digestheader else None
        if digest is not None:
            headers.append(("Docker-Content-Digest", str(digest)))
        selected = select(environ, stat.size, etag, stat.modified, ranges_of_head=True)
        headers += selected.headers
        if selected.status == 304 or environ["REQUEST_METHOD"] == "HEAD":
            return Response(selected.status, headers)
        span = selected.span
        return Response(selected.status, headers, _Begun(self._driver.open(path, span.offset, span.length)))


def digest_in(path: str) -> Digest | None:
    """Return the digest that the path of a blob holds, in whatever layout, or None.

    The response to a pull must have it (OCI Distribution, "Pulling blobs"), and clients see only the last
    response. The function of ``cloudfront/digestheader.py`` finds the same.
    """
    found = _BLOB.search(path)
    try:
        return Digest.parse(f"{found[1]}:{found[2]}") if found else None
    except ValueError:
        return None


def _sent_target(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return path and query as the client sent them, still encoded."""
    raw: str | None = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw is None:  # a server that keeps only the decoded path; it is encoded as in our own URLs
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


class _Begun:
    """The bytes of an object. The first chunk is read before the status is sent, which may still be an
    error.
    """

    __slots__ = ("_first", "_reader")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        try:
            self._first: bytes | None = next(iter(reader), b"")
        except BaseException:
            reader.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return next(self._reader) if first is None else first

    def close(self) -> None:
        """Close the object."""
        self._reader.close()


class _Line:
    """The line of the log for one request."""

    __slots__ = ("_began", "_client", "_method", "_path", "_reason", "bytes", "status")

    def __init__(self, method: str, path: str, client: str) -> None:
        self._began = time.monotonic()
        self._method = method
        self._path = path
        self._client = client
        #: Why the request was refused, for the log alone.
        self._reason = ""
        self.status, self.bytes = 500, 0

    def refuse(
        self,
        status: int,
        code: str,
        message: str,
        reason: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Return a refusal as CloudFront has it, with a small XML body, and log why.

        :param reason: what the log says instead of the *code*.
        """
        self._reason = reason or code
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
        ).encode()
        return whole(status, "text/xml", body, dict(headers))

    def log(self) -> None:
        """Log it; the request is over."""
        _log.info(
            "edge %s %s %d %d %s %.3f%s",
            self._method,
            printable(self._path),
            self.status,
            self.bytes,
            self._client,
            time.monotonic() - self._began,
            f" ({self._reason})" if self._reason else "",
        )
