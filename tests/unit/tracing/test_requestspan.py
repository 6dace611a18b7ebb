"""The span of a request: its name, its parent, what it tells, and the lines of the log within it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from lab.span_receiver import require_opentelemetry

from cfmiddleware.logs import Json, Redacted
from cfmiddleware.wsgi.accesslog import AccessLog

TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"HTTP_TRACEPARENT": f"00-{TRACE}-{ABOVE}-01", "HTTP_TRACESTATE": "vendor=1"}


class Spans:
    """What was traced."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._kept = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.tracer = provider.get_tracer("test")

    @property
    def ended(self) -> list[Any]:
        return list(self._kept.get_finished_spans())


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    require_opentelemetry()
    found = Spans()
    monkeypatch.setattr("cfmiddleware.tracing.exporting.begin", lambda: found.tracer)
    return found


def environ(path: str = "/v2/", method: str = "GET", **more: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "5000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        **more,
    }


def run(app: Any, given: dict[str, Any]) -> bytes:
    """Answer a request as a server does."""
    from cfmiddleware.tracing.requestspan import Traced

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        return lambda data: None

    body = Traced(app)(given, start_response)
    try:
        return b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


def answering(status: str, body: Any = ()) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [])
        return body

    return app


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v2/a/b/manifests/latest", "GET /v2/{name}/manifests/{reference}"),
        ("PATCH", "/v2/a/blobs/uploads/1234", "PATCH /v2/{name}/blobs/uploads/{uuid}"),
        ("GET", "/nothing", "GET"),
        ("INVENTED", "/v2/", "HTTP /v2/"),
    ],
)
def test_a_span_is_named_after_the_route(spans: Spans, method: str, path: str, name: str):
    run(answering("200 OK", [b"x"]), environ(path, method))
    (span,) = spans.ended
    assert span.name == name
    assert span.attributes["url.path"] == path
    assert span.attributes["http.request.method"] == ("_OTHER" if method == "INVENTED" else method)


def test_the_parent_is_taken_over_and_handed_on(spans: Spans):
    seen: dict[str, Any] = {}

    def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(given)
        start_response("200 OK", [])
        return [b""]

    run(app, environ(**HEADERS))
    (span,) = spans.ended
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == ABOVE
    assert seen["HTTP_TRACEPARENT"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert seen["HTTP_TRACESTATE"] == "vendor=1"


@pytest.mark.parametrize("baggage", ["", "a=1,b=2"])
def test_the_headers_are_those_of_the_propagators(
    spans: Spans, baggage: str, monkeypatch: pytest.MonkeyPatch
):
    """They are written without the propagators where these are the default: the text must be the same."""
    from cfmiddleware.tracing import environs

    def handed_on(**headers: str) -> dict[str, Any]:
        from opentelemetry import propagate, trace

        seen: dict[str, Any] = {}

        def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
            seen.update({name: given[name] for name in given if name.startswith("HTTP_")})
            propagate.inject(carrier := dict[str, str](), trace.set_span_in_context(trace.get_current_span()))
            seen["theirs"] = carrier["traceparent"], carrier.get("tracestate")
            start_response("200 OK", [])
            return [b""]

        more = {"HTTP_BAGGAGE": baggage} if baggage else {}
        run(app, environ(**headers, **more))
        return seen

    ways = [{}, {"HTTP_TRACESTATE": "a=1"}, HEADERS, {**HEADERS, "HTTP_TRACEPARENT": "nonsense"}]
    for headers in ways:
        seen = handed_on(**headers)
        assert seen["theirs"] == (seen["HTTP_TRACEPARENT"], seen.get("HTTP_TRACESTATE"))
        assert seen.get("HTTP_BAGGAGE", "") == baggage
    # And by other propagators, those of the program or of OTEL_PROPAGATORS, as these do it.
    monkeypatch.setattr(environs, "_is_w3c", lambda textmap: False)
    assert handed_on(**HEADERS)["HTTP_TRACEPARENT"].startswith(f"00-{TRACE}-")


def test_a_parent_that_is_not_sampled_is_not_either(spans: Spans):
    seen: dict[str, Any] = {}

    def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(given)
        start_response("200 OK", [])
        return [b""]

    run(app, environ(HTTP_TRACEPARENT=f"00-{TRACE}-{ABOVE}-00"))
    assert not spans.ended
    assert seen["HTTP_TRACEPARENT"].startswith(f"00-{TRACE}-")
    assert seen["HTTP_TRACEPARENT"].endswith("-00")


@pytest.mark.parametrize(
    "given", ["", "00", "x" * 9000, f"00-{'0' * 32}-{ABOVE}-01", f"00-{TRACE}-{ABOVE}-ÿ"]
)
def test_a_header_that_names_no_parent_begins_a_trace(spans: Spans, given: str):
    run(answering("200 OK", [b""]), environ(HTTP_TRACEPARENT=given))
    (span,) = spans.ended
    assert span.parent is None


_LATIN = ",".join(["ÿ"] * 2700)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("HTTP_BAGGAGE", _LATIN),
        ("HTTP_BAGGAGE", ",".join(["hush"] * 180)),
        ("HTTP_BAGGAGE", "hush" * 9000),
        ("HTTP_TRACESTATE", "hush" * 9000),
        ("HTTP_TRACESTATE", ",".join(["\x7f=hush"] * 400)),
        ("HTTP_TRACEPARENT", "hush" * 9000),
    ],
)
def test_headers_that_make_no_sense_are_no_lines_of_the_log(
    spans: Spans, caplog: pytest.LogCaptureFixture, name: str, given: str
):
    """Each entry would be a line that repeats it, and take the time of one: 25 ms a request."""
    from cfmiddleware.tracing.loglines import ignore_clients

    ignore_clients()
    run(answering("200 OK", [b""]), environ(**{**HEADERS, name: given}))
    assert len(spans.ended) == 1
    assert not caplog.records


def test_a_line_about_a_collector_has_nothing_secret_of_its_url(caplog: pytest.LogCaptureFixture):
    from cfmiddleware.tracing.loglines import _OneLine

    error = "Pool(host='a'): Max retries exceeded with url: /v1/traces?key=hush&b=hush (no route)"
    said = f"{error} http://user:hush@a/v1/traces?key=hush"
    _OneLine().emit(logging.makeLogRecord({"msg": said, "levelno": logging.WARNING}))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "cfmiddleware"]
    assert line == (
        "tracing: Pool(host='a'): Max retries exceeded with url: /v1/traces?... (no route) "
        "http://...@a/v1/traces?..."
    )


@pytest.mark.parametrize("traceparent", ["", "00", f"00-{TRACE}-{ABOVE}-01"])
@pytest.mark.parametrize("tracestate", ["", "x" * 9000, "no members"])
def test_a_state_that_belongs_to_no_parent_is_not_handed_on(spans: Spans, traceparent: str, tracestate: str):
    seen: dict[str, Any] = {}

    def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(given)
        start_response("200 OK", [])
        return [b""]

    run(app, environ(HTTP_TRACEPARENT=traceparent, HTTP_TRACESTATE=tracestate))
    (span,) = spans.ended
    assert f"{span.context.trace_id:032x}" in seen["HTTP_TRACEPARENT"]
    assert "HTTP_TRACESTATE" not in seen


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("a:80", "a", 80),
        ("[::1]:80", "[::1]", 80),
        ("a", "a", None),
        ("a:" + "9" * 40, "a:" + "9" * 40, None),
        ("a:", "a:", None),
    ],
)
def test_a_port_is_one_that_can_be_sent(spans: Spans, host: str, address: str, port: int | None):
    run(answering("200 OK", [b""]), environ(HTTP_HOST=host))
    (span,) = spans.ended
    assert (span.attributes["server.address"], span.attributes.get("server.port")) == (address, port)


def test_a_body_belongs_to_the_span_until_it_is_closed(spans: Spans):
    from opentelemetry.trace import get_current_span

    seen = []

    def body() -> Iterator[bytes]:
        for chunk in (b"ab", b"c"):
            seen.append(get_current_span().get_span_context().span_id)
            yield chunk

    assert run(answering("200 OK", body()), environ()) == b"abc"
    (span,) = spans.ended
    assert set(seen) == {span.context.span_id}
    assert span.attributes["http.response.body.size"] == 3
    assert not get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("late", [False, True])
def test_an_exception_is_told_by_its_kind_and_its_line_names_the_trace(spans: Spans, late: bool):
    from cfmiddleware.tracing.loglines import label_lines

    def app(given: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])

        def body() -> Iterator[bytes]:
            yield b"x"
            raise KeyError("Signature=secret")

        if not late:
            raise KeyError("Signature=secret")
        return body()

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Redacted("%(message)s"))
    logger = logging.getLogger("cfmiddleware")
    logger.addHandler(handler)
    try:
        label_lines()
        try:
            run(app, environ(**HEADERS))
        except KeyError:
            logger.exception("failed")
    finally:
        logger.removeHandler(handler)
    (span,) = spans.ended
    assert span.attributes["error.type"] == "KeyError"
    assert not span.events
    assert "secret" not in str(span.to_json())
    assert stream.getvalue().startswith(f"failed trace_id={TRACE} span_id={span.context.span_id:016x}\n")


@pytest.mark.parametrize("is_outside", [True, False])
@pytest.mark.parametrize("formatter", [Redacted("%(message)s"), Json()])
def test_the_line_of_a_request_names_its_trace_once(
    spans: Spans, formatter: logging.Formatter, is_outside: bool
):
    from cfmiddleware.tracing.loglines import label_lines
    from cfmiddleware.tracing.requestspan import Traced

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("cfmiddleware.access")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        label_lines()
        app = answering("200 OK", iter([b"x"]))
        given = environ(**HEADERS)
        body: Any
        if is_outside:
            body = AccessLog(Traced(app))(given, lambda *_: print)
        else:
            body = Traced(AccessLog(app))(given, lambda *_: print)
        list(body)
        body.close()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    line = stream.getvalue()
    assert line.count(TRACE) == 1
    if isinstance(formatter, Json):
        assert json.loads(line)["trace_id"] == TRACE
    else:
        assert f" trace_id={TRACE}" in line


def test_a_span_has_no_query_and_no_header(spans: Spans):
    secrets = {
        "QUERY_STRING": "Signature=hush",
        "HTTP_AUTHORIZATION": "Basic hush",
        "HTTP_COOKIE": "hush",
        "HTTP_USER_AGENT": "agent X-Amz-Signature=hush",
    }
    run(answering("307 Temporary Redirect", [b""]), environ("/v2/x/Signature=hush", **secrets))
    (span,) = spans.ended
    assert "hush" not in span.to_json()
    assert span.attributes["client.address"] == "192.0.2.7"


def test_a_child_is_within_its_request_and_outside_of_one_there_is_none(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cfmiddleware.tracing.childspan.is_on", lambda: True)
    from cfmiddleware.tracing.childspan import asking, spanned

    sign = spanned("sign", lambda text: text.upper())
    assert sign("x") == "X"
    assert not spans.ended

    seen: dict[str, Any] = {}

    def ask(app: Any, given: dict[str, Any]) -> None:
        seen.update(given)
        sign("y")

    probe = asking(ask, 1, lambda found: found is None)

    def app(given: dict[str, Any], start_response: Any) -> list[bytes]:
        probe(None, given)
        start_response("307 x", [])
        return [b""]

    run(app, environ(**HEADERS))
    by_name = {span.name: span for span in spans.ended}
    assert by_name["sign"].parent.span_id == by_name["probe"].context.span_id
    assert by_name["probe"].parent.span_id == by_name["GET /v2/"].context.span_id
    assert seen["HTTP_TRACEPARENT"] == f"00-{TRACE}-{by_name['probe'].context.span_id:016x}-01"
