"""Signals that whoever started pytest has ignored, as ``nohup`` and a shell's ``&`` do.

A program that is started inherits what is ignored, and not what is handled (execve(2)). Tests send signals to
the programs that they start, so here a handler that does nothing takes the place of the ignoring.
"""

from __future__ import annotations

import signal
from types import FrameType

_SENT = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def ignore_alone() -> None:
    """Ignore in this process what it was told to ignore, and in none that it starts."""
    for number in _SENT:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignored)


def _ignored(number: int, frame: FrameType | None) -> None:
    """Do nothing."""
