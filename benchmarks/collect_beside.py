"""How many redirects a registry answers while a collection runs, and while none does, in turns."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from collect_memory_s3 import BUCKET, Contents, blob_paths
from collect_memory_s3 import running as running_s3
from collect_runs import GC
from registries import OURS, running

_SCRIPT = Path(__file__).with_name("redirect.lua")
_ROUNDS = 5
_BLOBS = 1000

# How many requests to S3 the collection makes in a second. Its first look at so many manifests outlasts all
# rounds: one that is ended keeps what it has read, and the next goes on.
_RATES = (20, 100)
_CONTENTS = Contents(30_000, 30)


def redirects_beside(home: Path, seconds: int) -> dict[str, Any]:
    """Return redirects a second without a collection, and with one at each rate."""
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk is not installed; Debian has it: apt-get install wrk")
    paths = home / "paths"
    paths.write_text("\n".join(blob_paths(_CONTENTS, _BLOBS)) + "\n")
    found: dict[str, list[float]] = {"alone": [], **{str(rate): [] for rate in _RATES}}
    with (
        running_s3(_CONTENTS) as s3,
        running(OURS, home / "served", s3.endpoint, BUCKET, edge=True, warm=True) as registry,
    ):
        _wrk(registry.port, paths, 5)
        for number in range(_ROUNDS):
            # Which one goes first changes from round to round.
            for name in [*found][:: 1 if number % 2 else -1]:
                with _collecting(home, name):
                    found[name].append(_wrk(registry.port, paths, seconds))
    alone = median(found["alone"])
    lost = {name: 1 - median(rates) / alone for name, rates in found.items() if name != "alone"}
    return {"blobs": _BLOBS, "manifests": _CONTENTS.manifests, "rates": found, "lost": lost}


@contextlib.contextmanager
def _collecting(home: Path, rate: str) -> Iterator[None]:
    """Run a collection at a rate, which has begun to look around, until the block is left."""
    if rate == "alone":
        yield
        return
    command = [*GC, str(home / "served" / "config.yml"), "--dry-run", "--requests-per-second", rate]
    with (home / "gc.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            time.sleep(4)
            yield
            if process.poll() is not None:
                raise RuntimeError(f"the collection ended: {(home / 'gc.log').read_text()[-300:]}")
        finally:
            process.send_signal(signal.SIGINT)


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
        raise RuntimeError(f"wrk: {found['wrong']} answers were no redirects ({found['wrong_status']})")
    rate: float = found["requests"] / found["seconds"]
    return rate
