"""Compare WSGI servers by warm redirects a second: our registry behind the wrapper, and a wrapped Flask app.

Run it as ``python benchmarks/servers.py``; it writes ``results/servers.md``. The servers run one after the
other with the options of ``tests/lab/wsgi_servers.py``, in several rounds; a ratio is that of one round.
"""

from __future__ import annotations

import argparse
import http.client
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import lab_path  # noqa: F401
from lab.wsgi_servers import SERVERS, WSGIServer, serving
from machine import cores, end_as_by_ctrl_c, processor

from cfmiddleware.digest import Digest

_BASE = "gunicorn gthread"
_APPS = {"own": "registry", "flask": "Flask app"}
_CONTENT = b"a blob" * 1000
_DIGEST = Digest.of(_CONTENT)
_RESULT = Path(__file__).parent / "results" / "servers.md"


def main() -> int:
    """Run the rounds, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("servers: wrk is not installed; Debian has it: apt-get install wrk", file=sys.stderr)
        return 2
    end_as_by_ctrl_c()
    servers = [server for server in SERVERS if not server.missing()]
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(arguments.rounds):
        for server in servers if number % 2 else reversed(servers):
            for app in _APPS:
                rate = _rate(server, app, arguments.seconds)
                rates.setdefault((server.name, app), []).append(rate)
                print(f"round {number + 1}: {server.name}, {app}: {rate:.0f}", file=sys.stderr, flush=True)
    text = _report(rates, servers, arguments.rounds, arguments.seconds)
    _RESULT.write_text(text)
    print(text)
    return 0


def _rate(server: WSGIServer, app: str, seconds: int) -> float:
    """Return the redirects a second under a server that was started for it."""
    with (
        tempfile.TemporaryDirectory(prefix="servers-") as here,
        serving(server, Path(here), app) as (_, port),
    ):
        path = f"/v2/app/blobs/{_DIGEST}"
        _push(port)
        load = ["wrk", "-t1", "-c16", f"http://127.0.0.1:{port}{path}"]
        subprocess.run([*load, "-d1s"], check=True, capture_output=True)  # every process has answered then
        done = subprocess.run([*load, f"-d{seconds}s"], check=True, capture_output=True, text=True)
        _ask(port, "GET", path, 307)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        raise RuntimeError(f"{server.name}: {done.stdout}")
    return float(found[1])


def _push(port: int) -> None:
    location = _ask(port, "POST", "/v2/app/blobs/uploads/", 202).headers["Location"]
    path = re.sub(r"^https?://[^/]+", "", location)
    _ask(port, "PATCH", path, 202, _CONTENT)
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
    rates: dict[tuple[str, str], list[float]], servers: list[WSGIServer], rounds: int, seconds: int
) -> str:
    lines = [
        "# Warm redirects under WSGI servers",
        "",
        f"{datetime.now(UTC):%d %B %Y}, {processor()}, {cores()} cores that the load and other work share.",
        f"`wrk -t1 -c16`, one blob, medians of {rounds} rounds of {seconds} s; each ratio is to",
        f"{_BASE} in the same round. Made by `benchmarks/servers.py`.",
        "",
        "| server | " + " | ".join(f"{name}: requests/s | ratio" for name in _APPS.values()) + " |",
        "| --- | " + " | ".join(["---: | ---:"] * len(_APPS)) + " |",
    ]
    for server in servers:
        cells = [server.name]
        for app in _APPS:
            own, base = rates[server.name, app], rates[_BASE, app]
            ratio = statistics.median(a / b for a, b in zip(own, base, strict=True))
            cells += [f"{statistics.median(own):,.0f}", f"{ratio:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
