"""What balancers are told on the debug listener."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfmiddleware.health.board import Report
from cfmiddleware.health.debugapp import DebugApp

WELL = Report({}, [], 0.1, False)


def get(report: Report, path: str, method: str = "GET", query: str = "") -> tuple[int, Any]:
    started: list[Any] = []
    app = DebugApp(lambda: report)
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    body = b"".join(app(environ, lambda *a: started.append(a)))
    return int(started[0][0][:3]), json.loads(body) if body else None


@pytest.mark.parametrize("path", ["/debug/health", "/debug/ready"])
def test_all_is_well(path: str):
    assert get(WELL, path) == (200, {})
    assert get(WELL, path, "HEAD") == (200, None)


@pytest.mark.parametrize("path", ["/debug/health", "/debug/ready"])
def test_a_check_that_fails_is_503_with_its_reason(path: str):
    report = WELL._replace(failing={"storagedriver_s3": "it does not answer"})
    assert get(report, path) == (503, {"storagedriver_s3": "it does not answer"})


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (WELL._replace(waiting=["a"]), {"a": "has not succeeded yet"}),
        (WELL._replace(draining=True), {"draining": "the server is about to stop"}),
        (WELL._replace(seconds=None), {"workers": "none has begun yet"}),
        (WELL._replace(seconds=60.0), {"workers": "none was seen for 60 s"}),
    ],
)
def test_what_is_healthy_may_not_be_ready(report: Report, reason: dict[str, str]):
    assert get(report, "/debug/health") == (200, {})
    assert get(report, "/debug/ready") == (503, reason)


@pytest.mark.parametrize("path", ["/debug/health", "/debug/ready"])
def test_a_check_may_be_left_out(path: str):
    report = WELL._replace(failing={"storagedriver_s3": "gone", "redis:6379": "gone"})
    assert get(report, path, query="exclude=storagedriver_s3") == (503, {"redis:6379": "gone"})
    assert get(report, path, query="exclude=storagedriver_s3&exclude=redis%3A6379") == (200, {})
    assert get(report, path, query="exclude=storage")[0] == 503


def test_only_checks_can_be_left_out():
    query = "exclude=draining&exclude=workers&exclude=a"
    report = WELL._replace(waiting=["a"])
    assert get(report, "/debug/ready", query=query) == (200, {})
    assert get(report._replace(draining=True), "/debug/ready", query=query)[0] == 503
    assert get(report._replace(seconds=None), "/debug/ready", query=query)[0] == 503


@pytest.mark.parametrize(
    ("path", "method"), [("/", "GET"), ("/debug/pprof/", "GET"), ("/debug/health", "POST")]
)
def test_there_is_nothing_else(path: str, method: str):
    assert get(WELL, path, method) == (404, None)
