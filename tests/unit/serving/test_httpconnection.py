"""One connection and an app that fails, with raw bytes on the client's side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gunicorn", minversion="27.0")

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
    _, theirs, serving = begun(app)
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


def waiting(requests: int) -> tuple[HTTPConnection, Any, Any]:
    """Return a connection that has answered so many requests and waits for the next, its other end and its
    greenlet.
    """
    connection, theirs, serving = begun(numbered)
    for number in range(requests):
        theirs.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        assert theirs.recv(1 << 16).endswith(b"/%d" % number)
    gevent.sleep(0.01)
    return connection, theirs, serving


def begun(app: Callable[..., Any]) -> tuple[HTTPConnection, Any, Any]:
    """Return a connection that is served, its client's end and its greenlet."""
    worker: Any = SimpleNamespace(
        wsgi=app,
        options=ServerOptions(),
        certificates=None,
        cfg=settings(),
        stopping=0.0,
        counts=False,
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
    connection = HTTPConnection(worker, ours, ("192.0.2.1", 4711), base)
    return connection, theirs, gevent.spawn(connection.serve)


def echo(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer with what the server has understood, and with the body."""
    body = environ["wsgi.input"].read() if environ["PATH_INFO"] == "/read" else b""
    told = [environ.get(name, "-") for name in ("SERVER_PROTOCOL", "HTTP_HOST", "PATH_INFO")]
    said = f"[{' '.join(told)} {body.decode()}]".encode()
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]


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


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Host: a b\r\n",
        b"Host: a/b\r\n",
        b"Host: a?b\r\n",
        b"Host: user@a\r\n",
        b"Host: \xe4\r\n",
        b'Host: "a"\r\n',
        b"Host: a\r\nHost: a\r\n",
    ],
)
@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n"], ids=["plain", "parsed"])
def test_a_request_says_for_which_host_it_is(fields: bytes, more: bytes):
    assert exchange(echo, b"GET / HTTP/1.1\r\n" + fields + more + b"\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("host", [b"", b"x", b"a_b:5000", b"[2001:db8::1]:5000", b"registry.example.com."])
@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["plain", "parsed"])
def test_hosts_are_names_and_addresses(host: bytes, more: bytes):
    received = exchange(echo, b"GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (host, more))

    assert received.endswith(b"[HTTP/1.1 %s / ]" % host)


def test_http_1_0_needs_no_host():
    assert exchange(echo, b"GET / HTTP/1.0\r\n\r\n").endswith(b"[HTTP/1.0 - / ]")


def test_the_host_of_an_absolute_target_goes_before_the_headers():
    received = exchange(echo, b"GET http://a.example:80/v2/?x HTTP/1.1\r\nHost: b.example\r\n\r\n")

    assert received.endswith(b"[HTTP/1.1 a.example:80 /v2/ ]")


@pytest.mark.parametrize(
    "target", [b"http:///v2/", b"ftp://a/v2/", b"a?b://c", b"a://b#c", b"http://u@a/", b"http://a b/"]
)
def test_an_absolute_target_is_of_http(target: bytes):
    received = exchange(echo, b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)

    assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))


def test_a_later_minor_version_is_answered_as_http_1_1():
    received = exchange(echo, b"GET / HTTP/1.9\r\nHost: x\r\n\r\n")

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"[HTTP/1.1 x / ]")


@pytest.mark.parametrize(
    ("version", "fields", "answers"),
    [
        (b"1.1", b"Connection: close\r\n", 1),
        (b"1.1", b"Connection: TE, close\r\nTE: trailers\r\n", 1),
        (b"1.1", b"Connection: TE\r\nConnection: Close\r\n", 1),
        (b"1.1", b"Connection: keep-alive\r\nConnection: close\r\n", 1),
        (b"1.1", b"Connection: closed\r\n", 2),
        (b"1.1", b"Connection: Keep-Alive\r\n", 2),
        (b"1.0", b"", 1),
        (b"1.0", b"Connection: Keep-Alive, TE\r\n", 2),
        (b"1.0", b"Connection: keep-alive, close\r\n", 1),
    ],
)
def test_a_connection_ends_where_a_client_asks_for_it(version: bytes, fields: bytes, answers: int):
    asked = b"GET / HTTP/%s\r\nHost: x\r\n%s\r\n" % (version, fields)

    received = exchange(echo, asked + PULL)

    assert received.count(b" 200 OK\r\n") == answers
    assert (b"Connection: close" in received) == (answers == 1)


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked", b"gzip", b"identity", b"", b"x"])
def test_a_coding_that_is_not_undone_is_refused(coding: bytes):
    head = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %s\r\n\r\n" % coding

    assert exchange(echo, head + b"0\r\n\r\n").startswith(b"HTTP/1.1 501 ")


EXPECTING = b"Host: x\r\nExpect: 100-continue\r\n"


@pytest.mark.parametrize(
    "first",
    [
        b"POST /read HTTP/1.1\r\n" + EXPECTING + b"Content-Length: 0\r\n\r\n",
        b"POST /read HTTP/1.1\r\n" + EXPECTING + b"Content-Length: 2\r\n\r\nab",
        b"GET / HTTP/1.1\r\n" + EXPECTING + b"\r\n",
    ],
)
def test_a_request_that_expects_nothing_is_not_told_to_go_on(first: bytes):
    second = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"

    received = exchange(echo, first, second, b"cd")

    assert received.endswith(b"cd]")
    assert b"100 Continue" not in received


def test_a_body_that_is_read_when_the_answer_has_begun_is_not_asked_for():
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "8")])
        yield b"early "
        yield environ["wsgi.input"].read(2)

    head = b"POST / HTTP/1.1\r\n" + EXPECTING + b"Content-Length: 2\r\n\r\n"

    assert exchange(app, head, b"ab").endswith(b"\r\n\r\nearly ab")


def test_the_servers_own_name_is_not_taken_from_the_host():
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return [f"{environ['SERVER_NAME']} {environ['SERVER_PORT']}".encode()]

    asked = b"GET / HTTP/1.0\r\nHost: evil:1:2\r\n\r\n"

    assert exchange(app, asked).endswith(b"\r\n\r\n127.0.0.1 5000")


def numbered(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer with the request's path, behind chunks that are empty."""
    body = environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [b"", body, b""]


@pytest.mark.parametrize("size", [1, 7, 30, 61, 1000])
def test_requests_are_answered_in_their_order_however_they_arrive(size: int):
    sent = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(12))
    received = exchange(numbered, *(sent[at : at + size] for at in range(0, len(sent), size)))
    assert [each.rpartition(b"\r\n\r\n")[2] for each in received.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"/%d" % number for number in range(12)
    ]


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_a_wait_for_the_next_request_is_ended_by_its_deadline(requests: int):
    connection, theirs, serving = waiting(requests)
    with theirs:
        connection.expire()
        serving.get(timeout=5)
        assert theirs.recv(1 << 16) == b""


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_a_client_that_goes_while_it_is_waited_for_ends_its_connection(requests: int):
    _, theirs, serving = waiting(requests)
    theirs.close()
    serving.get(timeout=5)


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_a_wait_that_is_killed_leaves_no_descriptor_and_nothing_that_waits(requests: int):
    connection, theirs, serving = waiting(requests)
    serving.kill(timeout=5)
    with theirs:
        assert theirs.recv(1 << 16) == b""
    assert connection._readable is None or not connection._readable.active
    assert connection._sock.fileno() == -1
