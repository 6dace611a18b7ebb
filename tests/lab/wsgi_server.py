"""A server of WSGI apps for the lab: on connections that stay open, one thread each, without a log.

Werkzeug's own closes the connection after each response, which costs a client of S3 as much as the request.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


@contextlib.contextmanager
def running_app(app: App) -> Iterator[int]:
    """Serve an app until the block is left.

    The environ of a request has keys that WSGI does not know: `REQUEST_URI` and `RAW_URI`, the target as it
    was sent; `lab.headers`, the headers as they were sent; `lab.connection`, a `Connection`.

    :return: the port of 127.0.0.1.
    """
    server = _Server(app)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Connection:
    """The connection that a request came on.

    :ivar client: the client's address and port, the same for all requests on one connection.
    """

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        self.client = handler.client_address

    def cut(self) -> None:
        """End the connection, in the middle of a message if there is one."""
        self._handler.close_connection = True
        with contextlib.suppress(OSError):
            self._handler.wfile.flush()
            self._handler.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, app: App) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.app = app

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: clients end their connections at any time, and faults end them on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The pieces of a response would wait for each other for 40 ms.
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def respond(self) -> None:
        """Let the app answer the request."""
        environ = self._environ()
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
            started[:] = [(status, headers)]
            return None

        response = self.server.app(environ, start_response)
        try:
            chunks = iter(response)
            # An app may start its response together with the first chunk.
            first = next(chunks, b"")
            # One that cut the connection need not have started.
            if started:
                self._send(*started[0], first, chunks)
        finally:
            getattr(response, "close", lambda: None)()
        if not self.close_connection:
            while environ["wsgi.input"].read(1 << 16):
                pass

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_CONNECT = respond  # noqa: N815 (http.server's names)

    def handle_expect_100(self) -> bool:
        """Tell the client at once that it may send the body."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _environ(self) -> dict[str, Any]:
        target = urlsplit(self.path)
        headers = dict(self.headers.items())
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        length = self.headers.get("Content-Length")
        body = _chunks(self.rfile) if chunked else _limited(self.rfile, int(length or 0))
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(target.path).decode("latin-1"),
            "QUERY_STRING": target.query,
            "REQUEST_URI": self.path,
            "RAW_URI": self.path,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.server.server_port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BufferedReader(_Body(body), 1 << 16),
            "wsgi.input_terminated": chunked,
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "lab.headers": headers,
            "lab.connection": Connection(self),
        }
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        return environ

    def _send(
        self, status: str, headers: list[tuple[str, str]], first: bytes, chunks: Iterator[bytes]
    ) -> None:
        code, _, reason = status.partition(" ")
        self.send_response_only(int(code), reason or None)
        for name, value in headers:
            self.send_header(name, value)
        bodiless = self.command == "HEAD" or int(code) in (204, 304)
        if not bodiless and not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Connection", "close")
        self.end_headers()
        while True:
            if first and not bodiless:
                self.wfile.write(first)
            following = next(chunks, None)
            if following is None:
                break
            first = following
        with contextlib.suppress(OSError):
            self.wfile.flush()


def _limited(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        data = file.read(min(length, 1 << 16))
        if not data:
            # An app must not take the start of a body for the whole.
            raise ConnectionError("the client ended the connection in the middle of a body")
        length -= len(data)
        yield data


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a body that is sent in chunks (RFC 9112, section 7.1)."""
    while length := int(file.readline().partition(b";")[0], 16):
        yield from _limited(file, length)
        file.readline()
    while file.readline().strip():
        pass


class _Body(io.RawIOBase):
    """A request's body as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._rest or next(self._pieces, b"")
        size = min(len(buffer), len(data))
        buffer[:size], self._rest = data[:size], data[size:]
        return size
