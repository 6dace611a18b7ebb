"""Compare WSGI servers by warm redirects a second: our registry behind the wrapper, and a wrapped Flask app.

Run it as ``python benchmarks/servers.py``; it writes ``results/servers.md``. The servers run one after the
other with the options of ``tests/lab/wsgi_servers.py``, in several rounds, each beside gunicorn's gthread.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import lab_path  # noqa: F401
from lab.servers import members
from lab.wsgi_servers import SERVERS, WSGIServer, serving
from machine import cores, end_as_by_ctrl_c, processor

from cfmiddleware.digest import Digest

_BASE = "gunicorn gthread"
_APPS = {"own": "registry", "flask": "Flask app"}
_CONTENT = b"a blob" * 1000
_DIGEST = Digest.of(_CONTENT)
_RESULT = Path(__file__).parent / "results" / "servers.md"


#: A server's session of processes, and its port.
Place = tuple[int, int]


class Measured(NamedTuple):
    """Redirects a second, the same as a multiple of the base, and the microseconds of processor for each."""

    rate: float
    ratio: float
    cost: float


def main() -> int:
    """Run the rounds, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is started")
    parser.add_argument("--turns", type=int, default=4, help="how often it is measured each time")
    parser.add_argument("--seconds", type=int, default=2, help="of each run of wrk")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("servers: wrk is not installed; Debian has it: apt-get install wrk", file=sys.stderr)
        return 2
    end_as_by_ctrl_c()
    servers = [server for server in SERVERS if not server.missing()]
    (base,) = (server for server in servers if server.name == _BASE)
    found: dict[tuple[str, str], list[Measured]] = {}
    for app in _APPS:
        # It runs all the time: what else the machine does changes from minute to minute.
        with _ready(base, app) as beside:
            for number in range(arguments.rounds):
                for server in servers if number % 2 else reversed(servers):
                    with _ready(server, app) as place:
                        turns = [_turn(place, beside, arguments.seconds) for _ in range(arguments.turns)]
                    found.setdefault((server.name, app), []).extend(turns)
                    print(f"{app}, round {number + 1}: {server.name}: {turns}", file=sys.stderr, flush=True)
    text = _report(found, servers, arguments.rounds * arguments.turns, arguments.seconds)
    _RESULT.write_text(text)
    print(text)
    return 0


@contextlib.contextmanager
def _ready(server: WSGIServer, app: str) -> Iterator[Place]:
    """Run a server with a blob in its app, each process of it asked before."""
    home = tempfile.TemporaryDirectory(prefix="servers-")
    with home as here, serving(server, Path(here), app) as (process, port):
        _push(port)
        place = process.process.pid, port
        _rate(place, 1)
        yield place


def _turn(place: Place, beside: Place, seconds: int) -> Measured:
    """Measure a server between two measurements of the base."""
    before, _ = _rate(beside, seconds)
    rate, cost = _rate(place, seconds)
    after, _ = _rate(beside, seconds)
    return Measured(rate, 2 * rate / (before + after), cost)


def _rate(place: Place, seconds: int) -> tuple[float, float]:
    """Return the redirects a second of a server, and the processor time of each in microseconds."""
    session, port = place
    path = f"/v2/app/blobs/{_DIGEST}"
    _ask(port, "GET", path, 307)
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", f"http://127.0.0.1:{port}{path}"]
    before = _processor_time(session)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    used = _processor_time(session) - before
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    total = re.search(r"(\d+) requests in", done.stdout)
    if rate is None or total is None or "Non-2xx" in done.stdout:
        raise RuntimeError(f"port {port}: {done.stdout}")
    return float(rate[1]), used * 1e6 / int(total[1])


def _processor_time(session: int) -> float:
    """Return the seconds that the processes of a session have used."""
    ticks = 0
    for process in members(session):
        with contextlib.suppress(OSError):
            ticks += sum(
                map(int, Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[11:13])
            )
    return ticks / os.sysconf("SC_CLK_TCK")


def _push(port: int) -> None:
    location = _ask(port, "POST", "/v2/app/blobs/uploads/", 202).headers["Location"]
    path = re.sub(r"^https?://[^/]+", "", location)
    location = _ask(port, "PATCH", path, 202, _CONTENT).headers["Location"]
    path = re.sub(r"^https?://[^/]+", "", location)
    _ask(port, "PUT", f"{path}?digest={_DIGEST}", 201)


def _ask(
    port: int, method: str, path: str, status: int, body: bytes | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != status:
        raise RuntimeError(f"{method} {path} was answered with {answer.status}")
    return answer


def _report(
    found: dict[tuple[str, str], list[Measured]],
    servers: list[WSGIServer],
    turns: int,
    seconds: int,
) -> str:
    lines = [
        "# Warm redirects under WSGI servers",
        "",
        f"{datetime.now(UTC):%d %B %Y}, {processor()}, {cores()} cores that the load and other work share.",
        f"`wrk -t1 -c16`, one blob, medians of {turns} turns of {seconds} s; each ratio is to",
        f"{_BASE}, asked right before and right after. Made by `benchmarks/servers.py`.",
        "",
        "| server | "
        + " | ".join(f"{name}: requests/s | ratio | processor, µs" for name in _APPS.values())
        + " |",
        "| --- | " + " | ".join(["---: | ---: | ---:"] * len(_APPS)) + " |",
    ]
    for server in servers:
        cells = [server.name]
        for app in _APPS:
            rates, ratios, costs = zip(*found[server.name, app], strict=True)
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            cells += [f"{statistics.median(rates):,.0f}", f"{middle:.2f} ({low:.2f} to {high:.2f})"]
            cells += [f"{statistics.median(costs):.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
