"""Without OpenTelemetry, or where nothing asks for it, no request meets anything of it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from cfmiddleware.middleware.probe import respond_or_redirect
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.signing.keys import generate
from cfmiddleware.storage.s3.plainclient import PlainClient, plain_class
from cfmiddleware.tracing import is_on, traced
from cfmiddleware.tracing.childspan import asking, spanned, with_spans


@pytest.fixture(autouse=True)
def nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    raise NotImplementedError


def test_nothing_is_wrapped():
    assert not is_on()
    assert traced(app) is app
    assert spanned("sign", len) is len
    assert asking(app, 0, bool) is app
    client = object()
    assert with_spans(client, ("get",), {}) is client
    assert plain_class() is PlainClient


def test_the_wrapper_asks_the_app_itself():
    wrapper = CloudFrontMiddleware(
        app, baseurl="https://d1.cloudfront.net", privatekey=generate("ecdsa").private_pem, keypairid="K1"
    )
    assert wrapper._pulls._ask is respond_or_redirect


def test_what_is_not_installed_is_a_line_and_the_app_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setattr("cfmiddleware.tracing.variables._installed", lambda group: set())
    assert traced(app) is app
    said = "opentelemetry is not installed; install cfmiddleware[tracing]; nothing is traced"
    assert [record.getMessage() for record in caplog.records] == [f"OTEL_TRACES_EXPORTER: {said}"]


def test_a_variable_with_a_mistake_is_said_once_and_taken_as_not_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "soon")
    monkeypatch.setattr("cfmiddleware.tracing.variables._installed", lambda group: {"otlp_proto_http"})
    assert is_on()
    assert is_on()
    assert "OTEL_BSP_SCHEDULE_DELAY" not in os.environ
    assert len(caplog.records) == 1
