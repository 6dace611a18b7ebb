"""Fetching a document from the web if it has changed, within limits and only over a trusted way."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from .trustedurl import check_url

_CHUNK = 1 << 16

_NOT_MODIFIED = 304


class FetchError(Exception):
    """A document could not be fetched; the message is the reason."""


class Limits(NamedTuple):
    """What a fetch may take: seconds without a byte, seconds in all, and bytes."""

    silence: float = 10
    seconds: float = 60
    size: int = 16 << 20


#: For a document of a few megabytes that no request waits for.
LIMITS = Limits()


class Fetched(NamedTuple):
    """A document, and what to ask with next time (RFC 9110, section 8.8)."""

    content: bytes
    etag: str | None = None
    modified: str | None = None


def fetch(url: str, known: Fetched | None = None, limits: Limits = LIMITS) -> Fetched | None:
    """Return the document at *url*, or None if it is still the one that is *known*.

    Redirects are followed on the same host, to where :func:`check_url` allows. The environment's proxies are
    used.

    :raises FetchError: for every other outcome.
    """
    headers = {}
    if known is not None and known.etag is not None:
        headers["If-None-Match"] = known.etag
    if known is not None and known.modified is not None:
        headers["If-Modified-Since"] = known.modified
    deadline = time.monotonic() + limits.seconds
    try:
        check_url(url)
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 (it was checked)
        with urllib.request.build_opener(_CarefulRedirects).open(request, timeout=limits.silence) as answer:
            content = _read(answer, deadline, limits.size)
            return Fetched(content, answer.headers["ETag"], answer.headers["Last-Modified"])
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _NOT_MODIFIED and known is not None:
            return None
        raise FetchError(f"the server answered {error.code}") from None
    except urllib.error.URLError as error:
        raise FetchError(_reason(error.reason)) from None
    except (OSError, HTTPException, ValueError) as error:
        raise FetchError(_reason(error)) from None


def _read(answer: IO[bytes], deadline: float, size: int) -> bytes:
    content = bytearray()
    # In pieces: one read of everything would have no deadline but the server's silence.
    while chunk := answer.read1(_CHUNK):  # type: ignore[attr-defined]  # HTTPResponse has it, IO has not
        content += chunk
        if len(content) > size:
            raise FetchError(f"it is longer than {size} bytes")
        if time.monotonic() > deadline:
            raise FetchError("it takes too long")
    return bytes(content)


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only on the same host and port, as far as :func:`check_url` allows.

    Another host may be one of the operator's own, which nobody outside could otherwise ask.
    """

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_url(newurl)
            if _place(newurl) != _place(req.full_url):
                raise ValueError("to another host; set iprangesurl to where the document is")
        except ValueError as error:
            raise FetchError(f"it was redirected: {error}") from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _place(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _reason(error: object) -> str:
    """Return why something failed, on one line."""
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, HTTPException):  # its text is the server's
        return type(error).__name__
    return str(error)
