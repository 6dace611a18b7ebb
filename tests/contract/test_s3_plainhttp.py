"""HTTP without TLS: answers of every form, and connections that break off, are kept or are stale."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
)

from cfmiddleware.storage.s3.plainhttp import PlainHTTP


class Server:
    """Answers each request with the next of the answers that it was given, on as many connections as come.

    An empty answer closes the connection; None lets the client wait.
    """

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/bucket/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        # A client may be gone before it has read its answer, and what else connects here gets none.
        with connection, contextlib.suppress(ConnectionError):
            while received := connection.recv(1 << 20):
                self.requests.append(received)
                answer = self.answers.pop(0) if self.answers else b""
                if answer is None:
                    connection.recv(1)
                    return
                connection.sendall(answer)
                if not answer or b"Connection: close" in answer or b"broken" in answer:
                    return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def http(server: Server) -> PlainHTTP:
    return PlainHTTP(server.url, 5, 0.5, 4)


def get(http: PlainHTTP, server: Server, method: str = "GET", *, stream: bool = False):
    return http.send(method, f"{server.url}a?b=c", {"X": "y"}, b"", stream=stream)


ANSWERS = {
    "a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    "nothing": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
        b"hello",
        True,
    ),
    "as much as comes": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", b"hello", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "HTTP/1.0 that stays": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "announced": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "closed": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "more than was said": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", b"hello", False),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("form", ANSWERS)
def test_an_answer_is_read_in_every_form(server, http, form, stream):
    given, content, stays = ANSWERS[form]
    server.answers = [given, ANSWERS["a length"][0]]
    answer = get(http, server, stream=stream)
    assert answer.status_code in (200, 204)
    assert (b"".join(iter(lambda: answer.raw.read(2), b"")) if stream else answer.content) == content
    get(http, server)
    assert server.connections == (1 if stays else 2)
    assert server.requests[0].startswith(b"GET /bucket/a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX: y\r\n" in server.requests[0]


def test_the_answer_to_a_head_has_no_body(server, http):
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: e\r\n\r\n", ANSWERS["a length"][0]]
    answer = get(http, server, "HEAD")
    assert (answer.content, answer.headers.get("etag"), answer.headers["ETag"]) == (b"", "e", "e")
    get(http, server)
    assert server.connections == 1


def test_a_body_that_is_not_read_to_its_end_costs_the_connection(server, http):
    server.answers = [ANSWERS["a length"][0]] * 2
    answer = get(http, server, stream=True)
    assert answer.raw.read(2) == b"he"
    answer.raw.close()
    get(http, server)
    assert server.connections == 2


def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used(server, http):
    server.answers = [ANSWERS["a length"][0], b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbroken"]
    get(http, server)
    get(http, server)  # after which the server closes it, without a word
    server.answers = [ANSWERS["a length"][0]]
    http._idle[0].settimeout(5)
    assert http._idle[0].recv(1, socket.MSG_PEEK) == b""
    get(http, server)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectionClosedError),
        (None, ReadTimeoutError),
        (b"what is this? broken\r\n\r\n", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: broken\r\n\r\n", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbroken\r\n", ConnectionClosedError),
    ],
)
def test_what_is_not_an_answer_is_told_as_boto3_tells_it(server, http, answer, error):
    server.answers = [answer]
    with pytest.raises(error):
        get(http, server)
    assert not http._idle


def test_nobody_there_is_told_as_boto3_tells_it(server, http):
    nobody = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
    nobody.close()
    with pytest.raises(EndpointConnectionError):
        PlainHTTP(url, 5, 5, 4).send("GET", url, {}, b"")
    with pytest.raises(EndpointConnectionError):
        PlainHTTP("http://no-such-host.invalid/", 5, 5, 4).send(
            "GET", "http://no-such-host.invalid/", {}, b""
        )


@pytest.mark.parametrize("form", ["a length", "chunks"])
@pytest.mark.parametrize("read", [lambda body: body.read(), lambda body: body.read(5)])
def test_a_body_that_breaks_off_is_an_error(server, http, form, read: Callable):
    broken = {
        "a length": b"Content-Length: 9\r\n\r\nbroken",
        "chunks": b"Transfer-Encoding: chunked\r\n\r\n9\r\nbroken",
    }
    server.answers = [b"HTTP/1.1 200 OK\r\n" + broken[form]]
    body = get(http, server, stream=True).raw
    if form == "a length":
        body.read(3)
    with pytest.raises(BotoCoreError) as raised:
        read(body), read(body)
    assert form == "chunks" or isinstance(raised.value, IncompleteReadError)


def test_no_more_connections_are_kept_than_were_asked_for(server):
    http = PlainHTTP(server.url, 5, 5, 1)
    server.answers = [ANSWERS["a length"][0]] * 2
    both = [get(http, server, stream=True) for _ in range(2)]
    assert [answer.raw.read() for answer in both] == [b"hello", b"hello"]
    assert len(http._idle) == 1


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb"])
def test_a_header_of_several_lines_is_not_sent(server, http, value):
    with pytest.raises(HTTPClientError, match="several lines"):
        http.send("GET", server.url, {"A": value}, b"")
    assert not server.requests


def test_a_long_body_is_sent_after_its_head(server, http):
    server.answers = [ANSWERS["nothing"][0], ANSWERS["nothing"][0], ANSWERS["nothing"][0]]
    http.send("PUT", f"{server.url}a", {}, bytes(1 << 17))
    assert b"Content-Length: 131072\r\n\r\n" in server.requests[0]
