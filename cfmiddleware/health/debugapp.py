"""The WSGI app of the debug listener: ``/debug/health``, ``/debug/ready`` and the metrics.

``?exclude=NAME`` leaves a check out of the answer, as Kubernetes has it: a balancer whose servers all lack
the same storage can go on to them for what needs no storage.

It is for the operator's own network. It needs no credential, and names hosts and files of checks that fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from cfmiddleware.wsgi.response import NO_BYTES, STATUS_LINES, Response, as_json, empty

from .board import Report

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import App, Environ, StartResponse

# Seconds after which a process that checks would have been seen, with time to start another one.
_SILENCE = 15.0

# No query that makes sense is longer.
_LONGEST = 2000


class DebugApp:
    """Answer what balancers, orchestrators and Prometheus ask.

    :param report: returns what is known of the health.
    :param apps: further apps by their paths, such as the one with the metrics.
    """

    def __init__(self, report: Callable[[], Report], apps: Mapping[str, App] | None = None) -> None:
        self._report = report
        self._apps = dict(apps or {})

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        path = environ.get("PATH_INFO", "")
        app = self._apps.get(path)
        if app is not None:
            return app(environ, start_response)
        answer = self._answer(path, environ["REQUEST_METHOD"], environ.get("QUERY_STRING", ""))
        start_response(STATUS_LINES[answer.status], [("Cache-Control", "no-store"), *answer.headers])
        return NO_BYTES if environ["REQUEST_METHOD"] == "HEAD" else answer.body

    def _answer(self, path: str, method: str, query: str) -> Response:
        if method not in ("GET", "HEAD") or path not in ("/debug/health", "/debug/ready"):
            return empty(404, {})
        report = _without(parse_qs(query[:_LONGEST]).get("exclude", ()), self._report())
        reasons = report.failing if path == "/debug/health" else _unready(report)
        return as_json(503 if reasons else 200, reasons)


def _without(names: Sequence[str], report: Report) -> Report:
    """Return a report without the checks of these names."""
    if not names:
        return report
    return report._replace(
        failing={name: reason for name, reason in report.failing.items() if name not in names},
        waiting=[name for name in report.waiting if name not in names],
    )


def _unready(report: Report) -> dict[str, str]:
    """Return why the registry should get no requests, by what says so; nothing where it should."""
    reasons = dict.fromkeys(report.waiting, "has not succeeded yet") | report.failing
    if report.draining:
        reasons["draining"] = "the server is about to stop"
    if report.seconds is None:
        reasons["workers"] = "none has begun yet"
    elif report.seconds > _SILENCE:
        reasons["workers"] = f"none was seen for {report.seconds:.0f} s"
    return reasons
