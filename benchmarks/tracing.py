"""What tracing costs a redirect: calls of functions and time, without it, not sampled, and sampled.

    python benchmarks/tracing.py

An app of a few lines is wrapped, in this process, and its URL is signed already. Each figure comes from a
process of its own; the time is the best of several rounds, and that of the processor in the thread of the
request: the SDK sends spans from another thread. Spans go to a collector that throws them away. The last line
is what the SDK itself takes for two spans with the same attributes, and the headers read and written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import timeit
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

NUMBER, ROUNDS = 2_000, 15

WAYS = {
    "off": {},
    "on, not sampled": {"OTEL_TRACES_SAMPLER": "parentbased_always_off"},
    "on, one in a hundred": {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    },
    "on, all sampled": {"OTEL_TRACES_SAMPLER": "parentbased_always_on"},
    "the SDK alone": {"OTEL_TRACES_SAMPLER": "parentbased_always_on"},
}

# What the two spans of a redirect have.
_REQUEST = {
    "http.request.method": "GET",
    "url.path": f"/v2/team/app/blobs/sha256:{'0' * 64}",
    "url.scheme": "http",
    "network.protocol.version": "1.1",
    "http.route": "/v2/{name}/blobs/{digest}",
    "server.address": "localhost",
    "client.address": "192.0.2.7",
    "http.response.status_code": 307,
    "http.response.body.size": 0,
}
_PROBE = {"http.request.method": "GET", "cfmiddleware.redirected": True}


class Sink(BaseHTTPRequestHandler):
    """A collector that throws away what it gets."""

    def do_POST(self) -> None:
        """Take spans."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def redirect() -> Callable[[], object]:
    """Return a function that has one pull redirected."""
    from cfmiddleware import CloudFrontMiddleware
    from cfmiddleware.digest import Digest
    from cfmiddleware.signing.keys import generate
    from cfmiddleware.tracing import traced

    digest = str(Digest.of(b""))

    def registry(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Docker-Content-Digest", digest), ("Content-Length", "5000")])
        return [b"x"]

    key = generate("rsa").private_pem
    app = traced(
        CloudFrontMiddleware(registry, baseurl="https://d1.cloudfront.net", privatekey=key, keypairid="K1")
    )
    path = f"/v2/team/app/blobs/{digest}"
    asked = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "RAW_URI": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_HOST": "localhost",
        "wsgi.url_scheme": "http",
    }

    def start_response(status: str, headers: object, exc_info: object = None) -> Any:
        if not status.startswith("307"):
            raise AssertionError(status)
        return print

    def pull() -> object:
        return app(dict(asked), start_response)

    pull()
    return pull


def two_spans() -> Callable[[], object]:
    """Return a function that has the SDK make the spans of one redirect, and nothing else."""
    from opentelemetry import propagate, trace

    from cfmiddleware.tracing import begin

    tracer = begin()
    if tracer is None:
        raise AssertionError("nothing is traced")

    def spans() -> None:
        headers: dict[str, str] = {}
        outer = tracer.start_span("GET", propagate.extract(headers), trace.SpanKind.SERVER, _REQUEST)
        within = trace.set_span_in_context(outer)
        propagate.inject(headers, within)
        inner = tracer.start_span("probe", within, trace.SpanKind.INTERNAL, _PROBE)
        propagate.inject(headers, trace.set_span_in_context(inner))
        inner.end()
        outer.end()

    spans()
    return spans


def calls(action: Callable[[], object]) -> int:
    """Return how many functions, Python's and C's, *action* calls."""
    seen = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    sys.setprofile(count)
    action()
    sys.setprofile(None)
    return seen - 1  # the call that ends the counting


def measured(*, sdk: bool) -> None:
    """Print the figures of this process as JSON."""
    pull = two_spans() if sdk else redirect()
    called = calls(pull)  # before the rounds, after which the SDK may complain of a full queue
    best = min(timeit.repeat(pull, timer=time.thread_time, number=NUMBER, repeat=ROUNDS)) / NUMBER
    print(json.dumps({"calls": called, "us": best * 1e6}))


def main() -> None:
    """Print the figures of all ways."""
    with HTTPServer(("127.0.0.1", 0), Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        print(f"{'':24}{'calls':>8}{'µs':>8}")
        for name, variables in WAYS.items():
            plain = {each: value for each, value in os.environ.items() if not each.startswith("OTEL_")}
            on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **variables} if variables else {}
            command = [sys.executable, __file__, "sdk" if name == "the SDK alone" else "one"]
            out = subprocess.run(command, env={**plain, **on}, check=True, stdout=subprocess.PIPE).stdout
            found = json.loads(out)
            print(f"{name:24}{found['calls']:8}{found['us']:8.1f}")
        server.shutdown()


if __name__ == "__main__":
    measured(sdk=sys.argv[1] == "sdk") if sys.argv[1:] else main()
