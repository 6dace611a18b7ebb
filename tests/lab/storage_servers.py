"""An S3 server for tests, which can be told to fail."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from werkzeug.serving import make_server

from cfmiddleware.storage.s3 import S3Driver, S3Options
from lab import servers
from lab.servers import SMALLEST_PART, quiet_handler
from lab.tls import running_tls

BUCKET = "registry-bucket"

#: The fixtures that each give an `S3Server`.
WATCHED = ("watched_moto", "watched_ceph", "watched_ceph_over_tls")

#: Takes a request's environ, start_response and the application, and answers in its own way, or returns None
#: to let the request pass.
Fault = Callable[[dict, Callable, Callable], Iterable[bytes] | None]


class S3Server:
    """A port in front of an S3 server, every request noted in ``requests`` and handed to ``fault`` first.

    :param behind: the server that answers where ``fault`` does not.
    :param certificate: the key and certificate for a port that takes TLS.
    """

    def __init__(self, behind: servers.S3Server | None = None, certificate: Path | None = None) -> None:
        self._stack = contextlib.ExitStack()
        self.behind = behind or self._stack.enter_context(servers.running_moto())
        self._app = Forwarder(self.behind.endpoint)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=quiet_handler()
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._stack.callback(self._end)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        if certificate is not None:
            port = self._stack.enter_context(running_tls(self._server.server_port, certificate))
            self.endpoint = f"https://127.0.0.1:{port}"
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self.client = self.driver("").client()
        self.client.create_bucket(Bucket=BUCKET)

    def driver(self, root: str, *, shared: bool = False, **options) -> TestedS3Driver:
        """Return a driver with small parts, below *root* of the bucket.

        :param shared: whether it uses the server's own client, because to make one takes longer than most
            tests do; not where requests are to fail, of which a client tries only so many again.
        """
        given = {
            "bucket": BUCKET,
            "regionendpoint": self.endpoint,
            "accesskey": self.behind.access_key,
            "secretkey": self.behind.secret_key,
            "rootdirectory": root,
            "smallest_part": SMALLEST_PART,
            "chunksize": 2 * SMALLEST_PART,
            "multipartcopychunksize": 3 * SMALLEST_PART,
            "multipartcopythresholdsize": 3 * SMALLEST_PART,
        }
        driver = TestedS3Driver(S3Options(**given | options))
        if shared:
            driver.use(self.client)
        return driver

    def unfinished_uploads(self) -> int:
        """Return how many multipart uploads were neither completed nor aborted."""
        return len(self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))

    @contextlib.contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Hand every request to *fault* first, for as long as the block runs."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    @contextlib.contextmanager
    def noting(self) -> Iterator[list[tuple[str, str]]]:
        """Give the list of the requests, as methods and queries, that come while the block runs."""
        self.requests.clear()
        yield self.requests

    def close(self) -> None:
        self._stack.close()

    stop = close

    def _end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ, start_response):
        self.requests.append((environ["REQUEST_METHOD"], environ["QUERY_STRING"]))
        if self.fault is not None:
            answer = self.fault(environ, start_response, self._app)
            if answer is not None:
                return answer
        return self._app(environ, start_response)


class Forwarder:
    """A WSGI app that hands each request on to a server as it came, and the answer back."""

    def __init__(self, endpoint: str) -> None:
        self._address = urlsplit(endpoint).netloc

    def __call__(self, environ, start_response):
        connection = http.client.HTTPConnection(self._address, timeout=30)
        length = environ.get("CONTENT_LENGTH")
        # The name of the host is part of what is signed.
        headers = {
            name[5:].replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name not in ("HTTP_CONNECTION", "HTTP_EXPECT")
        }
        if environ.get("CONTENT_TYPE"):
            headers["Content-Type"] = environ["CONTENT_TYPE"]
        body = None
        if length:
            headers["Content-Length"] = length
            body = environ["wsgi.input"].read(int(length))
        elif environ.get("wsgi.input_terminated"):
            body = iter(lambda: environ["wsgi.input"].read(1 << 16), b"")
        target = environ["REQUEST_URI"]
        connection.request(
            environ["REQUEST_METHOD"], target, body, headers, encode_chunked="TRANSFER-ENCODING" in headers
        )
        answer = connection.getresponse()
        hop = ("connection", "transfer-encoding", "keep-alive")
        start_response(
            f"{answer.status} {answer.reason}",
            [(name, value) for name, value in answer.getheaders() if name.lower() not in hop],
        )
        return _body(connection, answer)


def _body(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    with contextlib.closing(connection):
        while data := answer.read(1 << 16):
            yield data


class TestedS3Driver(S3Driver):
    """The driver, with its client for looking behind it."""

    __test__ = False

    def client(self):
        return self._client()

    def use(self, client):
        self._client = lambda: client


def in_turn(faults: Sequence[Fault], when: Callable[[dict], bool] = lambda environ: True) -> Fault:
    """Return a fault that strikes the first requests for which *when* is true, with one of *faults* each."""
    left = list(faults)

    def strike(environ, start_response, app):
        return left.pop(0)(environ, start_response, app) if left and when(environ) else None

    return strike


def once(fault: Fault, when: Callable[[dict], bool] = lambda environ: True) -> Fault:
    """Return a fault that strikes the first request for which *when* is true, and no other."""
    return in_turn([fault], when)


def always(fault: Fault, when: Callable[[dict], bool] = lambda environ: True) -> Fault:
    """Return a fault that strikes every request for which *when* is true."""

    def strike(environ, start_response, app):
        return fault(environ, start_response, app) if when(environ) else None

    return strike


def refuse(status: str, code: str) -> Fault:
    """Return a fault that answers with S3's error *code*."""

    def answer(environ, start_response, app):
        drain(environ)
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def drain(environ):
    """Read the request's body, without which the connection could not go on."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def lose_the_answer(environ, start_response, app):
    """Do what is asked, and cut the connection instead of answering."""
    b"".join(app(environ, lambda status, headers, exc_info=None: lambda data: None))
    return cut(environ)


def cut_body_at(position: int) -> Fault:
    """Return a fault that answers, and cuts the connection after *position* bytes of the body."""

    def answer(environ, start_response, app):
        body = b"".join(app(environ, start_response))

        def stream():
            yield body[:position]
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

        return stream()

    return answer


def cut(environ):
    """Cut the connection without an answer."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return []
