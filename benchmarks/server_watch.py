"""What a server's processes hold, looked at again and again while it works."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from programs import Program


class Sample(NamedTuple):
    """One look at a server.

    :param at: when, by the machine's monotonic clock, which all processes share.
    :param proportional: the sum of the processes' proportional sizes (PSS), in bytes.
    :param descriptors: how many descriptors they have open.
    :param processes: how many they are.
    """

    at: float
    proportional: int
    descriptors: int
    processes: int


class ServerWatch:
    """Looks at a program every *interval* seconds while the block runs.

    :param limit: the bytes of memory at which the program is killed, before the machine runs out of it.
    :ivar killed: whether that happened.
    """

    killed = False

    def __init__(self, program: Program, interval: float = 0.5, limit: int = 8 << 30) -> None:
        self._program = program
        self._interval = interval
        self._limit = limit
        self._samples: list[Sample] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def samples(self) -> list[Sample]:
        """Return what was seen up to now, oldest first."""
        return list(self._samples)

    def now(self) -> Sample:
        """Look once."""
        processes = self._program.processes()
        return Sample(
            time.monotonic(), self._program.proportional(), sum(map(_open, processes)), len(processes)
        )

    def outgoing(self, port: int) -> int:
        """Return how many TCP connections its processes have that no client made, such as to a storage.

        :param port: where its clients are.
        """
        made = {inode for local, inode in _tcp_sockets() if local != port}
        return sum(len(made & _sockets(process)) for process in self._program.processes())

    def _look(self) -> None:
        while not self._done.wait(self._interval):
            self._samples.append(now := self.now())
            if now.proportional > self._limit:
                self.killed = True
                for process in self._program.processes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)


def _tcp_sockets() -> Iterator[tuple[int, str]]:
    """Yield the local port and the inode of each TCP socket of the machine (proc(5), ``/proc/net/tcp``)."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for row in Path(table).read_text().splitlines()[1:]:
                fields = row.split()
                yield int(fields[1].rpartition(":")[2], 16), f"socket:[{fields[9]}]"


def _sockets(process: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{process}/fd/{entry}"))
    return found


def _open(process: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{process}/fd"))
    return 0
