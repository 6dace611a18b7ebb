"""A server that notes every request word by word and answers as S3 would, were the bucket full of one object.

It is a proxy as well: with `HTTP_PROXY` set to it, requests for Amazon's own hosts end here, and show where
they would have gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lab.s3_proxy import Request
from lab.wsgi_server import running_app

#: What every object holds.
CONTENT = b"0123456789" * 1000


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
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Answer | None] = lambda request: None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def refuse(
        self, status: int, code: str, headers: Mapping[str, str] | None = None, more: str = ""
    ) -> None:
        """Answer everything from now on with an error of S3's."""
        body = f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode()
        self.answer = lambda request: Answer(status, body, headers or {})

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request.of(environ, environ["wsgi.input"].read())
        self.requests.append(request)
        answer = self.answer(request) or _usual(request)
        headers = {"Content-Length": str(len(answer.body))} | dict(answer.headers)
        start_response(str(answer.status), list(headers.items()))
        return [answer.body]


@contextlib.contextmanager
def recording() -> Iterator[RecordingS3]:
    """Run a server until the block is left."""
    server = RecordingS3()
    with running_app(server) as server.port:
        yield server


def _usual(request: Request) -> Answer:
    etag = {"ETag": '"e"', "Last-Modified": "Mon, 23 Nov 2026 12:00:00 GMT"}
    if request.method == "CONNECT":
        return Answer(403)
    if request.method == "DELETE":
        return Answer(204)
    if request.method == "HEAD":
        return Answer(200, CONTENT, etag)
    if request.method == "GET":
        if "list-type" in request.query:
            return Answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        return Answer(200, CONTENT, etag)
    if request.method == "POST" and request.query == "delete":
        return Answer(200, b"<DeleteResult></DeleteResult>")
    if request.method == "POST":
        kind = "InitiateMultipartUpload" if request.query == "uploads" else "CompleteMultipartUpload"
        return Answer(200, f"<{kind}Result><UploadId>u</UploadId><ETag>e</ETag></{kind}Result>".encode())
    if "x-amz-copy-source" in request.headers:
        kind = "CopyPart" if "partNumber" in request.query else "CopyObject"
        return Answer(200, f"<{kind}Result><ETag>e</ETag></{kind}Result>".encode())
    return Answer(200, b"", etag)
