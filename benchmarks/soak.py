"""Soak a registry in a mixed load, and see that nothing fails and nothing grows.

Run it as ``python benchmarks/soak.py``; ``--help`` shows what can be chosen. README.rst beside this file says
what the load is, and how growth is told from a use that goes up and down.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import ceph_gateway
import hostile_servers
import registries
import soak_load
from beside import beside
from hostile_servers import Setting
from machine import end_as_by_ctrl_c
from programs import MissingProgram
from registries import DISTRIBUTION, OURS
from report import table
from server_watch import Sample, ServerWatch
from soak_load import Load

_NAMES = {"serve": OURS, "distribution": DISTRIBUTION}

#: How much more the last part may need than the one after the first minute: 5 % and 8 MiB of memory, and a
#: descriptor more for each client.
_SHARE, _MEMORY = 1.05, 8 << 20

#: The descriptors that the server may remember: so few that they are all there within the first minute. With
#: its own 10,000 it would grow towards them for as long as this runs, a leak or not.
_REMEMBERED = 500


def main() -> int:
    """Run it, print what came out, and return 1 where something failed or grew."""
    arguments = _parser().parse_args()
    name = _NAMES[arguments.against]
    try:
        registries.check([name])
        if arguments.storage == "s3":
            ceph_gateway.check()
    except MissingProgram as missing:
        print(f"soak: {missing}", file=sys.stderr)
        return 2
    end_as_by_ctrl_c()
    home = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        # Blobs of 600 kB are redirected; the registry serves the smaller ones itself.
        with (
            hostile_servers.place(arguments.storage, home, 100_000) as place,
            hostile_servers.running(name, place, Setting(descriptors=_REMEMBERED)) as server,
            ServerWatch(server.program, 1) as watch,
        ):
            began = time.monotonic()
            with beside(soak_load.work, server.port, arguments.clients) as loaders:
                loaders.wait()
                time.sleep(arguments.seconds)
            ended = time.monotonic()
            complaints = server.program.complaints()
            alive = server.program.process.poll() is None
        samples = [sample for sample in watch.samples() if sample.at <= ended]
    except KeyboardInterrupt:
        print("soak: interrupted", file=sys.stderr)
        return 130
    except RuntimeError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    load: Load = loaders.result
    print("\n".join(_page(name, load, samples, began, complaints)))
    failures = _failures(load, samples, began, arguments.clients)
    if not alive:
        failures.append("the server ended")
    for failure in failures:
        print(f"soak: {failure}", file=sys.stderr)
    if not failures:
        print("soak: no 5xx, no wrong answer, no growth", file=sys.stderr)
    return 1 if failures else 0


def _failures(load: Load, samples: Sequence[Sample], began: float, clients: int) -> list[str]:
    """Return what was not as it should be, a line each."""
    failures = []
    broken = sum(
        count for of in load.statuses.values() for status, count in of.items() if status.startswith("5")
    )
    if broken:
        failures.append(f"{broken} answers were 5xx")
    if load.wrong:
        failures.append(f"answers that were not as they should be: {'; '.join(load.wrong[:5])}")
    early, late = _parts(samples, began)
    if not early or not late:
        return [*failures, "too short to see whether something grows"]
    for what, of, allowed in (
        ("memory", _memory, lambda before: before * _SHARE + _MEMORY),
        ("descriptors", _descriptors, lambda before: before + clients),
    ):
        before, after = median(map(of, early)), median(map(of, late))
        if after > allowed(before):
            failures.append(f"{what} grew from {before:,.0f} to {after:,.0f}; at most {allowed(before):,.0f}")
    return failures


def _parts(samples: Sequence[Sample], began: float) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of the second fifth of the time, and of the last fifth.

    Of five minutes these are the second one and the last one.
    """
    if not samples:
        return [], []
    fifth = (samples[-1].at - began) / 5
    early = [each for each in samples if fifth <= each.at - began < 2 * fifth]
    return early, [each for each in samples if each.at - began >= 4 * fifth]


def _memory(sample: Sample) -> float:
    return sample.proportional


def _descriptors(sample: Sample) -> float:
    return sample.descriptors


def _page(
    name: str, load: Load, samples: Sequence[Sample], began: float, complaints: Sequence[str]
) -> list[str]:
    rows = [
        [step, ", ".join(f"{count:,} x {status}" for status, count in sorted(of.items()))]
        for step, of in load.statuses.items()
    ]
    lines = [
        f"# {name} in a mixed load",
        "",
        f"{load.requests:,} requests.",
        "",
        *table(("", "answers"), rows),
    ]
    lines += [
        "",
        *table(("until, s", "memory, MB (median)", "descriptors (median)"), _course(samples, began)),
    ]
    if complaints:
        lines += ["", "The log complains:", "", *(f"- {each[:200]}" for each in complaints)]
    return lines


def _course(samples: Sequence[Sample], began: float) -> list[list[str]]:
    """Return the use of each tenth of the time."""
    if not samples:
        return []
    tenth = (samples[-1].at - began) / 10
    figures: tuple[Callable[[Sample], float], ...] = (_memory, _descriptors)
    rows = []
    for number in range(10):
        low, high = number * tenth, (number + 1) * tenth
        if part := [each for each in samples if low < each.at - began <= high]:
            memory, descriptors = (median(map(of, part)) for of in figures)
            rows.append([f"{high:.0f}", f"{memory / 1e6:,.0f}", f"{descriptors:,.0f}"])
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="soak",
        description="Let clients push, pull, list, delete, break off and idle at random for five minutes, "
        "and fail on an answer with 5xx, a wrong answer, or memory or descriptors that grow after the first "
        "minute.",
    )
    parser.add_argument("--seconds", type=float, default=300, help="how long (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="how many at a time (default: %(default)s)")
    parser.add_argument("--against", choices=tuple(_NAMES), default="serve", help="(default: %(default)s)")
    parser.add_argument(
        "--storage", choices=hostile_servers.STORAGES, default="s3",
        help="a Ceph gateway that is started for it, a directory, or moto (default: %(default)s)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
