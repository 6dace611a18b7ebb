"""An app of any kind while a health check fails: it is not asked, as this package's registry is not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cfmiddleware.reference import parse_blob_path

if TYPE_CHECKING:
    from cfmiddleware.health.watch import Health
    from cfmiddleware.wsgi.types import App, StartResponse

_ERROR = {
    "code": "UNAVAILABLE",
    "message": "service unavailable",
    "detail": "health check failed: please see /debug/health",
}
_BODY = json.dumps({"errors": [_ERROR]}).encode()
_HEADERS = [
    ("Content-Type", "application/json"),
    ("Content-Length", str(len(_BODY))),
    ("Docker-Distribution-API-Version", "registry/2.0"),
    ("Retry-After", "5"),
]


class Guarded:
    """Answers requests below ``/v2/`` with 503 while a check fails, and hands on all others.

    GETs of blobs are handed on if pulls may go on then: they become redirects where the app allows it.

    :param app: the registry, wrapped.
    :param health: tells whether a check fails.
    :param prefix: what stands in front of ``/v2/``.
    """

    def __init__(self, app: App, health: Health, prefix: str = "") -> None:
        self.app = app
        self._health = health
        self._prefix = prefix
        self._below = f"{prefix}/v2/"

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as PEP 3333 has it."""
        if self._health.is_healthy or self._may_pass(environ):
            return self.app(environ, start_response)
        start_response("503 Service Unavailable", list(_HEADERS))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else _BODY]

    def _may_pass(self, environ: dict[str, Any]) -> bool:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(self._below) and path != self._below.rstrip("/"):
            return True
        is_pull = environ["REQUEST_METHOD"] == "GET" and parse_blob_path(path, self._prefix) is not None
        return is_pull and self._health.redirects
