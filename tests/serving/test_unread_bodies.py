"""Connections on which an answer came before the request's body was read, under gunicorn."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest
import yaml
from lab.auth_material import basic, htpasswd
from lab.servers import CFMIDDLEWARE, free_port, running

from cfmiddleware.digest import Digest

OPEN = basic("alice", "open sesame")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A registry that reads no body of someone who has not logged in."""
    directory = tmp_path_factory.mktemp("closed")
    (directory / "users").write_bytes(htpasswd({"alice": "open sesame"}))
    port = free_port()
    tree = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "registry", "path": "users"}},
    }
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], directory, ports=[port]):
        yield port


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def push(connection: socket.socket, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Send a request with its body, and only then read the answer; another one can follow."""
    lines = [f"POST /v2/a/blobs/uploads/?digest={Digest.of(body)} HTTP/1.1", "Host: registry"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall("\r\n".join([*lines, "\r\n"]).encode() + body)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer


def test_a_connection_stays_after_a_body_that_has_come_but_was_not_read(
    connection: socket.socket,
):
    for _ in range(5):
        refused = push(connection, b"x" * 60_000, {})
        assert (refused.status, refused.getheader("Connection")) == (401, None)
        assert push(connection, b"small", basic("alice", "open sesame")).status == 201


def test_a_connection_that_cannot_stay_is_announced_to_end(connection: socket.socket):
    refused = push(connection, b"x" * 900_000, {})

    assert (refused.status, refused.getheader("Connection")) == (401, "close")


@pytest.mark.parametrize(("headers", "answer"), [({}, (401, "close")), (OPEN, (201, None))])
def test_a_connection_ends_after_a_chunked_body_only_where_it_was_not_read(
    connection: socket.socket, headers: dict[str, str], answer: tuple[int, str]
):
    body = b"x" * 100_000
    lines = [f"POST /v2/a/blobs/uploads/?digest={Digest.of(body)} HTTP/1.1", "Host: registry"]
    lines += ["Transfer-Encoding: chunked", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall("\r\n".join([*lines, "\r\n"]).encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    given = http.client.HTTPResponse(connection)
    given.begin()

    assert (given.status, given.getheader("Connection")) == answer


def test_a_client_that_reads_no_answer_before_it_has_sent_its_chunk_sees_it_all_the_same(port: int):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            refused = push(connection, b"x" * (15 << 20), {})

        assert (refused.status, refused.getheader("Connection")) == (401, "close")


def test_a_connection_stays_after_a_large_body_that_was_read(connection: socket.socket):
    accepted = push(connection, b"x" * 900_000, basic("alice", "open sesame"))

    assert (accepted.status, accepted.getheader("Connection")) == (201, None)


def test_a_request_may_follow_a_body_of_small_chunks(connection: socket.socket):
    body = b"x" * 30_000
    lines = [f"POST /v2/a/blobs/uploads/?digest={Digest.of(body)} HTTP/1.1", "Host: registry"]
    lines += ["Transfer-Encoding: chunked", *(f"{name}: {value}" for name, value in OPEN.items())]
    chunks = b"1\r\nx\r\n" * 29_000 + b"3e8\r\n" + b"x" * 1000 + b"\r\n0;last\r\nX: y\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n"
    connection.sendall("\r\n".join([*lines, "\r\n"]).encode() + chunks + last)
    received = b""
    while data := connection.recv(1 << 16):
        received += data

    assert [part[:4] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"201 ", b"200 "]
