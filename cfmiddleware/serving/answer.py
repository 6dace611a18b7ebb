"""An answer on its way to the client: gunicorn's rules, in fewer steps."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from gunicorn import util
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from gunicorn.http.message import TOKEN_RE
from gunicorn.http.wsgi import HEADER_VALUE_RE, STATUS_RE, Response

from cfmiddleware.wsgi.repeatedheaders import Repeated, RepeatedHeaders, Repeating

# A body's first piece of up to this length goes out together with the head: a longer one would be held twice.
_JOINED = 1 << 13

# So many fields that were sent are remembered in the form in which they are sent. An app sends the same few
# over and over, and a client that pulls a blob again gets the same Location until its window ends.
_FIELDS = 4096
_LONGEST = 1024

# Replaced as a whole, so that no lock is needed.
_date = (0, "")

# The heads' beginnings of one second, by status.
_begun: tuple[int, dict[str, bytes]] = (0, {})


class Answer(Response, Repeating):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's response, whose head leaves together with the first piece of the body.

    :param request: gunicorn's request, or a plain one.
    :param connection: what it is sent on.
    """

    headers_sent: bool
    status: str | None

    def __init__(self, request: Any, connection: Any, cfg: Any) -> None:
        super().__init__(request, connection, cfg)
        self.response_length: int | None = None
        self._fields = b"\r\n"
        self._held = b""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Begin the answer, as PEP 3333 has it.

        An answer after which a part of the request's body is still to come ends its connection, and says so:
        a client that expects it to stay would send its next request there, and get no answer.

        :raises InvalidResponseHeader: for a value that would begin a header of its own.
        """
        if exc_info:
            try:
                if self.headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a traceback holds frames, and with them this one
            self._held = b""
        elif self.status is not None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        request = self.req
        if self.sock.body_is_unread(request):
            self.force_close()
        self.status, self.status_code = status, _code(status)
        # RFC 9110, 6.4.1 and 8.6.
        has_no_length = self.status_code < 200 or self.status_code == 204
        self._omits_body = has_no_length or self.status_code == 304 or request.method == "HEAD"
        self._fields, self.response_length = _sent_before(headers, has_no_length)
        self.chunked = self.response_length is None and not self._omits_body and request.version >= (1, 1)
        return self.write

    def start_again(self, status: str, repeated: Repeated) -> None:
        """Begin an answer with headers that are sent many times: for a GET without a body, without looking at
        them again.
        """
        request, sent, code = self.req, repeated.sent, _code(status)
        # Up to 304 there are those that have no body, or no length.
        if (
            sent is None
            or sent[1] is None
            or code <= 304
            or request.body is not None
            or request.method != "GET"
        ):
            headers = RepeatedHeaders(repeated.fields)
            headers.repeated = repeated
            self.start_response(status, headers)
        elif self.status is not None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        else:
            self.status, self.status_code = status, code
            self._fields, self.response_length = sent

    def send_headers(self) -> None:
        """Make the head ready. It leaves with the first piece of the body, or at the end."""
        if self.headers_sent or self._held:
            return
        version = self.req.version
        closes = self.should_close() or self.sock.is_stopping()
        if version == (1, 1) and not closes and not self.chunked:
            self._held = _beginning(self.status) + self._fields
            return
        head = f"HTTP/{version[0]}.{version[1]} {self.status}\r\nDate: {http_date()}\r\n"
        if closes:
            self.force_close()
            head += "Connection: close\r\n"
        elif version < (1, 1):
            head += "Connection: keep-alive\r\n"
        if self.chunked:
            head += "Transfer-Encoding: chunked\r\n"
        self._held = head.encode("latin-1") + self._fields

    def _emit_body(self, data: bytes) -> None:
        if self.chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        if self._held and len(data) <= _JOINED:
            data = self._held + data
        else:
            self._flush()
        self._held, self.headers_sent = b"", True
        self.sock.sendall(data)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self.headers_sent = True
            self.sock.sendall(held)

    def close(self) -> None:
        """Send what is left: a head without a body, the last chunk."""
        self.send_headers()
        if self.chunked:
            self._held += b"0\r\n\r\n"
        self._flush()

    def is_short(self) -> bool:
        """Return whether fewer bytes were sent than announced."""
        return self.response_length is not None and not self._omits_body and self.sent < self.response_length


def _sent_before(headers: list[tuple[str, str]], has_no_length: bool) -> tuple[bytes, int | None]:
    """Return what :func:`_fields_of` does, once for headers that are sent many times."""
    if type(headers) is not RepeatedHeaders or has_no_length or not headers.are_unchanged():
        return _fields_of(headers, has_no_length)
    repeated = headers.repeated
    if repeated.sent is None:
        repeated.sent = _fields_of(headers, has_no_length)
    return repeated.sent


def _fields_of(headers: list[tuple[str, str]], has_no_length: bool) -> tuple[bytes, int | None]:
    """Return headers as the lines at the end of the head, and the length of the body if they say that.

    :param has_no_length: whether the answer must not say it (RFC 9110, 8.6).
    """
    lines, said = [], None
    for name, value in headers:
        line, length = (_field if len(value) <= _LONGEST else _field.__wrapped__)(name, value)
        if length is None:
            lines.append(line)
        elif not has_no_length:
            lines.append(line)
            said = length
    lines.append("\r\n")
    return "".join(lines).encode("latin-1"), said


@lru_cache(maxsize=256)
def _code(status: str) -> int:
    """Return the number of a status line.

    :raises ValueError: if it cannot be sent.
    """
    if not isinstance(status, str):
        raise TypeError(f"{status!r} is not a string")
    if not STATUS_RE.fullmatch(status):
        raise ValueError(f"Invalid status {status!r}")
    return int(status[:3])


# What cannot be sent raises, and so is not kept.
@lru_cache(maxsize=_FIELDS)
def _field(name: str, value: str) -> tuple[str, int | None]:
    """Return a header as a line of the head, and the length of the body if it says that.

    The line is empty for what is between two machines alone (RFC 9110, 7.6.1) and not the app's to send.
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"{name!r} and its value are not both strings")
    if not TOKEN_RE.fullmatch(name):
        raise InvalidResponseHeaderName(repr(name))
    if not HEADER_VALUE_RE.fullmatch(value):
        raise InvalidResponseHeader(repr(name))  # without the value, which may be a secret
    value = value.strip(" \t")
    if util.is_hoppish(name):
        return "", None
    return f"{name}: {value}\r\n", int(value) if name.lower() == "content-length" else None


def _beginning(status: str | None) -> bytes:
    """Return the first two lines of a head."""
    global _begun
    second, made = _begun
    now = int(time.time())
    if now != second:
        made = {}
        _begun = now, made
    head = made.get(status or "")
    if head is None:
        head = made[status or ""] = f"HTTP/1.1 {status}\r\nDate: {http_date()}\r\n".encode("latin-1")
    return head


def http_date() -> str:
    """Return the date for the head (RFC 9110, 6.6.1), made once for each second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True))
    return _date[1]
