"""How many redirects a registry answers while a collection runs, and while none does, in turns."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from collect_images import driver_of, fill
from collect_runs import GC
from registries import OURS, running

_BUCKET = "beside"
_SCRIPT = Path(__file__).with_name("redirect.lua")
_ROUNDS = 5

#: How a collection is run beside: with a few requests at a time, as in the background.
OPTIONS = ("--dry-run", "--parallel", "1")


def redirects_beside(home: Path, gateway: Any, images: int, seconds: int) -> dict[str, Any]:
    """Return redirects a second with and without a collection beside them, which begins again and again."""
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk is not installed; Debian has it: apt-get install wrk")
    gateway.new_bucket(_BUCKET)
    paths = home / "paths"
    paths.write_text("\n".join(fill(driver_of(gateway.endpoint, _BUCKET), range(images))) + "\n")
    rates: dict[str, list[float]] = {"alone": [], "beside": []}
    with running(OURS, home / "served", gateway.endpoint, _BUCKET, edge=True) as registry:
        _wrk(registry.port, paths, 3)
        for number in range(2 * _ROUNDS):
            # Which one goes first changes from round to round.
            beside = number % 4 in (1, 2)
            loop = _again_and_again([*GC, str(home / "served" / "config.yml"), *OPTIONS]) if beside else None
            try:
                rates["beside" if beside else "alone"].append(_wrk(registry.port, paths, seconds))
            finally:
                if loop is not None:
                    # With the collection that it has begun.
                    os.killpg(loop.pid, signal.SIGTERM)
                    loop.wait()
                    time.sleep(1)
    alone, beside_it = median(rates["alone"]), median(rates["beside"])
    return {"images": images, "rates": rates, "lost": 1 - beside_it / alone, "options": list(OPTIONS)}


def _again_and_again(command: Sequence[str]) -> subprocess.Popen[bytes]:
    loop = (
        "import subprocess, sys\n"
        "while True: subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"
    )
    return subprocess.Popen([sys.executable, "-c", loop, *command], start_new_session=True)


def _wrk(port: int, paths: Path, seconds: int) -> float:
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "10s", "-s", str(_SCRIPT)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}", "--", str(paths), "random", "0", "0", "all"],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if found["wrong"] or found["socket_errors"]:
        raise RuntimeError(f"wrk: {found['wrong']} answers were no redirects")
    rate: float = found["requests"] / found["seconds"]
    return rate
