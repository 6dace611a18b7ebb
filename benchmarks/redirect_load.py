"""Load for servers that redirect: wrk as fast as they answer or at a rate, hey at a rate, and a warm-up.

All of them look at every answer: one that is no redirect to a signed URL ends the benchmark.
"""

from __future__ import annotations

import contextlib
import csv
import http.client
import io
import json
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import redirect_store
from programs import MissingProgram
from redirect_servers import Server

#: Connections at the same time.
CONNECTIONS = 16

_SCRIPT = Path(__file__).with_name("redirect.lua")


class WrongAnswer(Exception):
    """A server gave something else than a redirect to a signed URL; the message is one line."""


class Load(NamedTuple):
    """What a run of wrk asks for.

    :param paths: a file with one path a line.
    :param mode: ``random`` or ``sequence``.
    :param first: where the sequence starts; seeds the random order.
    """

    paths: Path
    mode: str = "random"
    first: int = 0


def check() -> None:
    """See that the programs are there.

    :raises MissingProgram: when one is not.
    """
    for name in ("wrk", "hey"):
        if shutil.which(name) is None:
            raise MissingProgram(f"{name} is not installed; Debian has it: apt-get install wrk hey")


def write_paths(file: Path, numbers: Iterable[int]) -> Path:
    """Write the paths of blobs to a file for :class:`Load`, and return it."""
    file.write_text("".join(f"{redirect_store.path(number)}\n" for number in numbers))
    return file


def wrk(server: Server, load: Load, seconds: float, *, rate: float = 0, look: str = "all") -> dict[str, Any]:
    """Ask for *seconds* on 16 connections, and return what came out: ``rate`` in requests a second, latencies
    in seconds, and the processor time that the server took for a request.

    :param rate: requests a second, evenly spaced; 0 for as many as there can be.
    :param look: ``all``: look at every answer; ``signatures``: count the different signatures as well;
        ``none``: leave it to wrk to see errors.
    :raises WrongAnswer: for an answer that is no redirect to a signed URL.
    """
    if seconds != int(seconds):
        raise ValueError("wrk runs for whole seconds")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{int(seconds)}s", "--timeout", "10s", "-s", str(_SCRIPT)]
    words = [str(load.paths), load.mode, str(load.first), f"{rate:.3f}", look]
    cpu = server.program.cpu()
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}", "--", *words],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"wrk failed: {(done.stderr or done.stdout).strip()[-300:]}") from None
    cpu = server.program.cpu() - cpu
    if found["wrong"] or found["socket_errors"] or not found["requests"]:
        raise WrongAnswer(
            f"{server.name}: of {found['requests']} answers {found['wrong']} were no signed redirect "
            f"(the last such status: {found['wrong_status'] or 'none'}); "
            f"{found['socket_errors']} connections failed"
        )
    wanted, rate, cost = rate, found["requests"] / found["seconds"], cpu * 1e6 / found["requests"]
    return {"rate": rate, "wanted_rate": wanted, "cpu_microseconds": cost, **found}


def hey(server: Server, number: int, seconds: int, rate: float) -> dict[str, Any]:
    """Ask for one blob at a rate on 16 connections; latencies in seconds.

    :param rate: requests a second, of all connections together.
    :raises WrongAnswer: for an answer that is no 307. hey does not show headers, so the signature is looked
        at before.
    """
    command = ["hey", "-z", f"{seconds}s", "-c", str(CONNECTIONS), "-q", f"{rate / CONNECTIONS:.3f}"]
    command += ["-disable-redirects", "-o", "csv"]
    url = f"http://127.0.0.1:{server.port}{redirect_store.path(number)}"
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=seconds + 60, check=False)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    if done.returncode or not rows:
        raise RuntimeError(f"hey failed: {done.stderr.strip()[-300:]}")
    wrong = sum(row["status-code"] != "307" for row in rows)
    if wrong:
        raise WrongAnswer(f"{server.name}: {wrong} of {len(rows)} answers to hey were no 307")
    return {"rate": len(rows) / seconds, "wanted_rate": rate, "requests": len(rows)} | percentiles(
        [float(row["response-time"]) for row in rows]
    )


def percentiles(latencies: list[float]) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentile, and the highest."""
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(latencies)}


def warm(server: Server, numbers: Iterable[int], connections: int = 1) -> None:
    """Ask each process of a server once for each blob, so that it knows the descriptors.

    :param connections: how many connections to each process share the work.
    :raises WrongAnswer: for an answer that is no redirect.
    """
    paths = [redirect_store.path(number) for number in numbers]
    errors: list[BaseException] = []

    def ask(connection: http.client.HTTPConnection, paths: list[str]) -> None:
        try:
            for path in paths:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                if response.status != 307:
                    raise WrongAnswer(f"{server.name}: {path} was answered with {response.status}")
        except Exception as error:  # noqa: BLE001 (told to the thread that waits)
            errors.append(error)

    with contextlib.ExitStack() as stack:
        threads = [
            threading.Thread(target=ask, args=(connection, paths[place::connections]))
            for own in _to_each(server, connections, stack)
            for place, connection in enumerate(own)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _to_each(
    server: Server, count: int, stack: contextlib.ExitStack
) -> Iterable[list[http.client.HTTPConnection]]:
    """Return so many connections to each of a server's processes that answer requests."""
    found: dict[int, list[http.client.HTTPConnection]] = {}
    for _ in range(500):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        stack.callback(connection.close)
        # Asked something first, so that a process has taken the connection.
        connection.request("GET", redirect_store.path(0))
        connection.getresponse().read()
        owner = _owner(server, connection.sock.getsockname()[1])
        own = found.setdefault(owner, []) if owner is not None else []
        if len(own) < count:
            own.append(connection)
        if len(found) == server.serving and all(len(own) == count for own in found.values()):
            return found.values()
    raise RuntimeError(f"{server.name}: only {len(found)} of {server.serving} processes take connections")


def _owner(server: Server, port: int) -> int | None:
    """Return the process of a server that has the other end of the connection from our *port*."""
    ends = f":{server.port:04X}", f":{port:04X}"
    for _ in range(20):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if not (fields[1].endswith(ends[0]) and fields[2].endswith(ends[1])):
                continue
            owner = _holder(server, f"socket:[{fields[9]}]")
            if owner is not None:
                return owner
        time.sleep(0.01)
    return None


def _holder(server: Server, socket: str) -> int | None:
    for process in server.program.processes():
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(entry.readlink()) == socket:
                        return process
    return None
