"""A call of a function in a Python process of its own: for work that computes for long.

A thread is not enough for it. All threads of a process share the interpreter's lock, and a parser written in
C keeps it until it is done.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar, cast

from .childprocess import above_standard, interpreter, pipe, python_path
from .waiting import original

P = ParamSpec("P")
R = TypeVar("R")

# What the child does first: to let go of what this process has open, such as the sockets that it listens on.
_BEGIN = "import os; os.closerange(3, 1 << 20); from cfmiddleware.process.childcall import main; main()"

# Behind the requests that the machine has to answer meanwhile.
_NICE = 5

_PIECE = 1 << 16


class ChildFailed(Exception):
    """The process could not be started, or ended or waited without an answer; the message is one line."""


def call_in_child(seconds: float, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Return what *function* returns in another process; the interpreter's lock is free meanwhile.

    The function, what it is given and what it returns or raises must be such that pickle takes them. It costs
    some 50 ms more than the call itself. Under gevent it blocks the thread, so that :func:`offload` calls it.

    :param seconds: how long it may take.
    :raises ChildFailed: when there is no answer.
    :raises Exception: what the function raises.
    """
    try:
        said, status = _asked(seconds, (function, arguments, keywords))
    except TimeoutError:
        raise ChildFailed(f"it took more than {seconds:g} seconds") from None
    except OSError as error:
        raise ChildFailed(f"{interpreter()} cannot be started: {error.strerror}") from None
    if not said:
        raise ChildFailed(f"the process ended with {status}")
    try:
        raised, result = pickle.loads(said)  # noqa: S301 (of our own process)
    except Exception as error:  # noqa: BLE001 (whatever a constructor raises)
        raise ChildFailed(f"its answer cannot be read: {error}") from None
    if raised is not None:
        raise raised
    return cast(R, result)


def main() -> None:
    """Do what the process that started this one has asked for, and write the answer."""
    os.nice(_NICE)
    function, arguments, keywords = pickle.load(sys.stdin.buffer)  # noqa: S301 (of the server)
    error: Exception | None = None
    result: object = None
    try:
        result = function(*arguments, **keywords)
    except Exception as raised:  # noqa: BLE001 (the caller raises it)
        error = raised
    said = memoryview(pickle.dumps((error, result), protocol=pickle.HIGHEST_PROTOCOL))
    while said:
        said = said[os.write(1, said) :]
    # What was made of the bytes need not be taken apart.
    os._exit(0)


def _asked(seconds: float, job: object) -> tuple[bytes, str]:
    """Return what a new process has said to a job, and how it ended.

    :raises OSError: when the system has no file, no pipe or no process for it.
    :raises TimeoutError: when it took too long.
    """
    with _file() as given:
        pickle.dump(job, given, protocol=pickle.HIGHEST_PROTOCOL)
        given.flush()
        given.seek(0)
        out, into = pipe()
        with open(out, "rb", buffering=0) as answer:
            try:
                pid = _started(given.fileno(), into)
            finally:
                os.close(into)
            said = b""
            try:
                said = _read(answer.fileno(), time.monotonic() + seconds)
            finally:
                status = _ended(pid, kill=not said)
    return said, status


def _file() -> BinaryIO:
    """Return a file that has no name, in memory where the system has such files."""
    with contextlib.suppress(AttributeError, OSError):
        return open(above_standard(os.memfd_create("cfmiddleware")), "w+b")
    return cast(BinaryIO, tempfile.TemporaryFile())


def _started(given: int, into: int) -> int:
    """Start Python with *given* as its standard input and *into* as its standard output."""
    own = str(Path(__file__).parents[2])
    # Not gevent's, which watches the process from the main thread.
    return cast(
        int,
        original("os", "posix_spawn")(
            interpreter(),
            # Without site, which takes as long to load as all that is needed.
            [interpreter(), "-P", "-S", "-c", _BEGIN],
            {**os.environ, "PYTHONPATH": os.pathsep.join((own, python_path()))},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, given, 0),
                (os.POSIX_SPAWN_DUP2, into, 1),
                # A trace would tear the log's lines apart; how the process ended is in the error.
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD, signal.SIGHUP),
        ),
    )


def _read(descriptor: int, deadline: float) -> bytes:
    """Read to the end.

    :raises TimeoutError: if that does not come in time.
    """
    # Not select, which ends at 1024 descriptors.
    poll = original("select", "poll")()
    poll.register(descriptor, select.POLLIN)
    said = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
        piece = os.read(descriptor, _PIECE)
        if not piece:
            return bytes(said)
        said += piece


def _ended(pid: int, *, kill: bool) -> str:
    """Wait for the end of a process, and return it in words."""
    if kill:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        _, status = original("os", "waitpid")(pid, 0)
    except ChildProcessError:  # the server waits for whatever ends
        return "an unknown status"
    code = os.waitstatus_to_exitcode(status)
    return f"status {code}" if code >= 0 else f"signal {-code}"
