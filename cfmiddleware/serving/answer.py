"""An answer on its way to the client: gunicorn's rules, in fewer steps."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

from gunicorn import util
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from gunicorn.http.message import TOKEN_RE
from gunicorn.http.wsgi import HEADER_VALUE_RE, Response

# A body's first piece of up to this length goes out together with the head: a longer one would be held twice.
_JOINED = 1 << 13

_CONTENT_LENGTH = "content-length"

# The names of headers that were sent, in lower case, so that each is checked once; None for those that are
# between two machines alone (RFC 9110, 7.6.1) and not the app's to send.
_names: dict[str, str | None] = {}
_MAX_NAMES = 1000

# Replaced as a whole, so that no lock is needed.
_date = (0, "")


class Answer(Response):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's response, whose head leaves together with the first piece of the body.

    :param request: gunicorn's request, or a plain one.
    :param connection: what it is sent on.
    """

    def __init__(self, request: Any, connection: Any, cfg: Any) -> None:
        super().__init__(request, connection, cfg)
        self.headers: list[tuple[str, str]] = []
        self.response_length: int | None = None
        self._held = b""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Begin the answer, as PEP 3333 has it.

        An answer after which a part of the request's body is still to come ends its connection, and says so:
        a client that expects it to stay would send its next request there, and get no answer.
        """
        if exc_info and not self.headers_sent:
            self.headers, self.response_length, self._held = [], None, b""
        if self.sock.body_is_unread(self.req):
            self.force_close()
        return super().start_response(status, headers, exc_info)

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Check the headers, and keep those that are the app's to send.

        :raises InvalidResponseHeader: for a value that would begin a header of its own.
        """
        for name, value in headers:
            lower = _names[name] if name in _names else _checked(name)
            if not isinstance(value, str):
                raise TypeError(f"{value!r} is not a string")
            if not HEADER_VALUE_RE.fullmatch(value):
                raise InvalidResponseHeader(repr(name))  # without the value, which may be a secret
            if lower is None:
                continue
            value = value.strip(" \t")
            if lower == _CONTENT_LENGTH:
                self.response_length = int(value)
            self.headers.append((name, value))

    def send_headers(self) -> None:
        """Make the head ready. It leaves with the first piece of the body, or at the end."""
        if self.headers_sent or self._held:
            return
        version = self.req.version
        lines = [f"HTTP/{version[0]}.{version[1]} {self.status}", f"Date: {http_date()}"]
        if self.should_close() or self.sock.is_stopping():
            self.force_close()
            lines.append("Connection: close")
        elif version < (1, 1):
            lines.append("Connection: keep-alive")
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        lines += [f"{name}: {value}" for name, value in self.headers]
        self._held = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

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


def _checked(name: str) -> str | None:
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is not a string")
    if not TOKEN_RE.fullmatch(name):
        raise InvalidResponseHeaderName(repr(name))
    lower = None if util.is_hoppish(name) else name.lower()
    if len(_names) < _MAX_NAMES:
        _names[name] = lower
    return lower


def http_date() -> str:
    """Return the date for the head (RFC 9110, 6.6.1), made once for each second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True))
    return _date[1]
