"""An S3 server for tests, which can be told to fail."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from moto.s3 import models
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from cfmiddleware.storage.s3 import S3Driver, S3Options

BUCKET = "registry-bucket"

#: The smallest part that the server takes: tests need not move megabytes.
SMALLEST_PART = 1000

#: Takes a request's environ, start_response and the application, and answers in its own way, or returns None
#: to let the request pass.
Fault = Callable[[dict, Callable, Callable], Iterable[bytes] | None]


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, kind, message, *args):
        pass


class S3Server:
    """moto's S3 on a free port, every request noted in ``requests`` and handed to ``fault`` first."""

    def __init__(self) -> None:
        self._real_smallest_part = models.S3_UPLOAD_PART_MIN_SIZE
        models.S3_UPLOAD_PART_MIN_SIZE = SMALLEST_PART
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self.client = self.driver("").client()
        self.client.create_bucket(Bucket=BUCKET)

    def driver(self, root: str, **options) -> TestedS3Driver:
        """Return a driver with small parts, below *root* of the bucket."""
        given = {
            "bucket": BUCKET,
            "regionendpoint": self.endpoint,
            "accesskey": "AKIDTEST",
            "secretkey": "a-very-secret-key",
            "rootdirectory": root,
            "smallest_part": SMALLEST_PART,
            "chunksize": 2 * SMALLEST_PART,
            "multipartcopychunksize": 3 * SMALLEST_PART,
            "multipartcopythresholdsize": 3 * SMALLEST_PART,
        }
        return TestedS3Driver(S3Options(**given | options))

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

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        models.S3_UPLOAD_PART_MIN_SIZE = self._real_smallest_part

    def _answer(self, environ, start_response):
        self.requests.append((environ["REQUEST_METHOD"], environ["QUERY_STRING"]))
        if self.fault is not None:
            answer = self.fault(environ, start_response, self._app)
            if answer is not None:
                return answer
        return self._app(environ, start_response)


class TestedS3Driver(S3Driver):
    """The driver, with its client for looking behind it."""

    __test__ = False

    def client(self):
        return self._client()


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
