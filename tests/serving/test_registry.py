"""Pushing through a real server: chunked bodies, clients that go away, connections that are used again."""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.registry_client import RegistryClient
from lab.servers import Server, eventually, free_port, running

from cfmiddleware.digest import Digest
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver

APP = """
from cfmiddleware.registry.app import Registry
from cfmiddleware.storage.filesystem import FilesystemDriver

app = Registry(FilesystemDriver({root!r}), inline_limit=1000, max_uploads=2)
"""

CONTENT = bytes(range(256)) * 4000
DIGEST = Digest.of(CONTENT)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Server]]:
    directory, port = tmp_path_factory.mktemp("gunicorn"), free_port()
    (directory / "registry_app.py").write_text(APP.format(root=str(root)))
    command = [sys.executable, "-m", "gunicorn", "registry_app:app", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", "2", "--worker-class", "gthread", "--threads", "8", "--graceful-timeout", "1"]
    with running(command, directory, ports=[port]) as process:
        yield port, process


@pytest.fixture
def connection(server: tuple[int, Server]) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server[0], timeout=20)
    yield connection
    connection.close()


def ask(connection, method, url, body=None, headers=None):
    connection.request(method, url, body, headers or {})
    answer = connection.getresponse()
    return answer, answer.read()


def start(connection):
    return ask(connection, "POST", "/v2/app/blobs/uploads/")[0].headers["Location"]


def test_a_push_as_docker_makes_it_and_a_pull(connection):
    url = start(connection)
    pieces = (CONTENT[start : start + 70_001] for start in range(0, len(CONTENT), 70_001))
    connection.request("PATCH", url, pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    answer = connection.getresponse()
    answer.read()
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{len(CONTENT) - 1}")
    url = answer.headers["Location"]
    assert ask(connection, "PUT", f"{url}?digest={DIGEST}")[0].status == 201
    answer, body = ask(connection, "GET", f"/v2/app/blobs/{DIGEST}")
    assert (answer.status, body) == (200, CONTENT)


def test_a_push_whose_chunks_come_over_connections_of_their_own(server):
    url = None
    for first in range(0, len(CONTENT), 300_000):
        connection = http.client.HTTPConnection("127.0.0.1", server[0], timeout=20)
        url = url or start(connection)
        data = CONTENT[first : first + 300_000]
        sent = f"{first}-{first + len(data) - 1}"
        assert ask(connection, "PATCH", url, data, {"Content-Range": sent})[0].status == 202
        assert ask(connection, "PATCH", url, data, {"Content-Range": sent})[0].status == 416
        connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", server[0], timeout=20)
    assert ask(connection, "PUT", f"{url}?digest={DIGEST}")[0].status == 201
    connection.close()


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 100000\r\n\r\n" + b"x" * 5000,
        b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + b"x" * 5000,
    ],
    ids=["length", "chunked"],
)
def test_a_client_that_goes_away_has_no_effect_and_makes_no_trace(server, root, connection, framing):
    port, process = server
    url = start(connection)
    objects = RegistryClient(FilesystemDriver(root)).objects()
    path = url.removeprefix(f"http://127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(f"PATCH {path} HTTP/1.1\r\nHost: r\r\n".encode() + framing)
        raw.shutdown(socket.SHUT_WR)
        assert b" 400 " in raw.recv(65536).split(b"\r\n")[0]
    assert ask(connection, "GET", url)[0].headers["Range"] == "0-0"
    # A body that needs an object of its own makes the upload one that the storage knows.
    left = RegistryClient(FilesystemDriver(root)).objects() - objects
    assert {path.rpartition("/")[2] for path in left} <= {"startedat"}
    assert "Traceback" not in process.stderr


def test_a_connection_serves_on_after_an_answer_that_left_the_body_unread(connection):
    answer, _ = ask(connection, "PATCH", "/v2/app/blobs/uploads/none", b"x" * 10_000)
    assert answer.status == 404
    assert ask(connection, "GET", "/v2/")[0].status == 200


def test_slow_pushes_keep_neither_pulls_nor_one_another_waiting(server):
    """Each of the two workers takes two pushes; what is beyond is told so before its body is read."""
    port, _ = server
    slow = []
    try:
        refused = 0
        for _ in range(20):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            path = start(connection).removeprefix(f"http://127.0.0.1:{port}")
            connection.close()
            raw = socket.create_connection(("127.0.0.1", port), timeout=0.3)
            slow.append(raw)
            raw.sendall(f"PATCH {path} HTTP/1.1\r\nHost: r\r\nContent-Length: 99\r\n\r\nx".encode())
            try:
                refused += b" 429 " in raw.recv(65536).split(b"\r\n")[0]
            except TimeoutError:
                continue
            if refused == 2:
                break
        assert refused == 2
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        assert all(ask(connection, "GET", "/v2/")[0].status == 200 for _ in range(10))
        connection.close()
    finally:
        for raw in slow:
            raw.close()

    def free_again():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        status = ask(connection, "POST", f"/v2/app/blobs/uploads/?digest={Digest.of(b'x')}", b"x")[0].status
        connection.close()
        return status == 201

    assert eventually(free_again)
