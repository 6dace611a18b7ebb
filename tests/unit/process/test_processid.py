"""Which process it is, known without a system call, and never taken for its parent's."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading

import pytest
from lab.signing_material import in_a_fork

from cfmiddleware.process import processid
from cfmiddleware.process.processid import ProcessID, process_id


def test_it_is_the_process_that_asks():
    assert process_id() == process_id() == os.getpid()


def test_a_child_is_not_its_parent_and_a_grandchild_neither():
    process_id()

    def family() -> str:
        right = process_id() == os.getpid()
        inner = in_a_fork(lambda: str(process_id() == os.getpid()))
        return f"{right} {inner} {process_id() == os.getpid()}"

    assert in_a_fork(family) == "True True True"
    assert process_id() == os.getpid()


_FORKS_IN_C = """
import ctypes, os, signal
from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.processid import process_id
value = PerProcess(os.getpid)
assert (value(), process_id()) == (os.getpid(), os.getpid())
child = ctypes.PyDLL(None).fork()
if child == 0:
    signal.alarm(10)
    os._exit(0 if process_id() == os.getpid() == value() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert value() == os.getpid()
"""


@pytest.mark.skipif(not hasattr(ctypes, "PyDLL"), reason="needs the C library")
def test_a_server_in_c_that_forks_without_a_word_to_python_is_noticed():
    # uWSGI runs none of the hooks of os.register_at_fork. In a process of its own: where another thread wants
    # to go on at that moment, the child would wait for it for ever, because Python knows nothing of the fork.
    done = subprocess.run([sys.executable, "-c", _FORKS_IN_C], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_where_no_memory_is_cleared_by_a_fork_the_system_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processid, "_MADV_WIPEONFORK", -1)
    asked = ProcessID().current
    assert asked() == os.getpid()
    assert in_a_fork(lambda: str(asked() == os.getpid())) == "True"


def test_threads_that_ask_first_in_a_new_process_agree():
    def ask() -> str:
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(process_id())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return str(set(found) == {os.getpid()})

    process_id()
    assert in_a_fork(ask) == "True"
