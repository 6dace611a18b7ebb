"""A proxy in front of an S3 endpoint that counts what it hands on, and misbehaves if it is told to."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

_CHUNK = 1 << 18
_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


class Faults(NamedTuple):
    """What goes wrong, as shares of the requests.

    :param slow_down: answered with 503 SlowDown, without reaching the gateway.
    :param cut: the connection is closed without an answer; half of the times the gateway has done what
        was asked, and only the answer is lost.
    :param broken: the body of an answer that has one ends half-way, and the connection with it.
    :param seed: makes the same sequence of faults every time.
    """

    slow_down: float = 0.0
    cut: float = 0.0
    broken: float = 0.0
    seed: int = 1


class Proxy:
    """A proxy on a free port of 127.0.0.1, while the block runs.

    :param upstream: the URL of the gateway.
    """

    def __init__(self, upstream: str) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._struck: Counter[str] = Counter()
        self.misbehave(Faults())
        self.upstream = urlsplit(upstream).netloc
        self._server = _Server(self)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        """Serve until the block is left."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def counts(self) -> dict[str, int]:
        """Return how many requests of each operation came since the last call, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return dict(sorted(counts.items()))

    def misbehave(self, faults: Faults) -> None:
        """Let things go wrong from now on."""
        with self._lock:
            self._faults = faults
            self._random = random.Random(faults.seed)

    def struck(self) -> dict[str, int]:
        """Return how often each fault struck."""
        with self._lock:
            return dict(sorted(self._struck.items()))

    def note(self, operation: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[operation] += 1

    def fault(self) -> str:
        """Return what happens to the next request: a fault's name, or an empty string."""
        with self._lock:
            slow_down, cut, broken, _ = self._faults
            drawn = self._random.random()
            if drawn < slow_down:
                fault = "slow_down"
            elif drawn < slow_down + cut:
                fault = "unanswered" if drawn < slow_down + cut / 2 else "lost"
            elif drawn < slow_down + cut + broken:
                fault = "broken"
            else:
                return ""
            self._struck[fault] += 1
            return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients hang up, and are made to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.server.proxy.upstream, timeout=120)

    def finish(self) -> None:
        self._upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle_request(self) -> None:
        """Hand the request on, or do what the fault says instead."""
        proxy = self.server.proxy
        proxy.note(operation(self.command, self.path, self.headers))
        fault = proxy.fault()
        if fault == "unanswered":
            return self._hang_up()
        size = int(self.headers.get("Content-Length") or 0)
        if fault == "slow_down":
            self._drain(size)
            return self._slow_down()
        answer = self._hand_on(size)
        if fault == "lost":
            answer.read()
            return self._hang_up()
        return self._answer(answer, broken=fault == "broken")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request  # noqa: N815 (the names are the base's)

    def _hand_on(self, size: int) -> http.client.HTTPResponse:
        self._upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            # The client has been told to go on, and its connection is no business of the gateway's.
            if name.lower() not in ("expect", "connection"):
                self._upstream.putheader(name, value)
        self._upstream.endheaders()
        while size:
            chunk = self.rfile.read(min(_CHUNK, size))
            if not chunk:
                raise ConnectionError("the client went away")
            self._upstream.send(chunk)
            size -= len(chunk)
        return self._upstream.getresponse()

    def _answer(self, answer: http.client.HTTPResponse, *, broken: bool) -> None:
        length = answer.getheader("Content-Length")
        body = None if length is not None else answer.read()  # chunked: short listings
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        if body is not None and self.command != "HEAD" and answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        size = int(length or 0) if body is None else len(body)
        if self.command == "HEAD":
            size = 0
        left = size // 2 if broken else size
        if body is not None:
            self.wfile.write(body[:left])
        else:
            while left and (chunk := answer.read(min(_CHUNK, left))):
                self.wfile.write(chunk)
                left -= len(chunk)
        if broken and size:
            self._upstream.close()
            return self._hang_up()
        answer.read()
        if answer.isclosed() and answer.will_close:
            self._upstream.close()
        return None

    def _slow_down(self) -> None:
        self.send_response_only(503, "Slow Down")
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(_SLOW_DOWN)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(_SLOW_DOWN)

    def _drain(self, size: int) -> None:
        while size and (chunk := self.rfile.read(min(_CHUNK, size))):
            size -= len(chunk)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


_SUBRESOURCES = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "uploadId"): "ListParts",
    ("POST", "delete"): "DeleteObjects",
}


def operation(method: str, target: str, headers: Message) -> str:
    """Return S3's name of a request that has the bucket in its path.

    :param target: the path and the query, as sent.
    """
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    copied = headers.get("x-amz-copy-source") is not None
    for (of, parameter), name in _SUBRESOURCES.items():
        if method == of and parameter in query:
            return name
    if method == "PUT" and "partNumber" in query:
        return "UploadPartCopy" if copied else "UploadPart"
    if not parts.path.strip("/").partition("/")[2]:
        if method == "GET":
            return "ListObjectsV2" if "list-type" in query else "ListObjects"
        return {"HEAD": "HeadBucket", "PUT": "CreateBucket"}.get(method, method)
    if method == "PUT" and copied:
        return "CopyObject"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(
        method, method
    )
