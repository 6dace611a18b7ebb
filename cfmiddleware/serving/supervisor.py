"""Several apps served by one command: a gunicorn for each, started together and ended together.

The process of the command binds the ports, so that a port that is taken is one line before anything starts.
It forks a gunicorn for each app, and waits. It has no threads and no connections when it forks.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cfmiddleware.config.address import SocketPath
from cfmiddleware.health.board import Board

from .allocator import give_back_large_blocks
from .master import serve
from .services import DEBUG, Service
from .signals import (
    die_with_parent,
    end_at_signals,
    ending_signals,
    let_in,
    signal_all,
    signals_held,
    terminal_watch,
)
from .systemd import Notifier

if TYPE_CHECKING:
    from types import FrameType

_log = logging.getLogger("cfmiddleware")


class Drain(NamedTuple):
    """How a server leaves its place behind a balancer before it stops.

    :param board: where the balancer is told.
    :param seconds: how long the server goes on, so that the balancer notices.
    """

    board: Board
    seconds: int


def run(services: Sequence[Service], drain: Drain | None = None) -> int:
    """Serve until a signal comes or one of the services ends, and return the exit status.

    SIGHUP has the services read their configuration again, unless it says that the terminal has gone.

    :param drain: what comes between a SIGTERM and the end of the services; None for nothing.
    """
    has_lost_terminal = terminal_watch()
    systemd = Notifier()
    children: dict[int, str] = {}
    signals: list[int] = []
    stops: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not has_lost_terminal():
            signal_all(children, number)
            return
        systemd.tell("STOPPING=1")
        if not signals:
            _log.info("stopping: %s", signal.Signals(number).name)
        signals.append(number)
        if drain is not None:
            drain.board.drain()
            if len(signals) == 1 and number == signal.SIGTERM and drain.seconds:
                _log.info("not ready any more; going on for %d s (http.draintimeout)", drain.seconds)
                signal.setitimer(signal.ITIMER_REAL, drain.seconds)
                return
            signal.setitimer(signal.ITIMER_REAL, 0)
        stop()

    def stop(number: int = 0, frame: FrameType | None = None) -> None:
        # The first time lets requests under way end, a second one cuts them off. Who asks how the registry is
        # gets an answer for as long as there is one.
        stops.append(number)
        served = {pid: name for pid, name in children.items() if name != DEBUG} or children
        signal_all(served, signal.SIGTERM if len(stops) == 1 else signal.SIGINT)

    command = os.getpid()
    with signals_held():
        for service in services:
            pid = os.fork()
            if pid == 0:
                others = [other for other in services if other is not service]
                _serve_in_child(service, others, command)
            children[pid] = service.name
        for number in ending_signals():
            signal.signal(number, pass_on)
        signal.signal(signal.SIGALRM, stop)
    let_in()
    for service in services:
        service.socket.close()
    systemd.tell("READY=1")

    status = 0
    while children:
        pid, outcome = os.wait()
        name = children.pop(pid, None)
        if name is not None and not signals:
            print(f"cfmiddleware: the {name} has stopped by itself; stopping the rest", file=sys.stderr)
            status = os.waitstatus_to_exitcode(outcome) or 1
            signals.append(0)
            stop()
        if name is not None and stops and set(children.values()) == {DEBUG}:
            signal_all(children, signal.SIGTERM)
    for service in services:
        if isinstance(service.served.address, SocketPath) and not service.is_given:
            Path(service.served.address).unlink(missing_ok=True)
    return 0 if status == 0 else 1


def _serve_in_child(service: Service, others: Sequence[Service], command: int) -> None:
    """Become the gunicorn of one service; this never returns.

    :param command: the process of the command.
    """
    status = 1
    try:
        # In a process group of its own, a child does not get the terminal's Ctrl-C: the command gets it and
        # ends its children in order. A child ends with the command, even if that is killed.
        os.setpgid(0, 0)
        # A Ctrl-C that came before that reached the command too, which sends a SIGTERM for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A SIGHUP that comes before gunicorn has its handlers is to be answered too; gunicorn lets it in.
        end_at_signals(signal.SIGHUP)
        die_with_parent(command)
        for other in others:
            other.socket.close()
        give_back_large_blocks()
        serve(service)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except Exception as error:  # noqa: BLE001 (no caller is left that could handle it)
        print(f"cfmiddleware: the {service.name} could not be started: {error!r}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
