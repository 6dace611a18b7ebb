"""A proxy in front of an S3 server that notes and counts the requests, and lets them fail when it is told to.

A fault is a function of the request's environ, `start_response` and the server behind as a WSGI app. It
answers in its own way, or returns None and lets the request pass.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from lab.tls import running_tls
from lab.wsgi_server import running_app

Environ = dict[str, Any]
Fault = Callable[[Environ, Any, Any], Iterable[bytes] | None]
Condition = Callable[[Environ], bool]

# What belongs to a connection and not to the message on it (RFC 9110, section 7.6.1). The proxy has answered
# `Expect` itself.
_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "expect"})

#: How many bytes are handed on at a time.
_CHUNK = 1 << 16


class Request(NamedTuple):
    """A request as it came.

    :param target: its path and query, or a whole URL where the client takes the server for its proxy.
    :param headers: its headers, by their names as they were sent.
    :param connection: the same for all that came on one connection.
    :param body: its body, where that is kept.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    connection: object
    body: bytes = b""

    @classmethod
    def of(cls, environ: Environ, body: bytes = b"") -> Request:
        """Return the request that an environ is about."""
        connection = environ["lab.connection"].client
        return cls(
            environ["REQUEST_METHOD"], environ["REQUEST_URI"], environ["lab.headers"], connection, body
        )

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

    @property
    def operation(self) -> str:
        """S3's name of the request, whose path begins with the bucket."""
        query = parse_qs(self.query, keep_blank_values=True)
        copied = any(name.lower() == "x-amz-copy-source" for name in self.headers)
        for (method, parameter), name in _SUBRESOURCES.items():
            if self.method == method and parameter in query:
                return name
        if self.method == "PUT" and "partNumber" in query:
            return "UploadPartCopy" if copied else "UploadPart"
        if not self.path.strip("/").partition("/")[2]:
            if self.method == "GET":
                return "ListObjectsV2" if "list-type" in query else "ListObjects"
            return {"HEAD": "HeadBucket", "PUT": "CreateBucket"}.get(self.method, self.method)
        if self.method == "PUT" and copied:
            return "CopyObject"
        return _OPERATIONS.get(self.method, self.method)


_SUBRESOURCES = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "uploadId"): "ListParts",
    ("POST", "delete"): "DeleteObjects",
}

_OPERATIONS = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


class S3Proxy:
    """A proxy on a free port of 127.0.0.1, until it is closed.

    :param behind: the URL of the server behind it.
    :param fault: what each request meets first; None lets all pass.
    :param certificate: a file with a key and a certificate, for a port that takes TLS.
    :ivar requests: the requests so far.
    """

    def __init__(self, behind: str, fault: Fault | None = None, certificate: Path | None = None) -> None:
        self.requests: list[Request] = []
        self.fault = fault
        self._behind = Forwarder(behind)
        self._stack = contextlib.ExitStack()
        port = self._stack.enter_context(running_app(self._answer))
        self.endpoint = f"http://127.0.0.1:{port}"
        if certificate is not None:
            port = self._stack.enter_context(running_tls(port, certificate))
            self.endpoint = f"https://127.0.0.1:{port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the proxy."""
        self._stack.close()

    def counts(self) -> dict[str, int]:
        """Return how many requests of each operation came since the last call."""
        noted, self.requests = self.requests, []
        return dict(sorted(Counter(request.operation for request in noted).items()))

    @contextlib.contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Hand every request to *fault* first, for as long as the block runs."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    @contextlib.contextmanager
    def noting(self) -> Iterator[list[Request]]:
        """Give the list of the requests that come while the block runs."""
        self.requests.clear()
        yield self.requests

    def _answer(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        self.requests.append(Request.of(environ))
        if self.fault is not None:
            answer = self.fault(environ, start_response, self._behind)
            if answer is not None:
                return answer
        return self._behind(environ, start_response)


class Forwarder:
    """A WSGI app that hands each request on to a server as it came, and the response back.

    :param endpoint: the server's URL.
    """

    def __init__(self, endpoint: str) -> None:
        self._address = urlsplit(endpoint).netloc

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        chunked = environ["wsgi.input_terminated"]
        body = iter(lambda: environ["wsgi.input"].read(_CHUNK), b"")
        connection = self._connection(environ)
        connection.endheaders(
            body if chunked or "CONTENT_LENGTH" in environ else None, encode_chunked=chunked
        )
        answer = connection.getresponse()
        given = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OF_A_CONNECTION]
        if answer.getheader("Content-Length") is None and environ["REQUEST_METHOD"] != "HEAD":
            # A list, sent in chunks.
            with contextlib.closing(connection):
                content = answer.read()
            if answer.status not in (204, 304):
                given.append(("Content-Length", str(len(content))))
            start_response(f"{answer.status} {answer.reason}", given)
            return [content]
        start_response(f"{answer.status} {answer.reason}", given)
        return _body(connection, answer)

    def break_off(self, environ: Environ, start: bytes) -> None:
        """Hand on a request with the start of its body alone."""
        with contextlib.closing(self._connection(environ)) as connection:
            connection.endheaders(start)

    def _connection(self, environ: Environ) -> http.client.HTTPConnection:
        """Return a connection on which a request's line and headers are about to be sent."""
        connection = http.client.HTTPConnection(self._address, timeout=120)
        # The client's own headers are all that is sent: Host, too, is part of what is signed.
        connection.putrequest(
            environ["REQUEST_METHOD"], environ["REQUEST_URI"], skip_host=True, skip_accept_encoding=True
        )
        for name, value in environ["lab.headers"].items():
            if name.lower() not in _OF_A_CONNECTION:
                connection.putheader(name, value)
        if environ["wsgi.input_terminated"]:
            connection.putheader("Transfer-Encoding", "chunked")
        return connection


def _body(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    with contextlib.closing(connection):
        while data := answer.read(_CHUNK):
            yield data


def in_turn(faults: Sequence[Fault], when: Condition = lambda environ: True) -> Fault:
    """Return a fault that strikes the first requests for which *when* is true, with one of *faults* each."""
    left = list(faults)

    def strike(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes] | None:
        return left.pop(0)(environ, start_response, app) if left and when(environ) else None

    return strike


def once(fault: Fault, when: Condition = lambda environ: True) -> Fault:
    """Return a fault that strikes the first request for which *when* is true, and no other."""
    return in_turn([fault], when)


def always(fault: Fault, when: Condition = lambda environ: True) -> Fault:
    """Return a fault that strikes every request for which *when* is true."""

    def strike(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes] | None:
        return fault(environ, start_response, app) if when(environ) else None

    return strike


class Rates(NamedTuple):
    """How many requests of a thousand meet each fault.

    :param refused: answered with 503 SlowDown, and not handed on.
    :param unheard: the connection is closed without a response, before the request is handed on.
    :param unanswered: the same, after S3 has done what was asked.
    :param cut: a body breaks off halfway: the response's, or that of a request with more than 1,000 bytes.
    """

    refused: int = 50
    unheard: int = 10
    unanswered: int = 10
    cut: int = 10


class AtRandom:
    """A fault that strikes as often as *rates* say.

    :param seed: of the random numbers, which say which requests go wrong, counted as they come.
    :param cut_requests: whether the bodies of requests break off as well as those of responses.
    :ivar struck: how often each fault struck.
    """

    def __init__(self, seed: int, rates: Rates | None = None, *, cut_requests: bool = True) -> None:
        self.struck: Counter[str] = Counter()
        self._rates = rates or Rates()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        cut = cut_halfway if cut_requests else cut_response_halfway
        refused = refuse("503 Slow Down", "SlowDown")
        self._faults: Mapping[str, Fault] = {
            "refused": refused,
            "unheard": unheard,
            "unanswered": lose_the_answer,
            "cut": cut,
        }

    def __call__(self, environ: Environ, start_response: Any, app: Any) -> Iterable[bytes] | None:
        name = self._next()
        return self._faults[name](environ, start_response, app) if name else None

    def _next(self) -> str:
        with self._lock:
            drawn = self._random.randrange(1000)
            for name, rate in self._rates._asdict().items():
                if drawn < rate:
                    self.struck[name] += 1
                    return name
                drawn -= rate
            return ""


def refuse(status: str, code: str) -> Fault:
    """Return a fault that answers with S3's error *code*."""

    def answer(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes]:
        drain(environ)
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def drain(environ: Environ) -> None:
    """Read the request's body."""
    while environ["wsgi.input"].read(_CHUNK):
        pass


def unheard(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes]:
    """Read the request and cut the connection."""
    drain(environ)
    return cut(environ)


def lose_the_answer(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes]:
    """Do what is asked, and cut the connection instead of answering."""
    b"".join(app(environ, lambda status, headers, exc_info=None: lambda data: None))
    return cut(environ)


def cut_body_at(position: int) -> Fault:
    """Return a fault that answers, and cuts the connection after *position* bytes of the body."""

    def answer(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes]:
        return _cut_after(environ, b"".join(app(environ, start_response))[:position])

    return answer


def cut_response_halfway(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes]:
    """Answer, and cut the connection in the middle of the body; of a response without one, after its head."""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        at_least_one = [
            (name, "1" if name.lower() == "content-length" and value == "0" else value)
            for name, value in headers
        ]
        return start_response(status, at_least_one)

    body = b"".join(app(environ, start))
    return _cut_after(environ, body[: len(body) // 2])


def cut_halfway(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes]:
    """Cut the connection in the middle of the request's body, or of the response's where that is short."""
    body = environ["wsgi.input"].read()
    if len(body) > 1000:
        app.break_off(environ, body[: len(body) // 2])
        return cut(environ)
    return cut_response_halfway(environ | {"wsgi.input": io.BytesIO(body)}, start_response, app)


def _cut_after(environ: Environ, start: bytes) -> Iterator[bytes]:
    yield start
    cut(environ)


def cut(environ: Environ) -> Iterable[bytes]:
    """Cut the connection."""
    environ["lab.connection"].cut()
    return []
