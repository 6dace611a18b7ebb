"""How many events of notifications a second one process delivers to an endpoint on the same machine.

    python benchmarks/events.py [EVENTS]

Events of ten repositories wait in a spool in a new directory. The time is that from the first look to the
last event's note. The endpoint is an HTTP server in a process of its own, and the same behind TLS.
"""

from __future__ import annotations

import multiprocessing
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import lab_path  # noqa: F401
from lab.event_receiver import receiving
from lab.tls import running_tls, write_certificate

from cfmiddleware.notifications.delivery import Line
from cfmiddleware.notifications.endpoint import Endpoint
from cfmiddleware.notifications.entries import Entry
from cfmiddleware.notifications.spool import Spool

_EVENT = '{"id":"%d","action":"pull","target":{"repository":"app"}}'


def endpoint(certificate: Path, pipe: Any) -> None:
    """Be the endpoint, with and without TLS, until the pipe's other end is closed."""
    with receiving() as receiver, running_tls(receiver.port, certificate) as port:
        pipe.send((receiver.port, port))
        pipe.recv()
        pipe.send((len(receiver.taken), receiver.connections))


def delivered(directory: Path, url: str, events: int) -> float:
    """Return the seconds that *events* took."""
    spool = Spool(directory)
    spool.check()
    for at in range(0, events, 100):
        spool.add(
            [Entry("a", f"team/app{n % 10}", "pull", _EVENT % n) for n in range(at, min(at + 100, events))]
        )
    ended = threading.Event()
    line = Line(spool, Endpoint("a", url, timeout=5), ended)
    turn = spool.turn(["a"])
    if turn is None:
        raise AssertionError("another process delivers")
    thread = threading.Thread(target=line.run, args=(turn,))
    began = time.perf_counter()
    thread.start()
    while spool.waiting("a", limit=1):
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    ended.set()
    thread.join()
    turn.give_up()
    return seconds


def main(events: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        certificate = directory / "certificate.pem"
        write_certificate(certificate)
        trusting = ssl.create_default_context(cafile=str(certificate))
        ssl.create_default_context = lambda *arguments, **more: trusting
        here, there = multiprocessing.Pipe()
        process = multiprocessing.Process(target=endpoint, args=(certificate, there), daemon=True)
        process.start()
        ports = here.recv()
        for scheme, port in zip(("http", "https"), ports, strict=True):
            seconds = delivered(directory / scheme, f"{scheme}://127.0.0.1:{port}/event", events)
            print(f"{scheme:6}{events / seconds:8.0f} events/s")
        here.send(None)
        print("taken, connections:", *here.recv())
        process.join()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 2000)
