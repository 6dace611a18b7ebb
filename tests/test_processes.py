"""Signals that come at the worst moment: while the command, or one of its servers, forks."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from servers import Server, eventually, free_ports
from serving import is_linux, session

pytestmark = pytest.mark.skipif(not is_linux(), reason="looks at processes in /proc, which only Linux has")

#: More than anything here takes, and less than the 30 seconds that requests under way would get.
SOON = 20

#: The command, in which one fork is met by a signal, inside one of the functions that Python calls around it.
COMMAND = """
import os, signal, sys
from cfmiddleware.cli import main

when, number, count, group = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "group"
command, forks = os.getpid(), []

def send():
    forks.append(None)
    if len(forks) == count and os.getpid() == command:
        (os.killpg if group else os.kill)(command, number)

os.register_at_fork(**{when: send})
sys.exit(main(sys.argv[5:]))
"""


@pytest.mark.parametrize("fork", [1, 2, 3], ids=["the storage's check", "the registry", "the edge"])
@pytest.mark.parametrize("when", ["before", "after_in_parent"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("receiver", ["group", "command"])
def test_a_signal_is_not_lost_in_a_fork(tmp_path: Path, when: str, number: int, fork: int, receiver: str):
    port, edge_port = free_ports(2)
    arguments = ["serve", "--data", str(tmp_path / "data")]
    arguments += ["--addr", f"127.0.0.1:{port}", "--edge-addr", f"127.0.0.1:{edge_port}"]
    options = [when, str(int(number)), str(fork), receiver]
    server = Server([sys.executable, "-c", COMMAND, *options, *arguments], tmp_path / "process")
    try:
        assert server.process.wait(SOON) == 0
        assert eventually(lambda: not session(server.process.pid), SOON)
        assert server.stderr == ""
    finally:
        server.stop(signal.SIGKILL)
