"""An HTTP proxy in front of an S3 server that misbehaves as often as it is told to."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>"

# What belongs to a connection and not to the message on it (RFC 9110, 7.6.1).
_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "expect"}


class Rates(NamedTuple):
    """How many requests of a thousand meet each fault.

    :param refused: answered with 503 SlowDown, and not handed on.
    :param unheard: the connection is closed without an answer, before the request is handed on.
    :param unanswered: the same, after S3 has done what was asked.
    :param cut: a body breaks off halfway: the answer's, or the request's where that is the longer one.
    """

    refused: int = 50
    unheard: int = 10
    unanswered: int = 10
    cut: int = 10


class FaultyProxy:
    """A proxy on a free port of 127.0.0.1, with which requests go wrong at random.

    :param endpoint: the URL of the server behind it.
    :param seed: of the random numbers, which say which requests go wrong, counted as they come.
    """

    def __init__(self, endpoint: str, seed: int, rates: Rates | None = None) -> None:
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self._rates = rates or Rates()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._server.backend = urlsplit(endpoint).netloc
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_fault(self) -> str | None:
        """Return the fault that the next request is to meet, if any."""
        with self._lock:
            self.requests += 1
            drawn = self._random.randrange(1000)
            for fault, rate in self._rates._asdict().items():
                if drawn < rate:
                    self.faults[fault] += 1
                    return str(fault)
                drawn -= rate
            return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    proxy: FaultyProxy
    backend: str

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that clients close: they learned it from us."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.proxy.next_fault()
        if fault == "refused":
            self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN, len(_SLOW_DOWN))
        elif fault == "unheard":
            self._close()
        elif fault == "cut" and len(body) > 1000:
            self._hand_on_half(body)
            self._close()
        else:
            self._hand_on(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 (the names that http.server calls)

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""

    def _hand_on(self, body: bytes, fault: str | None) -> None:
        with self._backend() as connection:
            self._send_head(connection)
            connection.send(body)
            answer = connection.getresponse()
            content = answer.read()
            headers = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in _OF_A_CONNECTION | {"content-length"}
            ]
            length = int(answer.headers.get("Content-Length") or len(content))
        if fault == "unanswered":
            self._close()
        elif fault == "cut":
            # Of an answer without a body, the head.
            self._answer(answer.status, headers, content[: length // 2], max(length, 1))
            self._close()
        else:
            self._answer(answer.status, headers, content, length)

    def _hand_on_half(self, body: bytes) -> None:
        with self._backend() as connection:
            self._send_head(connection)
            connection.send(body[: len(body) // 2])

    @contextlib.contextmanager
    def _backend(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(self.server.backend, timeout=60)
        try:
            yield connection
        finally:
            connection.close()

    def _send_head(self, connection: http.client.HTTPConnection) -> None:
        # Host is part of what is signed, and so is whatever else the client sends.
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OF_A_CONNECTION:
                connection.putheader(name, value)
        connection.endheaders()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _close(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
