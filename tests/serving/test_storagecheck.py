"""The start of ``cfmiddleware serve`` where its storage is not there yet, or will never be."""

from __future__ import annotations

import contextlib
import http.server
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.recording_s3 import recording
from lab.servers import CFMIDDLEWARE, Server, eventually, free_port
from lab.serving import ask

#: More than anything here takes.
SOON = 20


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts the command with an S3 at a port, and ends it."""
    servers: list[Server] = []
    addr = f"127.0.0.1:{free_port()}"

    def start(port: int, more: dict[str, Any] | None = None, level: str = "info", **server: int) -> Server:
        place = {"bucket": "b", "regionendpoint": f"http://127.0.0.1:{port}", "readtimeout": 1}
        s3 = {**place, "accesskey": "a", "secretkey": "s", "forcepathstyle": True, **(more or {})}
        file = tmp_path / "config.yml"
        tree = {
            "version": 0.1,
            "log": {"level": level},
            "storage": {"s3": s3},
            "server": {"workers": 1, **server},
        }
        file.write_text(json.dumps({**tree, "http": {"addr": addr}}))
        servers.append(Server([CFMIDDLEWARE, "serve", str(file)], tmp_path / "process"))
        servers[-1].url = f"http://{addr}/v2/"
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)


def test_a_storage_that_comes_later_is_waited_for(start):
    port = free_port()
    server = start(port)
    assert eventually(lambda: "waiting for the storage, " in server.stderr, SOON)
    with listening(port):
        assert eventually(lambda: _answers(server.url), SOON)
        assert server.process.poll() is None


def test_a_sighup_while_the_storage_is_waited_for_ends_nothing_and_is_taken_up_later(start):
    port = free_port()
    server = start(port)
    assert eventually(lambda: "waiting for the storage, " in server.stderr, SOON)
    for _ in range(3):
        server.process.send_signal(signal.SIGHUP)
    with listening(port):
        assert eventually(lambda: "configuration, keys and certificates again" in server.stderr, SOON)
        assert eventually(lambda: _answers(server.url), SOON)
        assert server.process.poll() is None


@contextlib.contextmanager
def listening(port: int) -> Iterator[None]:
    """Have an S3 at *port*, which knows one answer."""
    body = b"<ListBucketResult></ListBucketResult>"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _answers(url: str) -> bool:
    try:
        return ask("GET", url).status == 200
    except OSError:
        return False


def test_a_storage_that_does_not_come_ends_the_start_with_another_status_than_a_mistake(start):
    port = free_port()
    server = start(port, waitforstorage=2)
    assert server.process.wait(SOON) == 75
    *lines, last = server.stderr.splitlines()
    assert len(lines) == 1
    assert (
        " of 2 seconds: storage.s3.regionendpoint" in lines[0].partition("WARNING cfmiddleware: waiting")[2]
    )
    assert last.startswith("cfmiddleware: ")
    assert f"storage.s3.regionendpoint: http://127.0.0.1:{port} cannot be reached; waited " in last
    assert last.endswith(" seconds (server.waitforstorage)")


@pytest.mark.parametrize("status", [500, 503])
def test_a_storage_that_fails_is_waited_for_too(start, status):
    with recording() as s3:
        s3.refuse(status, "InternalError")
        server = start(s3.port)
        assert eventually(lambda: len(s3.requests) > 1, SOON)
        s3.answer = lambda request: None
        assert eventually(lambda: _answers(server.url), SOON)


def test_nothing_is_waited_for_where_that_is_not_wanted(start):
    server = start(free_port(), waitforstorage=0)
    assert server.process.wait(SOON) == 75
    assert len(server.stderr.splitlines()) == 1
    assert "waitforstorage" not in server.stderr


def test_a_port_that_answers_nothing_counts_as_one_that_cannot_be_reached(start):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        server = start(deaf.getsockname()[1], waitforstorage=1)
        assert server.process.wait(SOON) == 75


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "NoSuchBucket", "RequestTimeTooSkewed"])
def test_a_mistake_ends_the_start_at_once(start, code):
    with recording() as s3:
        s3.refuse(403, code)
        server = start(s3.port)
        assert server.process.wait(SOON) == 2
        assert len(s3.requests) == 1
    assert len(server.stderr.splitlines()) == 1


@pytest.mark.parametrize(("option", "starts"), [("auto", True), ("required", False), ("off", True)])
def test_a_server_that_passes_over_conditional_writes_is_told_at_every_level(start, option, starts):
    with recording() as s3:  # which takes every write
        server = start(s3.port, {"conditionalwrites": option}, level="error")
        if starts:
            assert eventually(lambda: _answers(server.url), SOON)
        else:
            assert server.process.wait(SOON) == 2
        lines = [line for line in server.stderr.splitlines() if "passes over If-None-Match" in line]
        assert len(lines) == (option != "off")
        assert ("WARNING" in server.stderr) == (option == "auto")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_the_wait(start, number):
    server = start(free_port())
    assert eventually(lambda: "waiting for the storage" in server.stderr, SOON)
    server.process.send_signal(number)
    assert server.process.wait(5) == 0
    assert len(server.stderr.splitlines()) == 1
