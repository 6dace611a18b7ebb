"""Python processes beside a server."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from lab.servers import eventually

from cfmiddleware.process.childprocess import ChildProcess, interpreter

ECHO = """
import os, sys
given = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
sys.stdout.buffer.write(given[::-1])
sys.stdout.flush()
if given == b"wait":
    sys.stdin.buffer.read()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "echo_of_tests.py").write_text(ECHO)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "echo_of_tests"


def test_it_gets_what_it_is_given_and_what_it_says_is_there_at_its_end(module: str) -> None:
    child = ChildProcess(module, b"abc" * 20_000)
    assert eventually(child.has_ended, 60)
    assert child.said == b"cba" * 20_000
    child.stop()  # it has ended


def test_it_can_be_asked_to_end(module: str) -> None:
    child = ChildProcess(module, b"wait")
    assert not child.has_ended()
    child.stop(signal.SIGTERM)
    assert eventually(child.has_ended, 60)


def test_python_is_found_in_a_server_that_has_it_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert Path(interpreter()).name.startswith("python")
    assert Path(interpreter()).parent == Path(sys.exec_prefix, "bin")
