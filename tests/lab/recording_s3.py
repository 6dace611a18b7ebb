"""A server that notes every request word by word and answers as S3 would, were the bucket full of one object.

It is a proxy as well: with `HTTP_PROXY` set to it, requests for Amazon's own hosts end here, and show where
they would have gone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

#: What every object holds.
CONTENT = b"0123456789" * 1000


class Recorded(NamedTuple):
    """A request as it came; *connection* is the same for all that came on one connection."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: object

    @property
    def host(self) -> str:
        """The host that the request is for, with its port."""
        if self.method == "CONNECT":
            return self.target
        return urlsplit(self.target).netloc or self.headers["Host"]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> str:
        return urlsplit(self.target).query


class Answer(NamedTuple):
    """What is answered in place of the usual."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class RecordingS3:
    """The server.

    :ivar requests: the requests so far.
    :ivar answer: asked before each answer; None lets the usual one be sent.
    """

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.answer: Callable[[Recorded], Answer | None] = lambda request: None
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def refuse(
        self, status: int, code: str, headers: Mapping[str, str] | None = None, more: str = ""
    ) -> None:
        """Answer everything from now on with an error of S3's."""
        body = f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode()
        self.answer = lambda request: Answer(status, body, headers or {})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def recording() -> Iterator[RecordingS3]:
    """Run a server until the block is left."""
    server = RecordingS3()
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def _handler_of(server: RecordingS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            request = Recorded(
                self.command, self.path, dict(self.headers), self.rfile.read(length), self.client_address
            )
            server.requests.append(request)
            answer = server.answer(request) or _usual(request)
            self.send_response_only(answer.status)
            for name, value in ({"Content-Length": str(len(answer.body))} | dict(answer.headers)).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_CONNECT = _handle  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _usual(request: Recorded) -> Answer:
    etag = {"ETag": '"e"', "Last-Modified": "Mon, 23 Nov 2026 12:00:00 GMT"}
    if request.method == "CONNECT":
        return Answer(403)
    if request.method == "DELETE":
        return Answer(204)
    if request.method == "HEAD":
        return Answer(200, CONTENT, etag)
    if request.method == "GET":
        if "list-type" in request.query:
            return Answer(200, b"<ListBucketResult></ListBucketResult>")
        return Answer(200, CONTENT, etag)
    if request.method == "POST":
        kind = "InitiateMultipartUpload" if request.query == "uploads" else "CompleteMultipartUpload"
        return Answer(200, f"<{kind}Result><UploadId>u</UploadId><ETag>e</ETag></{kind}Result>".encode())
    if "x-amz-copy-source" in request.headers:
        kind = "CopyPart" if "partNumber" in request.query else "CopyObject"
        return Answer(200, f"<{kind}Result><ETag>e</ETag></{kind}Result>".encode())
    return Answer(200, b"", etag)
