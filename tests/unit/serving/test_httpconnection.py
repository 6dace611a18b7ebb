"""One connection and an app that fails, with raw bytes on the client's side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gunicorn")

import gevent.socket
from gevent.lock import Semaphore
from gunicorn.config import Config

from cfmiddleware.config.serveroptions import ServerOptions
from cfmiddleware.serving.httpconnection import HTTPConnection

PULL = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"


def settings() -> Config:
    """Return gunicorn's settings as `serve` has them."""
    config = Config()
    config.set("forwarder_headers", "")
    config.set("secure_scheme_headers", {})
    config.set("limit_request_line", 0)
    config.set("http_parser", "python")
    return config


def exchange(app: Callable[..., Any], *sent: bytes) -> bytes:
    """Serve one connection on which the pieces of *sent* come, and return all that the client received."""
    worker: Any = SimpleNamespace(
        wsgi=app,
        options=ServerOptions(),
        certificates=None,
        cfg=settings(),
        stopping=0.0,
        bulk=Semaphore(),
        refused=lambda refusal: None,
    )
    base = {
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "5000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.url_scheme": "http",
        "cfmiddleware.server": ("127.0.0.1", 5000),
    }
    ours, theirs = gevent.socket.socketpair()
    serving = gevent.spawn(HTTPConnection(worker, ours, ("192.0.2.1", 4711), base).serve)
    with theirs:
        for piece in sent:
            theirs.sendall(piece)
            gevent.sleep(0.01)
        theirs.shutdown(gevent.socket.SHUT_WR)
        received = b""
        while data := theirs.recv(1 << 16):
            received += data
    serving.get(timeout=5)
    return received


class Closing:
    """A body whose ``close`` fails."""

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"body",))

    def close(self) -> None:
        raise OSError("the storage's connection did not end well")


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(104, "reset"), BrokenPipeError(32, "broken"), TimeoutError(110, "timed out")],
)
def test_a_connection_of_the_apps_that_breaks_is_not_taken_for_the_clients(
    error: OSError, caplog: pytest.LogCaptureFixture
):
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        raise error

    assert exchange(app, PULL).startswith(b"HTTP/1.1 500 ")
    assert "GET '/v2/' failed" in caplog.text


def test_a_body_that_cannot_be_closed_is_logged_with_its_request(caplog: pytest.LogCaptureFixture):
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "4")])
        return Closing()

    received = exchange(app, PULL)

    assert received.endswith(b"\r\n\r\nbody")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "GET '/v2/' failed" in caplog.text


def test_a_head_that_fails_is_answered_without_a_body():
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        raise ValueError

    received = exchange(app, HEAD)

    assert received.startswith(b"HTTP/1.1 500 ")
    assert received.endswith(b"\r\n\r\n")
    assert b"Content-Length" in received
