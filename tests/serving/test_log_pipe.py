"""A log that nobody reads: the server goes on, and says later what was dropped."""

from __future__ import annotations

import contextlib
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
def served(directory: Path, stderr: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Serve a registry that logs to *stderr*, which is closed here."""
    port = free_port()
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "server": {"workers": 1},
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
