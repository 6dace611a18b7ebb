"""What both benchmarks say of the machine, and how both are ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType


def processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unknown processor"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: what it started is ended first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
