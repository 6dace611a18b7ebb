"""A Python process beside a server: for work that computes for long, at the lowest priority.

Under gevent, and in any process whose threads share one interpreter, such work would keep requests waiting.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from pathlib import Path

# The descriptors of a pipe must not be those that they become in the child.
_LOWEST = 3

_LONGEST = 1 << 20


class ChildProcess:
    """A process that runs a module of this package.

    It gets what it needs on its standard input, which stays open for as long as this process lives: when it
    ends, however that happens, the child sees the end of the input. What the child says is what it writes to
    its standard output before it ends; it has room for 64 KiB.

    Nothing is forked but by the system itself, so that there may be threads, greenlets and connections here.

    :param module: the module's name.
    :param given: what the child reads first: its length in a line, and the bytes.
    :raises OSError: when it cannot be started.
    """

    def __init__(self, module: str, given: bytes) -> None:
        child_reads, self._input = pipe()
        self._output, child_writes = pipe()
        try:
            self.pid = os.posix_spawn(
                interpreter(),
                [interpreter(), "-m", module],
                {**os.environ, "PYTHONPATH": python_path()},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, child_reads, 0),
                    (os.POSIX_SPAWN_DUP2, child_writes, 1),
                ],
                # Not the terminal's Ctrl-C and not what the server does with its signals.
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD, signal.SIGHUP),
            )
        except BaseException:
            os.close(self._input)
            os.close(self._output)
            raise
        finally:
            os.close(child_reads)
            os.close(child_writes)
        self._said = b""
        self._ended = False
        with contextlib.suppress(BrokenPipeError):
            _write(self._input, b"%d\n" % len(given) + given)

    def has_ended(self) -> bool:
        """Return whether it has ended."""
        if self._ended:
            return True
        try:
            pid, _ = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # the server waits for whatever ends
            pid = self.pid
        if pid == 0:
            return False
        self._ended = True
        os.close(self._input)
        with open(self._output, "rb") as stream:
            self._said = stream.read(_LONGEST)
        return True

    @property
    def said(self) -> bytes:
        """What it has written, when it has ended."""
        return self._said

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal, unless it has ended: ask it to end, or kill it."""
        if not self._ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def interpreter() -> str:
    """Return the path of Python, also where the program that runs is a server that has it inside (uWSGI)."""
    if Path(sys.executable or "").name.startswith(("python", "pypy")):
        return sys.executable
    names = (f"python{sys.version_info.major}.{sys.version_info.minor}", "python3", "python")
    found = (Path(sys.exec_prefix, "bin", name) for name in names)
    return str(next((path for path in found if os.access(path, os.X_OK)), sys.executable or "python3"))


def python_path() -> str:
    """Return where the child finds what this process has found."""
    return os.pathsep.join(path for path in sys.path if path)


def pipe() -> tuple[int, int]:
    """Return a pipe's two ends, neither of which is one of the standard descriptors."""
    reads, writes = os.pipe()
    return above_standard(reads), above_standard(writes)


def above_standard(descriptor: int) -> int:
    """Return a descriptor of the same that cannot be in the way of a child's standard ones."""
    if descriptor >= _LOWEST:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
    os.close(descriptor)
    return moved


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
