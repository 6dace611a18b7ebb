"""What counting costs: of one count, and of a request and a redirect that are counted.

    python benchmarks/counting.py

Each figure is the best of several rounds, in nanoseconds.
"""

from __future__ import annotations

import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path

from cfmiddleware import metrics
from cfmiddleware.digest import Digest
from cfmiddleware.metrics import names
from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.httpcount import begin, end
from cfmiddleware.middleware.blobsizes import BlobSizes
from cfmiddleware.reference import BlobPath

NUMBER, ROUNDS = 50_000, 15

BLOB = BlobPath("team/app", Digest.of(b""))
ENVIRON = {"PATH_INFO": f"/v2/team/app/blobs/{BLOB.digest}"}


def nanoseconds(action: Callable[[], object]) -> float:
    """Return how long *action* takes, less what calling it takes."""
    empty = min(timeit.repeat(lambda: None, number=NUMBER, repeat=ROUNDS))
    return (min(timeit.repeat(action, number=NUMBER, repeat=ROUNDS)) - empty) / NUMBER * 1e9


def actions() -> dict[str, Callable[[], object]]:
    """Return what is measured."""
    pulls, key = names.PULLS.of("edge"), names.SIGNING_KEY.of("K1")
    seconds, sizes = names.REQUEST_SECONDS.of("blob", "get"), BlobSizes()
    sizes._sizes[BLOB.digest.hex] = 1000

    def request() -> None:
        end(begin(ENVIRON), "GET", "307", 0.0003, 0)

    return {
        "a counter": pulls.inc,
        "a counter, by its labels": lambda: names.PULLS.inc("edge"),
        "a gauge": lambda: key.set(1),
        "a histogram": lambda: seconds.observe(0.0003),
        "a redirect and its bytes": lambda: sizes.count(BLOB, "edge", None),
        "a request, in flight and at its end": request,
    }


def main() -> None:
    """Print the figures while metrics are off, and on."""
    off = {name: nanoseconds(action) for name, action in actions().items()}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        metrics.turn_on(directory)
        STATE.begin()
        print(f"{'':38}{'off':>8}{'on':>8}")
        for name, action in actions().items():
            print(f"{name:38}{off[name]:8.0f}{nanoseconds(action):8.0f}")


if __name__ == "__main__":
    main()
