"""OpenTelemetry's variables: what they ask for, and what of them cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfmiddleware.tracing import variables
from cfmiddleware.tracing.variables import wanted

POINTS = {
    "opentelemetry_traces_exporter": {"otlp_proto_http", "console"},
    "opentelemetry_propagator": {"tracecontext", "baggage"},
    "opentelemetry_resource_detector": {"otel", "process"},
    "opentelemetry_context": {"contextvars_context"},
    "opentelemetry_tracer_provider": {"sdk_tracer_provider"},
    "opentelemetry_otlp_credential_provider": set(),
}
ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "_installed", POINTS.get)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "registry"},
        {"OTEL_TRACES_EXPORTER": "none", **ON},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "True"},
        # Mistakes that would matter only if something were traced.
        {"OTEL_BSP_SCHEDULE_DELAY": "soon"},
    ],
)
def test_nothing_is_asked_for(environ: dict[str, str]):
    assert wanted(environ) == ((), ())


@pytest.mark.parametrize(
    ("environ", "exporters"),
    [
        (ON, ("otlp_proto_http",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c/v1/traces"}, ("otlp_proto_http",)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp_proto_http",)),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ("console", "otlp_proto_http")),
        ({**ON, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ("otlp_proto_http",)),
    ],
)
def test_exporters_are_asked_for(environ: dict[str, str], exporters: tuple[str, ...]):
    assert wanted(environ) == (exporters, ())


def test_grpc_is_refused_where_its_waits_would_stop_other_requests(monkeypatch: pytest.MonkeyPatch):
    grpc = {"otlp_proto_grpc"}
    monkeypatch.setattr(variables, "_installed", lambda group: grpc)
    environ = {**ON, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert wanted(environ) == (("otlp_proto_grpc",), ())
    monkeypatch.setattr(variables, "waiting_is_free", lambda: True)
    assert [mistake.stops for mistake in wanted(environ).mistakes] == [True]


@pytest.mark.parametrize(
    ("name", "value", "stops"),
    [
        ("OTEL_TRACES_EXPORTER", "pigeon", True),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", True),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke", True),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", True),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:port", True),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key", True),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b\nc", True),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api key=x", True),
        ("OTEL_EXPORTER_OTLP_HEADERS", 'api-key="x"', True),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,cookie=c;d", True),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a\N{LATIN SMALL LETTER E WITH ACUTE}=b", True),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api%20key=x", True),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=x%0Ay", True),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=%E2%82%AC", True),
        ("OTEL_PYTHON_CONTEXT", "none", False),
        ("OTEL_PYTHON_TRACER_PROVIDER", "mine", False),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "mine", True),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "9" * 30, False),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", True),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", False),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "inf", False),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", False),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", False),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", False),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100", False),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2049", False),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1", False),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "long", False),
        ("OTEL_TRACES_SAMPLER", "sometimes", False),
        ("OTEL_PROPAGATORS", "tracecontext,smoke", False),
        ("OTEL_RESOURCE_ATTRIBUTES", "team", False),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "dowser", False),
        ("OTEL_SDK_DISABLED", "yes", False),
    ],
)
def test_a_mistake_names_its_variable(name: str, value: str, stops: bool):
    (mistake,) = wanted({**ON, name: value}).mistakes
    assert (mistake.name, mistake.stops) == (name, stops)
    assert mistake.said.isprintable()


def test_a_ratio_counts_only_for_a_sampler_that_has_one():
    ratio = {"OTEL_TRACES_SAMPLER_ARG": "half"}
    assert not wanted({**ON, **ratio}).mistakes
    assert len(wanted({**ON, **ratio, "OTEL_TRACES_SAMPLER": "traceidratio"}).mistakes) == 1


def test_what_works_is_no_mistake(tmp_path: Path):
    (tmp_path / "ca.pem").touch()
    environ = {
        **ON,
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=x,other=a%20b , Authorization = Basic eA==, e=",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca.pem"),
        "OTEL_EXPORTER_OTLP_COMPRESSION": "GZIP",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "OTEL_PROPAGATORS": "none",
        "OTEL_BSP_EXPORT_TIMEOUT": "",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process",
    }
    assert not wanted(environ).mistakes


def test_the_value_of_a_secret_is_not_repeated():
    environ = {
        **ON,
        "OTEL_EXPORTER_OTLP_HEADERS": "hush",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x://u:hush@c",
    }
    assert len(wanted(environ).mistakes) == 2
    assert "hush" not in str(wanted(environ))
