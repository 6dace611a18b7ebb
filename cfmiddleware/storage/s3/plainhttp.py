"""HTTP/1.1 to one server that needs no TLS and no proxy (RFC 9112), for requests and answers that are small.

What urllib3 and http.client do for each request takes longer than the rest of a small one: they read heads
with the parser of mail. Failures are botocore's exceptions, so that they end as boto3's do.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

# How much the socket is asked for at once, and how long a head may be.
_CHUNK = 1 << 16

# How much of a body the socket is asked for at once, at the most.
_LARGEST_PART = 1 << 18
_LONGEST_HEAD = 1 << 18

# Bodies up to this length are sent together with their head: one packet, and one call.
_TOGETHER = 1 << 16

_BODILESS = (204, 304)


class Headers(dict[str, str]):
    """The headers of an answer; their names are in lower case, and may be asked for in any."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header's value."""
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())


class PlainHTTP:
    """The connections of a process to one server.

    Safe to share between threads, and not between processes.

    :param url: the server's, with ``http``.
    :param connecttimeout: how long to wait for a connection, in seconds.
    :param readtimeout: how long to wait for the next bytes, in seconds.
    :param most: how many idle connections are kept.
    """

    def __init__(self, url: str, connecttimeout: float, readtimeout: float, most: int) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._named = f"\r\nHost: {parts.netloc}\r\nAccept-Encoding: identity\r\n"
        self._connecttimeout = connecttimeout
        self._readtimeout = readtimeout
        self._idle: deque[socket.socket] = deque()
        self._most = most

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, stream: bool = False
    ) -> PlainAnswer:
        """Send a request, and return its answer.

        :param headers: those of the request, but for ``Host`` and ``Content-Length``.
        :param stream: whether the answer's body is read by the caller, who closes it; else it is read here.
        :raises BotoCoreError: when there is no answer.
        """
        # All that is below the server's name.
        target = url[url.index("/", 8) :]
        lines = "\r\n".join([f"{name}: {value}" for name, value in headers.items()])
        if lines.count("\n") >= max(1, len(headers)) or lines.count("\r") >= max(1, len(headers)):
            raise HTTPClientError(error="a header of several lines")
        length = f"\r\nContent-Length: {len(body)}" if body or method in ("PUT", "POST") else ""
        head = f"{method} {target} HTTP/1.1{self._named}{lines}{length}\r\n\r\n".encode("latin-1")
        connection = self._connection(url)
        try:
            if len(body) <= _TOGETHER:
                connection.sendall(head + body)
            else:
                connection.sendall(head)
                connection.sendall(body)
            answer = PlainAnswer(self, connection, method, url)
            if not stream:
                answer.content  # noqa: B018 (it is read, and the connection is free)
        except TimeoutError as error:
            connection.close()
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        except (OSError, ValueError, ResponseStreamingError) as error:
            connection.close()
            raise ConnectionClosedError(endpoint_url=url, error=error, request=None) from error
        except BaseException:
            connection.close()
            raise
        return answer

    def release(self, connection: socket.socket) -> None:
        """Keep a connection, whose answer was read, for the next request."""
        if len(self._idle) < self._most:
            self._idle.append(connection)
        else:
            connection.close()

    def _connection(self, url: str) -> socket.socket:
        """Return a connection: the one that was used last, or a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect(url)
            if _is_alive(connection):
                connection.settimeout(self._readtimeout)
                return connection
            connection.close()

    def _connect(self, url: str) -> socket.socket:
        try:
            connection = socket.create_connection((self._host, self._port), self._connecttimeout)
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from error
        except (OSError, UnicodeError) as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self._readtimeout)
        return connection


class PlainAnswer:
    """An answer to a request, whose body may still be on its way.

    :param connection: what it comes from; a failure there is one of the socket's, or a ValueError.
    """

    def __init__(self, http: PlainHTTP, connection: socket.socket, method: str, url: str) -> None:
        self._http = http
        self._connection: socket.socket | None = connection
        self._url = url
        self._ahead = b""
        self._content: bytes | None = None
        status = 100
        while status < 200:  # an answer may be announced
            status, self.headers, stays = self._head()
        self.status_code = status
        self._stays = stays
        # What is left of the body: a number of bytes, or None for as much as comes.
        self._left: int | None = 0
        self._chunks: Iterator[bytes] | None = None
        self._chunk = b""
        if method != "HEAD" and status not in _BODILESS:
            length = self.headers.get("content-length", "")
            if "chunked" in self.headers.get("transfer-encoding", "").lower():
                self._left, self._chunks = None, self._chunked()
            elif length.isdecimal():
                self._left = int(length)
            elif length:
                raise ValueError("a length that is not a number")
            else:
                self._left, self._stays = None, False
        self._length = self._left
        if self._left == 0:
            self._done()

    # What boto3's answers have

    @property
    def raw(self) -> PlainAnswer:
        """The body, as it comes."""
        return self

    @property
    def content(self) -> bytes:
        """The whole body, as much of it as came."""
        if self._content is None:
            parts = []
            with contextlib.suppress(IncompleteReadError):  # the caller sees it by the length
                while part := self._some(_CHUNK):
                    parts.append(part)
            self._content = b"".join(parts)
        return self._content

    def read(self, size: int | None = None) -> bytes:
        """Return the next *size* bytes of the body, or as many as are left of it.

        :raises BotoCoreError: where it breaks off.
        """
        left = sys.maxsize if size is None else size
        parts = []
        while left and (part := self._some(left)):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _some(self, size: int) -> bytes:
        """Return bytes of the body as they come, *size* of them at the most; none at its end."""
        if self._connection is None:
            return b""
        try:
            part = self._next(min(size, _LARGEST_PART))
        except TimeoutError as error:
            self.close()
            raise ReadTimeoutError(endpoint_url=self._url, error=error) from error
        except (OSError, ValueError) as error:
            self.close()
            raise ResponseStreamingError(error=error) from error
        if part:
            if self._left is not None:
                self._left -= len(part)
                if not self._left:
                    self._done()
            return part
        if self._left is not None:
            self.close()
            had = (self._length or 0) - self._left
            raise IncompleteReadError(actual_bytes=had, expected_bytes=self._length or 0)
        self._done()
        return b""

    def close(self) -> None:
        """Close the connection, unless all was read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # How it is read

    def _done(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # More than was announced is no answer to anything.
        if self._stays and not self._ahead:
            self._http.release(connection)
        else:
            connection.close()

    def _head(self) -> tuple[int, Headers, bool]:
        """Return the status, the headers, and whether the connection stays open."""
        received = self._ahead
        while (end := received.find(b"\r\n\r\n")) < 0:
            if len(received) > _LONGEST_HEAD:
                raise ValueError("a head that does not end")
            received += self._received()
        self._ahead = received[end + 4 :]
        first, *lines = received[:end].decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not rest[:3].isdecimal():
            raise ValueError("an answer that is not HTTP")
        headers = Headers()
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError("a header without a colon")
            dict.__setitem__(headers, name.lower(), value.strip())
        asked = headers.get("connection", "").lower()
        stays = "close" not in asked if version == "HTTP/1.1" else "keep-alive" in asked
        return int(rest[:3]), headers, stays

    def _received(self) -> bytes:
        """Return bytes that are new.

        :raises ConnectionResetError: when there are none any more.
        """
        received = self._connection.recv(_CHUNK) if self._connection is not None else b""
        if not received:
            raise ConnectionResetError("the server closed the connection")
        return received

    def _next(self, size: int) -> bytes:
        """Return the next bytes of the body, or none where it ends or breaks off."""
        if self._chunks is not None:
            part = self._chunk or next(self._chunks, b"")
            self._chunk = part[size:]
            return part[:size]
        if self._left is not None:
            size = min(size, self._left)
        if self._ahead:
            part, self._ahead = self._ahead[:size], self._ahead[size:]
            return part
        return self._connection.recv(size) if self._connection is not None else b""

    def _chunked(self) -> Iterator[bytes]:
        """Yield a body that comes in chunks (RFC 9112, section 7.1)."""
        while left := int(self._line().partition(b";")[0], 16):
            while left:
                received = self._ahead or self._received()
                part, self._ahead = received[:left], received[left:]
                left -= len(part)
                yield part
            if self._line():
                raise ValueError("a chunk that does not end where it said")
        while self._line():  # what comes after the body
            pass

    def _line(self) -> bytes:
        while (end := self._ahead.find(b"\r\n")) < 0:
            if len(self._ahead) > _LONGEST_HEAD:
                raise ValueError("a line that does not end")
            self._ahead += self._received()
        line, self._ahead = self._ahead[:end], self._ahead[end + 2 :]
        return line


def _is_alive(connection: socket.socket) -> bool:
    """Return whether the server has neither closed a connection nor sent what nobody asked for."""
    try:
        connection.settimeout(0)
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
