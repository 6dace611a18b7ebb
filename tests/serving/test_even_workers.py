"""Connections are shared out evenly among the workers of `cfmiddleware serve`."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.servers import eventually
from lab.serving import Service, children, is_linux, serving, workers

pytestmark = pytest.mark.skipif(not is_linux(), reason="looks at processes in /proc, which only Linux has")

CONFIG = """
storage: {filesystem: {rootdirectory: objects}}
server: {workers: 2}
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "config.yml").write_text(CONFIG)
    with serving(tmp_path / "process", str(tmp_path / "config.yml"), edge=False) as running:
        yield running


def master(service: Service) -> int:
    (pid,) = children(service.server.process.pid)
    return pid


def connections(pid: int) -> int:
    """Return how many sockets a process has open."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


@contextlib.contextmanager
def connected(service: Service, number: int) -> Iterator[None]:
    """Open connections, each of which asks for something, and keep them open."""
    with contextlib.ExitStack() as stack:
        opened = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=30) for _ in range(number)]
        for connection in opened:
            stack.callback(connection.close)
            connection.connect()
        for connection in opened:
            connection.request("GET", "/v2/")
            assert connection.getresponse().read() is not None
        yield


def shares(service: Service, pids: list[int], number: int) -> list[int]:
    """Return how many of so many new connections each worker has."""
    before = [connections(pid) for pid in pids]
    with connected(service, number):
        return [connections(pid) - had for pid, had in zip(pids, before, strict=True)]


def test_no_worker_has_most_of_the_connections(service: Service):
    pids = [*workers(master(service), 2)]

    # Where the machine is busy, a worker may come late now and then.
    assert eventually(lambda: min(shares(service, pids, 32)) >= 12, 30)


def test_those_that_are_left_take_all_when_one_is_killed_and_the_next_one_gets_its_share(service: Service):
    first, second = workers(master(service), 2)
    with connected(service, 8):
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: first not in children(master(service)))
        assert sum(shares(service, [second], 8)) <= 8
    pids = [*workers(master(service), 2)]
    assert second in pids
    assert eventually(lambda: min(shares(service, pids, 32)) >= 12, 30)
