"""A call of a function in a Python process of its own."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from lab.childwork import refuse, wait_at

from cfmiddleware.process import childcall
from cfmiddleware.process.childcall import ChildFailed, call_in_child
from cfmiddleware.registry.errors import RegistryError

_LONG = 60


def test_the_function_runs_in_another_process() -> None:
    assert call_in_child(_LONG, os.getpid) != os.getpid()


def test_arguments_are_passed_and_the_result_may_be_large() -> None:
    assert call_in_child(_LONG, json.loads, b"[" + b"1," * 400_000 + b"1]") == [1] * 400_001
    assert call_in_child(_LONG, int, "ff", base=16) == 255


def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        call_in_child(_LONG, int, "x")


def test_an_answer_to_a_client_is_raised_whole() -> None:
    with pytest.raises(RegistryError) as caught:
        call_in_child(_LONG, refuse)
    with pytest.raises(RegistryError) as wanted:
        refuse()
    assert vars(caught.value) == vars(wanted.value)
    assert str(caught.value) == str(wanted.value)


def test_other_threads_go_on_meanwhile(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    other = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"",), daemon=True)
    other.start()
    call_in_child(_LONG, wait_at, str(tmp_path / "pipe"))
    other.join()


def test_the_process_has_nothing_open_that_this_one_has(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        os.set_inheritable(file.fileno(), True)
        found = call_in_child(_LONG, os.listdir, "/proc/self/fd")
    assert {*found} <= {"0", "1", "2", "3"}  # the last is the listing's own


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ((os._exit, 3), "the process ended with status 3"),
        ((signal.raise_signal, signal.SIGKILL), "the process ended with signal 9"),
    ],
)
def test_a_process_that_ends_without_an_answer_is_an_error(call: tuple, why: str) -> None:
    with pytest.raises(ChildFailed, match=why):
        call_in_child(_LONG, *call)


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    started, start = [], childcall._started
    monkeypatch.setattr(childcall, "_started", lambda *given: started.append(start(*given)) or started[0])
    with pytest.raises(ChildFailed, match=r"it took more than 0\.5 seconds"):
        call_in_child(0.5, wait_at, str(tmp_path / "pipe"))
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_python_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(childcall, "interpreter", lambda: "/nowhere/python")
    with pytest.raises(ChildFailed, match="/nowhere/python cannot be started: No such file"):
        call_in_child(_LONG, os.getpid)


@pytest.mark.parametrize("what", ["_file", "pipe"])
def test_a_system_that_has_no_more_files_is_an_error(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(childcall, what, fail)
    with pytest.raises(ChildFailed, match="cannot be started: Too many open files"):
        call_in_child(_LONG, os.getpid)


def test_no_descriptor_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    call_in_child(_LONG, os.getpid)
    with pytest.raises(ValueError, match="invalid literal"):
        call_in_child(_LONG, int, "x")
    with pytest.raises(ChildFailed):
        call_in_child(_LONG, os._exit, 1)
    assert os.listdir("/proc/self/fd") == before


def test_a_server_without_standard_streams_calls_as_well(tmp_path: Path) -> None:
    program = (
        "import os; os.close(0); os.close(1); os.close(2)\n"
        "from cfmiddleware.process.childcall import call_in_child\n"
        f"open({str(tmp_path / 'said')!r}, 'w').write(str(call_in_child({_LONG}, sum, [1, 2])))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=_LONG)
    assert (tmp_path / "said").read_text() == "3"


def test_greenlets_go_on_meanwhile(tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    os.mkfifo(tmp_path / "pipe")
    program = (
        "from gevent import monkey, spawn; monkey.patch_all()\n"
        "import pathlib, sys\n"
        "from cfmiddleware.process.childcall import call_in_child\n"
        "from cfmiddleware.process.offload import offload\n"
        "pipe = pathlib.Path(sys.argv[1])\n"
        "waiting = spawn(offload, call_in_child, 60, pathlib.Path.read_bytes, pipe)\n"
        "import gevent; gevent.sleep(0.1)\n"
        "offload(pipe.write_bytes, b'hello')\n"
        "print(waiting.get().decode())"
    )
    run = [sys.executable, "-c", program, str(tmp_path / "pipe")]
    done = subprocess.run(run, check=False, timeout=_LONG, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_a_deadline_counts_from_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with pytest.raises(ChildFailed):
        call_in_child(0.0, time.sleep, _LONG)
    assert time.monotonic() - began < _LONG
