"""The servers that all processes of a run share: one of each, which ends with its last user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lab import TESTS
from lab.servers import answers, eventually
from lab.shared import shared

#: A process that uses a server until its standard input ends. It prints where the server is.
USER = """
import sys
from pathlib import Path
from lab.shared import shared
with shared("moto", Path(sys.argv[1])) as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


def user(run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", USER, str(run)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def port_of(endpoint: str) -> int:
    port = urlsplit(endpoint.strip()).port
    assert port is not None
    return port


@pytest.mark.parametrize("killed", [False, True], ids=["that leaves", "that is killed"])
def test_a_server_is_there_until_its_last_user_is_gone(tmp_path: Path, killed: bool):
    with user(tmp_path) as first, user(tmp_path) as second:
        assert first.stdout is not None
        assert second.stdout is not None
        assert first.stdin is not None
        assert second.stdin is not None
        endpoint = first.stdout.readline()
        port = port_of(endpoint)
        assert second.stdout.readline() == endpoint

        first.stdin.close()
        assert first.wait(20) == 0
        assert answers(port)
        with shared("moto", tmp_path) as server:
            assert server.endpoint == endpoint.strip()

        if killed:
            second.kill()
        else:
            second.stdin.close()
        assert second.wait(20) == (-signal.SIGKILL if killed else 0)
        assert eventually(lambda: not answers(port), 20)


def test_a_user_that_comes_after_the_last_one_gets_a_new_server(tmp_path: Path):
    with shared("moto", tmp_path) as server:
        first = server.endpoint
    assert eventually(lambda: not answers(port_of(first)), 20)
    with shared("moto", tmp_path) as server:
        assert server.endpoint != first
        assert answers(port_of(server.endpoint))
