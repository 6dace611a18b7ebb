"""Ours on an S3 server in memory, from ten thousand manifests to a million: time, memory, requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collect_memory_s3 import BUCKET, Contents, running
from collect_runs import GC, run, write_config

#: How many images a repository has.
PER_REPOSITORY = 1000

# The prices of a thousand requests in us-east-1, in dollars (S3 Standard).
_LIST_PRICE, _GET_PRICE = 0.005, 0.0004
_GETS = frozenset(("GetObject", "HeadObject"))


def growth(home: Path, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return what came out for each number of manifests.

    Each has five blobs of its own. Every repository has five blobs of an image that has lost its manifest.
    """
    rows = []
    for count in counts:
        repositories = max(1, count // PER_REPOSITORY)
        with running(Contents(count, repositories)) as s3:
            file = write_config(home / "config.yml", s3.endpoint, BUCKET, ("access", "secret", "us-east-1"))
            runs = {}
            for name, options in (("first", ["--dry-run"]), ("next", ["--dry-run"]), ("whole", [])):
                s3.counts()
                done = run([*GC, str(file), *options], home / "log")
                requests = s3.counts()
                runs[name] = {
                    "seconds": done.seconds,
                    "cpu": done.cpu,
                    "memory": done.memory,
                    "requests": sum(requests.values()),
                    "price": price(requests),
                    "said": done.said.strip().splitlines()[-4:],
                }
                print(f"{count} manifests, {name}: {done.seconds:.1f} s, {done.memory >> 20} MB", flush=True)
            rows.append({"manifests": count, "repositories": repositories, "runs": runs})
    return rows


def price(requests: Counter[str]) -> float:
    """Return what requests cost, in dollars at AWS's list price; deletes are free."""
    gets = sum(count for name, count in requests.items() if name in _GETS)
    deletes = sum(count for name, count in requests.items() if name.startswith("Delete"))
    others = sum(requests.values()) - gets - deletes
    return (others * _LIST_PRICE + gets * _GET_PRICE) / 1000


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the straight line through points, as its value at 0 and its slope (least squares of the relative
    errors, so that small ones count as much as large ones).
    """
    weights = [1 / (y * y) for _, y in points]
    total = sum(weights)
    x_mean = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    y_mean = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    spread = sum(w * (x - x_mean) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    slope = (
        sum(w * (x - x_mean) * (y - y_mean) for w, (x, y) in zip(weights, points, strict=True)) / spread
        if spread
        else 0.0
    )
    return y_mean - slope * x_mean, slope
