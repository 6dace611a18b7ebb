"""Apps that gunicorn serves for the benchmark of redirects, beside ``cfmiddleware.server:app``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

_Start = Callable[..., Any]


def bare(location: str) -> Callable[[dict[str, Any], _Start], Iterable[bytes]]:
    """Return an app that answers everything with one constant redirect, and looks at nothing.

    :param location: a signed URL as long as those that the others make.
    """
    digest = location.partition("/sha256/")[2].split("/")[1]
    headers = [
        ("Location", location),
        ("Docker-Content-Digest", f"sha256:{digest}"),
        ("Docker-Distribution-API-Version", "registry/2.0"),
        ("Cache-Control", "private, no-store"),
        ("Content-Length", "0"),
    ]

    def app(environ: dict[str, Any], start_response: _Start) -> Iterable[bytes]:
        start_response("307 Temporary Redirect", headers)
        return []

    return app
