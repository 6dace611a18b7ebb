"""Programs that run beside the benchmark: started, waited for, measured, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self


class MissingProgram(Exception):
    """A program that the benchmark drives is not installed; the message is one line."""


class Memory(NamedTuple):
    """What a program's processes needed.

    :param processes: how many there were.
    :param resident: the sum of each one's highest resident size (``VmHWM``), in bytes. Pages that processes
        share count for each, and the heights need not fall together: a bound from above.
    :param proportional: the highest sum of the proportional sizes seen in samples, in bytes; a page shared by
        four counts a quarter for each.
    """

    processes: int
    resident: int
    proportional: int


class Program:
    """A process in a session of its own, ended with its whole session when the block is left.

    :param command: the program and its arguments.
    :param log: the file that keeps what it writes.
    :param env: its environment; ours without it.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if env is None else dict(env),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for_port(self, port: int, seconds: float = 60) -> None:
        """Return when *port* of 127.0.0.1 accepts connections.

        :raises RuntimeError: when the program ended, or *seconds* went by before that.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.05)
        lines = self._log.read_text(errors="replace").splitlines() or [""]
        raise RuntimeError(f"{Path(self._command[0]).name} did not start: {lines[-1]}")

    def complaints(self, most: int = 10) -> list[str]:
        """Return the first lines of its log that warn of something or tell of an error."""
        marks = (" WARNING ", " ERROR ", "level=warning", "level=error")
        lines = self._log.read_text(errors="replace").splitlines()
        return [line[:400] for line in lines if any(mark in line for mark in marks)][:most]

    def processes(self) -> list[int]:
        """Return the ids of its processes, children of children included."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == self._process.pid:
                    found.append(int(entry.name))
        return found

    def cpu(self) -> float:
        """Return the seconds of processor time that its processes have used up to now."""
        ticks = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                # The fields after the name, which may hold anything: utime and stime are the 14th and 15th.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> Memory:
        """Return what its processes needed up to now."""
        ids = self.processes()
        return Memory(len(ids), sum(_field(pid, "status", "VmHWM:") for pid in ids), self.proportional())

    def proportional(self) -> int:
        """Return the sum of its processes' proportional sizes now, in bytes."""
        return sum(_field(pid, "smaps_rollup", "Pss:") for pid in self.processes())

    def stop(self) -> None:
        """End it, by force after ten seconds."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


class MemoryWatch:
    """Looks every quarter of a second what a program needs, while the block runs."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._highest = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def memory(self) -> Memory:
        """Return what the program needed up to now."""
        now = self._program.memory()
        return now._replace(proportional=max(now.proportional, self._highest))

    def _look(self) -> None:
        while not self._done.wait(0.25):
            self._highest = max(self._highest, self._program.proportional())


def _field(pid: int, file: str, name: str) -> int:
    """Return a size from a file of ``/proc``, in bytes; 0 for a process that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nothing listens on."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports
