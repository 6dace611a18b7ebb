"""What the server refuses before any app sees it, as the registry's JSON error."""

from __future__ import annotations

import json
from typing import NamedTuple

from gunicorn.http import errors

from cfmiddleware.wsgi.response import STATUS_LINES

from .answer import http_date


class Refusal(NamedTuple):
    """An answer of the server's own.

    :param status: the HTTP status.
    :param code: the code of the error, in the form of the OCI Distribution Specification ("Error Codes").
    :param message: one line for a person, without anything that the client sent.
    """

    status: int
    code: str
    message: str

    def response(self, has_body: bool = True) -> bytes:
        """Return the whole answer, after which the connection ends.

        :param has_body: whether the body is sent, as it is not in answer to HEAD.
        """
        entry = {"code": self.code, "message": self.message, "detail": None}
        body = json.dumps({"errors": [entry]}).encode()
        head = (
            f"HTTP/1.1 {STATUS_LINES[self.status]}\r\n"
            f"Date: {http_date()}\r\n"
            "Connection: close\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + (body if has_body else b"")


HEAD_TOO_SLOW = Refusal(408, "REQUEST_TIMEOUT", "the request's head did not come to its end in time")
TLS_IS_SPOKEN = Refusal(400, "UNSUPPORTED", "this port speaks HTTPS, and the request came without TLS")
TLS_IS_NOT_SPOKEN = Refusal(
    400,
    "UNSUPPORTED",
    "this port speaks HTTP, and the client began TLS, as skopeo and podman do first with --tls-verify=false",
)
APP_FAILED = Refusal(500, "UNKNOWN", "the request failed; the server's log says why")


def request_line_too_long(limit: int) -> Refusal:
    """Return the refusal of a request line beyond *limit* bytes."""
    return Refusal(414, "URI_TOO_LONG", f"the request line has more than {limit} bytes")


def header_too_large(limit: int) -> Refusal:
    """Return the refusal of a field beyond *limit* bytes, or of more fields than are read."""
    return Refusal(
        431, "HEADERS_TOO_LARGE", f"a header field has more than {limit} bytes, or there are too many of them"
    )


# What a client that begins TLS sends first (RFC 8446, 5.1: handshake).
_HANDSHAKE = b"\x16"

_INVALID = Refusal(400, "REQUEST_INVALID", "the request's head breaks the grammar of HTTP/1.1")

_KINDS: list[tuple[type[Exception], Refusal]] = [
    (errors.InvalidRequestMethod, _INVALID._replace(message="the request's method is not one")),
    (errors.InvalidRequestLine, _INVALID._replace(message="the request line breaks the grammar of HTTP/1.1")),
    (errors.InvalidHTTPVersion, Refusal(505, "UNSUPPORTED", "only HTTP/1.0 and HTTP/1.1 are spoken here")),
    (errors.UnsupportedTransferCoding, Refusal(501, "UNSUPPORTED", "the Transfer-Encoding is not known")),
    (errors.ExpectationFailed, Refusal(417, "UNSUPPORTED", "the only Expect that is met is 100-continue")),
    (errors.ObsoleteFolding, _INVALID._replace(message="a header field goes over two lines")),
    (errors.InvalidHeaderName, _INVALID._replace(message="the name of a header field is not one")),
    (errors.InvalidHeader, _INVALID._replace(message="a header field breaks the grammar of HTTP/1.1")),
]


def refusal_of(error: Exception, header_limit: int, head: bytes) -> Refusal:
    """Return what a head that gunicorn's parser refused is answered with."""
    if head.startswith(_HANDSHAKE):
        return TLS_IS_NOT_SPOKEN
    if isinstance(error, errors.LimitRequestHeaders):
        return header_too_large(header_limit)
    return next((refusal for kind, refusal in _KINDS if isinstance(error, kind)), _INVALID)
