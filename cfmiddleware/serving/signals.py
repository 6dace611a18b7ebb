"""Signals that end a process, around forks, and the end of a process with its parent.

A signal that comes while a process forks is handled in one of the functions that Python calls around the
fork. The exception that it raises there is printed and forgotten, so a Ctrl-C would be lost. Therefore they
are held while a process forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

#: What ends the command and its servers.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

_PR_SET_PDEATHSIG = 1  # prctl(2)


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end the command, without a SIGHUP that ``nohup`` has it ignore."""
    return [
        number
        for number in ENDING
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold the signals that end a process until the block is left."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_in(*but: signal.Signals) -> None:
    """Let in the signals that end a process, and a SIGHUP that came before there were servers.

    :param but: those that are still held.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, set(ENDING) - {*but})


def end_at_signals(*but: signal.Signals) -> None:
    """End :func:`signals_held` in a child, where a signal ends the process at once.

    :param but: those that are still held.
    """
    for number in ending_signals():
        signal.signal(number, signal.SIG_DFL)
    let_in(*but)


def signal_all(children: Mapping[int, str], number: int) -> None:
    """Send a signal to all of *children*, which are known by their process ids."""
    for pid in children:
        with contextlib.suppress(ProcessLookupError):  # waited for, but not yet taken off the list
            os.kill(pid, number)


def die_with_parent(parent: int) -> None:
    """Ask the kernel for a SIGTERM when the parent dies. A system that cannot do that goes without."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(1)


def terminal_watch() -> Callable[[], bool]:
    """Return a function that tells whether this process has lost the terminal that it has now.

    A terminal that goes sends SIGHUP, as does who wants the configuration read again.
    """
    if not _has_terminal():
        return lambda: False
    return lambda: not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def ending_well(serve: Callable[[], int]) -> int:
    """Call *serve*, which starts servers and waits for them, and return the exit status.

    A signal that comes before the servers run ends the command as a later one does. A SIGHUP that does not
    say that the terminal has gone waits for them, until :func:`let_in`.
    """
    has_lost_terminal = terminal_watch()

    def hold(number: int, frame: FrameType | None) -> None:
        if has_lost_terminal():
            raise KeyboardInterrupt
        signal.pthread_sigmask(signal.SIG_BLOCK, (number,))
        os.kill(os.getpid(), number)

    for number in ending_signals():
        signal.signal(number, hold if number == signal.SIGHUP else signal.default_int_handler)
    try:
        return serve()
    except KeyboardInterrupt:
        return 0
