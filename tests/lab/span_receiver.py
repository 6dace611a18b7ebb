"""A collector of OpenTelemetry's: what the SDK's own exporter sends over HTTP, decoded and kept."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from lab.required import cannot_run
from lab.servers import eventually


def require_opentelemetry() -> None:
    """Return where the extra `tracing` is installed; skip the test, or fail it, where it is not."""
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.proto
        import opentelemetry.sdk  # noqa: F401
    except ImportError:
        cannot_run("opentelemetry: not installed; cfmiddleware[tracing] has it")


class Span(NamedTuple):
    """A span as it came."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    about: Mapping[str, Any]
    resource: Mapping[str, Any]


class Receiver:
    """Takes spans at ``/v1/traces``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.spans: list[Span] = []
        #: The bytes of every request, decoded, for what must be in none.
        self.bodies: list[bytes] = []

    def of(self, trace: str) -> dict[str, Span]:
        """Return the spans of a trace by their names."""
        return {span.name: span for span in self.spans if span.trace == trace}

    def wait_for(self, trace: str, *names: str) -> dict[str, Span]:
        """Return the spans of a trace once all the *names* have come."""
        assert eventually(lambda: set(names) <= self.of(trace).keys(), 15), [
            (span.name, span.trace) for span in self.spans
        ]
        return self.of(trace)

    def take(self, body: bytes) -> None:
        """Decode one request."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.bodies.append(body)
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _plain(part.resource.attributes)
            for scope in part.scope_spans:
                self.spans += [
                    Span(
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.kind,
                        span.status.code == 2,
                        _plain(span.attributes),
                        resource,
                    )
                    for span in scope.spans
                ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a collector until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the sender was killed while it sent
                self.close_connection = True
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found = self.path == "/v1/traces"
            if found:
                receiver.take(body)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
