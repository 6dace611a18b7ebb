"""A log that nobody reads: the server goes on, and says later what was dropped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab.servers import CFMIDDLEWARE, eventually, free_port
from lab.serving import ask, bound

#: So many requests at a time, whose lines are long: more than any pipe holds.
_AT_A_TIME, _TIMES = 50, 30
_ALL = _AT_A_TIME * _TIMES


@contextlib.contextmanager
def served(
    directory: Path, stderr: int, formatter: str = "text"
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Serve a registry that logs to *stderr*, which is closed here."""
    port = free_port()
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "server": {"workers": 1},
        "log": {"formatter": formatter},
    }
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    command = [CFMIDDLEWARE, "serve", "config.yml"]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=stderr) as process:
        os.close(stderr)
        try:
            assert eventually(lambda: bound(port), 30)
            yield process, port
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_that_nobody_reads_stops_nothing_and_loses_lines_that_are_counted(tmp_path: Path, kind: str):
    if kind == "pipe":
        near, far = os.pipe()
    else:
        near, far = (each.detach() for each in socket.socketpair())
    os.set_blocking(near, False)
    request = b"GET /v2/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"x" * 1000)
    with served(tmp_path, far) as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            answers = connection.makefile("rb")
            for _ in range(_TIMES):
                connection.sendall(request * _AT_A_TIME)
                found = 0
                while found < _AT_A_TIME:
                    line = answers.readline()
                    assert line, "the server has ended the connection"
                    found += b"HTTP/1.1 404 " in line
        log = bytearray(drained(near))
        assert not told(log)
        assert ask("GET", f"http://127.0.0.1:{port}/v2/").status == 200

        def is_all_there() -> bool:
            log.extend(drained(near))
            return b" GET /v2/ 200 " in log

        assert eventually(is_all_there)
        there = log.count(b" GET /v2/xxx")
        assert 0 < there < _ALL
        assert told(log) == _ALL - there
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    os.close(near)


@pytest.mark.parametrize("formatter", ["text", "json"])
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_each_request_is_a_line_and_they_are_in_order(tmp_path: Path, kind: str, formatter: str):
    log = tmp_path / "log"
    if kind == "file":
        far = os.open(log, os.O_WRONLY | os.O_CREAT)
    else:
        near, far = os.pipe()
    with served(tmp_path, far, formatter) as (process, port):
        for number in range(20):
            assert ask("GET", f"http://127.0.0.1:{port}/v2/{number}").status == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    said = log.read_bytes() if kind == "file" else drained(near)
    path = (
        rb'"path": "(/v2/\d+)", "status": 404,' if formatter == "json" else rb" registry GET (/v2/\d+) 404 "
    )
    lines = said.splitlines()
    found = [match[1] for match in (re.search(path, line) for line in lines) if match]
    assert found == [b"/v2/%d" % number for number in range(20)]
    assert b"stopping: SIGTERM" in said
    if formatter == "json":
        assert all(json.loads(line)["level"] in ("info", "warning") for line in lines)


def test_a_log_on_a_full_disk_stops_nothing(tmp_path: Path):
    with served(tmp_path, os.open("/dev/full", os.O_WRONLY)) as (process, port):
        for _ in range(3):
            assert ask("GET", f"http://127.0.0.1:{port}/v2/").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def told(log: bytes | bytearray) -> int:
    """Return how many lines the log says are not in it."""
    return sum(int(count) for count in re.findall(rb" (\d+) lines of the log were dropped", log))


def drained(descriptor: int) -> bytes:
    """Return what is there to read."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(descriptor, 1 << 16):
            data += piece
    return data
