"""Apps that gunicorn serves for the benchmark of redirects, beside ``cfmiddleware.server:app``."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

import redirect_store

from cfmiddleware.config import Config
from cfmiddleware.storage.driver import Driver, Stat

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


def knowing(config: str, blobs: int) -> Callable[[dict[str, Any], _Start], Iterable[bytes]]:
    """Return ``cfmiddleware.server:app`` that remembers the descriptors of the first so many blobs.

    It is asked for each by a HEAD, which signs nothing, while its storage answers without S3.

    :param config: the configuration file's path.
    """
    loaded = Config.load(config)
    app = loaded.app()
    _let_know(app, loaded.driver(), blobs)
    return app


def _let_know(app: Callable[..., Iterable[bytes]], driver: Driver, blobs: int) -> None:
    statuses = set()

    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        statuses.add(status)

    driver.read = _link  # type: ignore[method-assign]
    driver.stat = lambda path: Stat(24, 0)  # type: ignore[method-assign]
    try:
        for number in range(blobs):
            environ = {
                "REQUEST_METHOD": "HEAD",
                "SCRIPT_NAME": "",
                "PATH_INFO": redirect_store.path(number),
                "SERVER_NAME": "127.0.0.1",
                "SERVER_PORT": "80",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "wsgi.url_scheme": "http",
                "wsgi.input": io.BytesIO(),
                "wsgi.errors": sys.stderr,
            }
            response = app(environ, start)
            getattr(response, "close", bool)()
    finally:
        del driver.read, driver.stat
    if statuses != {"200 OK"}:
        raise RuntimeError(f"the registry answered {sorted(statuses)}")


def _link(path: str) -> bytes:
    """Return what the link at *path* says: these all name the digest that they are called after."""
    return f"sha256:{path.split('/')[-2]}".encode()
