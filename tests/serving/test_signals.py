"""Signals that come at the worst moment: while the command, or one of its servers, forks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.servers import CFMIDDLEWARE, Server, eventually, free_ports, running
from lab.serving import ask, children, is_linux, session
from lab.spread import spread

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


def told(server: Server) -> list[str]:
    """Return the lines that a server wrote to its log."""
    return server.stderr.splitlines()


#: What is forked, in this order.
FORKS = ["the storage's check", "the registry", "the edge"]


@pytest.mark.parametrize(
    ("when", "number", "fork", "receiver"),
    spread(["before", "after_in_parent"], ["SIGINT", "SIGTERM"], FORKS, ["group", "command"], together=2),
)
def test_a_signal_is_not_lost_in_a_fork(tmp_path: Path, when: str, number: str, fork: str, receiver: str):
    port, edge_port = free_ports(2)
    arguments = ["serve", "--data", str(tmp_path / "data")]
    arguments += ["--addr", f"127.0.0.1:{port}", "--edge-addr", f"127.0.0.1:{edge_port}"]
    options = [when, str(int(signal.Signals[number])), str(1 + FORKS.index(fork)), receiver]
    server = Server([sys.executable, "-c", COMMAND, *options, *arguments], tmp_path / "process")
    try:
        assert server.process.wait(SOON) == 0
        assert eventually(lambda: not session(server.process.pid), SOON)
        # Once there are servers, the log says why they stop.
        assert all(line.endswith(f"stopping: {number}") for line in told(server))
    finally:
        server.stop(signal.SIGKILL)


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Path]:
    """The configuration of a registry whose S3 takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = {"bucket": "b", "regionendpoint": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        s3 = {**place, "accesskey": "a", "secretkey": "s", "secure": False, "forcepathstyle": True}
        file = tmp_path / "config.yml"
        file.write_text(json.dumps({"version": 0.1, "storage": {"s3": s3}}))
        yield file


def checking(config: Path) -> Server:
    """Return the command while it waits for the check of its storage."""
    server = Server(
        [CFMIDDLEWARE, "serve", str(config), "--addr", f"127.0.0.1:{free_ports(1)[0]}"],
        config.parent / "process",
    )
    assert eventually(lambda: len(children(server.process.pid)) == 1, SOON)
    return server


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_check_of_the_storage_does_not_outlive_the_command(silent: Path, number: int):
    server = checking(silent)
    try:
        server.process.send_signal(number)
        assert server.process.wait(SOON) == 0
        assert eventually(lambda: not session(server.process.pid), 5)
        assert server.stderr == ""
    finally:
        server.stop(signal.SIGKILL)


def test_a_check_of_the_storage_that_is_killed_is_not_passed(silent: Path):
    server = checking(silent)
    try:
        os.kill(children(server.process.pid)[0], signal.SIGKILL)
        assert server.process.wait(SOON) == 2
        assert server.stderr == f"cfmiddleware: {silent}: the storage's check was ended by signal 9\n"
    finally:
        server.stop(signal.SIGKILL)


def test_who_is_to_ignore_hangups_does(tmp_path: Path):
    port, edge_port = free_ports(2)
    command = ["nohup", CFMIDDLEWARE, "serve", "--data", str(tmp_path / "data")]
    command += ["--addr", f"127.0.0.1:{port}", "--edge-addr", f"127.0.0.1:{edge_port}"]
    with running(command, tmp_path / "process", ports=[port, edge_port]) as server:
        assert eventually(lambda: len(children(server.process.pid)) == 2)
        server.process.send_signal(signal.SIGHUP)
        server.process.send_signal(signal.SIGHUP)
        assert ask("GET", f"http://127.0.0.1:{port}/v2/").status == 200
        assert server.process.poll() is None


#: The command, into whose import of a module a Ctrl-C comes.
IMPORTING = """
import os, signal, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

module = sys.argv.pop(1)
sys.meta_path.insert(0, Finder)
from cfmiddleware.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("arguments", [["serve"], ["sign", "x"]], ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("module", ["cfmiddleware.cli.commands", "cfmiddleware.config", "boto3", "yaml"])
def test_a_ctrl_c_while_python_is_still_importing_prints_no_traceback(module: str, arguments: list[str]):
    command = [sys.executable, "-c", IMPORTING, module, *arguments, "--help"]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=SOON)

    # Some are imported when they are needed: never here, or by the command that is about to run.
    assert (ended.returncode, ended.stderr) in ((-signal.SIGINT, ""), (130, ""), (0, ""))
    if module != "boto3":
        assert ended.returncode != 0


def test_a_ctrl_c_after_that_is_the_commands_own():
    command = [
        sys.executable,
        "-c",
        IMPORTING,
        "cfmiddleware.signing.windows",
        "sign",
        "x",
        "--data",
        "/none",
    ]

    assert "Traceback" not in subprocess.run(command, capture_output=True, text=True, timeout=SOON).stderr
