"""Programs that run beside the benchmark: started, waited for, measured, ended."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import lab_path  # noqa: F401

# isort: split
from lab.servers import Server, members


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


class Program(Server):
    """A process whose memory and processor time are measured. Leaving the block ends its session."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def wait_for_port(self, port: int, seconds: float = 60) -> None:
        """Return when *port* of 127.0.0.1 accepts connections.

        :raises RuntimeError: when the program ended, or *seconds* went by before that.
        """
        try:
            self.wait_for_ports([port], seconds)
        except AssertionError:
            lines = self._lines() or [""]
            raise RuntimeError(f"{Path(self.command[0]).name} did not start: {lines[-1]}") from None

    def complaints(self, most: int = 10) -> list[str]:
        """Return the first lines of its log that warn of something or tell of an error."""
        marks = (" WARNING ", " ERROR ", "level=warning", "level=error")
        return [line[:400] for line in self._lines() if any(mark in line for mark in marks)][:most]

    def processes(self) -> list[int]:
        """Return the ids of its processes, children of children included."""
        return members(self.process.pid)

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

    def _lines(self) -> list[str]:
        return [*self.stdout.splitlines(), *self.stderr.splitlines()]


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
