"""The heads that gunicorn's parser reads, held to what RFC 9112 has and gunicorn lets through."""

from __future__ import annotations

import re
from typing import Any

from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.errors import InvalidHeader, InvalidRequestLine, UnsupportedTransferCoding
from gunicorn.http.message import Request

from .chunkedbody import ChunkedBody

#: What a Host may be: a name or an address, and a port; or nothing (RFC 9112, 3.2; RFC 3986, 3.2.2). The name
#: need not exist, so that a wrong one is no error here.
HOST = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")

_ABSOLUTE = re.compile(r"https?://([^/?#]+)", re.IGNORECASE)


class ParsedRequest(Request):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's request, with the rules that keep a proxy and this server of one mind about it."""

    method: str
    uri: str
    version: tuple[int, int]
    headers: list[tuple[str, str]]
    body: Body
    must_close: bool

    def parse_request_line(self, line_bytes: bytes) -> None:
        """Read the request line. A later minor version of HTTP/1 is answered as HTTP/1.1 (RFC 9110, 2.5).

        :raises InvalidRequestLine: for an absolute target that is not of HTTP.
        """
        super().parse_request_line(line_bytes)
        self.version = min(self.version, (1, 1))
        is_absolute = not (self.uri.startswith("/") or self.uri == "*" or self.method == "CONNECT")
        if is_absolute and not _ABSOLUTE.match(self.uri):
            raise InvalidRequestLine("")

    def set_body_reader(self) -> None:
        """Check the fields that say where the request ends and for whom it is, and begin its body.

        :raises InvalidHeader: for a missing or an impossible Host.
        :raises UnsupportedTransferCoding: for a coding other than chunked. The app would get bytes that are
            not the body's.
        """
        for name, value in self.headers:
            if name == "TRANSFER-ENCODING" and any(each.lower() != "chunked" for each in _listed(value)):
                raise UnsupportedTransferCoding("")
        super().set_body_reader()
        if isinstance(self.body.reader, ChunkedReader):
            self.body = Body(ChunkedBody(self, self.unreader))
        self._set_host()

    def _set_host(self) -> None:
        """Take the host of an absolute target before the header's (RFC 9112, 3.2.2)."""
        host = next((value for name, value in self.headers if name == "HOST"), None)
        if host is None and self.version >= (1, 1):
            raise InvalidHeader("HOST")
        absolute = _ABSOLUTE.match(self.uri) if self.method != "CONNECT" else None
        if absolute is not None:
            host = absolute[1]
            self.headers = [field for field in self.headers if field[0] != "HOST"] + [("HOST", host)]
        if host is not None and not HOST.fullmatch(host):
            raise InvalidHeader("HOST")

    def should_close(self) -> bool:
        """Return whether the connection ends with the answer: each Connection is a list (RFC 9110, 7.6.1)."""
        if self.must_close or self.method == "CONNECT":
            return True
        options = {
            each.lower() for name, value in self.headers if name == "CONNECTION" for each in _listed(value)
        }
        if "close" in options:
            return True
        return self.version < (1, 1) and "keep-alive" not in options


def _listed(value: str) -> list[str]:
    """Return the members of a list; an empty value is one member, which is empty."""
    return [each.strip(" \t") for each in value.split(",")]


def environ_of(created: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Return gunicorn's environ with what is known of the connection, as a plain head's has it.

    gunicorn guesses the server's name from the Host, and takes where the app is mounted from the process's
    environment.

    :param created: gunicorn's environ.
    :param base: what each environ of the connection has.
    """
    return {**created, **base, "SERVER_PROTOCOL": created["SERVER_PROTOCOL"]}
