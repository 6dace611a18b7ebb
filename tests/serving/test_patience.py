"""Clients that keep a server waiting: each wait has its end, and nobody else waits meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab.servers import CFMIDDLEWARE, eventually, free_port, running
from lab.serving import Service, ask, children, wait_for_greeting, workers

from cfmiddleware.digest import Digest

SOON = 20

#: Seconds. All are short, but for those of a test's own.
SHORT = {"headtimeout": 1, "bodytimeout": 1, "answertimeout": 1, "idletimeout": 2, "handshaketimeout": 1}


@contextlib.contextmanager
def registry(directory: Path, **server: object) -> Iterator[Service]:
    """Serve a registry that sends its blobs itself."""
    port = free_port()
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "server": {"workers": 1, "gracefultimeout": 1, **server},
    }
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], directory, ports=[port]) as process:
        wait_for_greeting(process)
        yield Service(process, port, 0)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with registry(tmp_path_factory.mktemp("short"), **SHORT) as service:
        yield service


def connected(service: Service, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=SOON)
    connection.sendall(sent)
    return connection


def rest(connection: socket.socket) -> bytes:
    """Return all that comes until the server ends the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            data += piece
    return data


def error_of(answer: bytes) -> tuple[int, str]:
    """Return the status of an answer, and the code of the error in it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["errors"][0]["code"]


@pytest.mark.parametrize("part", [b"G", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_head_that_does_not_end_is_answered_with_408(short: Service, part: bytes):
    with connected(short, part) as connection:
        assert error_of(rest(connection)) == (408, "REQUEST_TIMEOUT")


def test_a_byte_now_and_then_does_not_prolong_a_head(short: Service):
    with connected(short, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-A: ") as connection:
        connection.settimeout(0.2)
        answer = b""
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(1 << 16)
                break
            connection.sendall(b"x")
        assert error_of(answer) == (408, "REQUEST_TIMEOUT")


def test_a_connection_without_a_request_ends_without_a_word(short: Service):
    with connected(short) as connection:
        assert rest(connection) == b""


def test_a_connection_that_was_used_ends_when_it_is_idle(short: Service):
    with connected(short, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert rest(connection).startswith(b"HTTP/1.1 200 ")


def test_an_upload_that_brings_nothing_more_ends_and_is_resumed_by_its_status(short: Service):
    location = ask("POST", f"{short.url}/v2/app/blobs/uploads/").headers["Location"]
    path = location.partition(str(short.port))[2]
    head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode()
    with connected(short, head + b"x" * 40_000) as connection:
        answer = rest(connection)
    assert error_of(answer) == (408, "REQUEST_TIMEOUT")

    status = ask("GET", location)
    assert status.status == 204
    have = int(status.headers["Range"].partition("-")[2]) + 1 if status.headers["Range"] != "0-0" else 0
    more = ask("PATCH", location, b"x" * 10, {"Content-Range": f"{have}-{have + 9}"})
    assert more.status == 202, more


def test_an_answer_that_nobody_reads_is_cut_off(short: Service):
    digest = short.push("app", b"x" * (24 << 20))
    with connected(short, f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as connection:
        assert eventually(lambda: "read nothing more of an answer" in short.server.stderr, SOON)
        assert len(rest(connection)) < 24 << 20


def test_a_client_that_reads_slowly_is_not_one_that_reads_nothing(short: Service):
    """The server can send only after much was read: the system makes room in large steps."""
    told = short.server.stderr.count("of an answer")
    digest = short.push("app", b"x" * (24 << 20))
    with connected(short, f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as connection:
        for _ in range(50):
            assert connection.recv(20_000)
            time.sleep(0.1)
        assert len(rest(connection)) > 20 << 20
    assert short.server.stderr.count("of an answer") == told


def test_deadlines_are_told_seldom(short: Service):
    for _ in range(3):
        with connected(short, b"G") as connection:
            rest(connection)

    assert short.server.stderr.count("did not end a request's head in time") == 1


def test_a_slow_app_is_nobodys_deadline(tmp_path: Path):
    """What the client waits for, such as the storage, is none of the client's slowness."""
    with registry(tmp_path, **SHORT) as service:
        # The bytes arrive one by one within the time of each, and take longer than any one of the deadlines.
        location = ask("POST", f"{service.url}/v2/app/blobs/uploads/").headers["Location"]
        path = location.partition(str(service.port))[2]
        with connected(
            service, f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n".encode()
        ) as slow:
            slow.settimeout(0.4)
            for _ in range(8):
                with contextlib.suppress(TimeoutError):
                    assert not slow.recv(1)
                slow.sendall(b"x")
            slow.settimeout(SOON)
            assert slow.recv(1 << 16).startswith(b"HTTP/1.1 202 ")


def test_more_connections_than_there_may_be_end_idle_ones_and_no_worker(tmp_path: Path):
    with registry(tmp_path, connections=50) as service, contextlib.ExitStack() as stack:
        (master,) = children(service.server.process.pid)
        before = workers(master, 1)
        idle = [stack.enter_context(connected(service)) for _ in range(200)]

        for _ in range(5):
            assert ask("GET", f"{service.url}/v2/").status == 200

        assert children(master) == before
        assert "50 connections are open" in service.server.stderr
        assert idle[0].recv(1) == b""


#: More than is read of a body before its request takes a place.
BEGUN = b"b" * 20_000


def begun_upload(service: Service, size: int) -> socket.socket:
    """Return a connection whose client has sent the beginning of a body, which has a place then."""
    location = ask("POST", f"{service.url}/v2/app/blobs/uploads/").headers["Location"]
    target = location[location.index("/v2/") :]
    head = f"PATCH {target} HTTP/1.1\r\nHost: registry\r\nContent-Length: {size}\r\n\r\n"
    return connected(service, head.encode() + BEGUN)


@pytest.mark.parametrize("chunk", [b"", b"x"], ids=["silent", "byte-by-byte"])
def test_who_holds_an_uploads_place_and_does_not_go_on_gives_it_to_those_who_wait(
    tmp_path: Path, chunk: bytes
):
    with registry(tmp_path, uploads=1) as service, begun_upload(service, 1 << 20) as slow:
        stop = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while chunk and not stop.wait(0.1):
                    slow.sendall(chunk)

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            content = os.urandom(1 << 20)
            answer = ask("POST", f"{service.url}/v2/app/blobs/uploads/?digest={Digest.of(content)}", content)
            assert answer.status == 201
            rest(slow)
        finally:
            stop.set()
            dripping.join()
        assert eventually(lambda: "held an upload's place that others wanted" in service.server.stderr)


def test_a_slow_upload_that_is_in_nobodys_way_takes_its_time(tmp_path: Path):
    with registry(tmp_path, uploads=1) as service, begun_upload(service, len(BEGUN) + 4) as slow:
        for byte in b"last":
            time.sleep(1)
            slow.sendall(bytes([byte]))
        assert slow.recv(1 << 16).startswith(b"HTTP/1.1 202 ")


def test_a_low_limit_of_descriptors_is_raised_as_far_as_the_system_lets(tmp_path: Path):
    port = free_port()
    (tmp_path / "config.yml").write_text(
        yaml.safe_dump(
            {"storage": {"filesystem": {"rootdirectory": "objects"}}, "http": {"addr": f"127.0.0.1:{port}"}}
        )
    )
    command = ["bash", "-c", f"ulimit -S -n 128; exec '{CFMIDDLEWARE}' serve config.yml"]
    with running(command, tmp_path, ports=[port]) as server, contextlib.ExitStack() as stack:
        wait_for_greeting(server)
        service = Service(server, port, 0)
        for _ in range(300):
            stack.enter_context(connected(service))
        assert ask("GET", f"{service.url}/v2/").status == 200
        assert "connections are open" not in server.stderr


def test_a_hard_limit_of_descriptors_ends_no_worker(tmp_path: Path):
    port = free_port()
    (tmp_path / "config.yml").write_text(
        yaml.safe_dump(
            {"storage": {"filesystem": {"rootdirectory": "objects"}}, "http": {"addr": f"127.0.0.1:{port}"}}
        )
    )
    command = ["bash", "-c", f"ulimit -n 256; exec '{CFMIDDLEWARE}' serve config.yml"]
    with running(command, tmp_path, ports=[port]) as server, contextlib.ExitStack() as stack:
        wait_for_greeting(server)
        service = Service(server, port, 0)
        (master,) = children(server.process.pid)
        before = workers(master, 2)
        for _ in range(500):
            stack.enter_context(connected(service))
        for _ in range(5):
            assert ask("GET", f"{service.url}/v2/").status == 200
        assert children(master) == before
