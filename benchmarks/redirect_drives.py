"""What is measured of redirects: each drive returns a value that JSON can hold."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import redirect_load
import redirect_servers
import redirect_store
from ceph_gateway import Gateway
from redirect_load import Load
from redirect_servers import BARE, SERVE, Place, Server, Setting
from registries import DISTRIBUTION, OURS

Result = dict[str, Any]

_HOT = 1000


@dataclass
class Bench:
    """What the drives share.

    :param gateway: the S3 server.
    :param place: where the servers' files and blobs are.
    :param rounds: how often each server's turn comes in a measured drive.
    :param seconds: how long a turn takes.
    :param say: takes a line on how far it is.
    """

    gateway: Gateway
    place: Place
    rounds: int
    seconds: int
    say: Callable[[str], None]
    written: int = 0
    best: dict[str, float] = field(default_factory=dict)
    _files: Iterator[int] = field(default_factory=itertools.count)

    def need(self, blobs: int) -> None:
        """See that so many blobs are in the bucket."""
        if blobs > self.written:
            started = time.monotonic()
            redirect_store.fill(self.gateway, self.place.bucket, range(self.written, blobs))
            self.say(f"{blobs - self.written} blobs written in {time.monotonic() - started:.0f} s")
            self.written = blobs

    def paths(self, blobs: int) -> Path:
        """Return a file with the paths of the first so many blobs, which are in the bucket."""
        self.need(blobs)
        return redirect_load.write_paths(self.place.home / f"paths-{next(self._files)}", range(blobs))

    def turns(self, names: Iterable[str]) -> Iterator[tuple[int, str]]:
        """Yield whose turn it is, with the round's number; who begins changes from round to round."""
        names = list(names)
        for number in range(self.rounds):
            for place in range(len(names)):
                yield number, names[(place + number) % len(names)]

    def noted(self, name: str, run: Mapping[str, Any]) -> None:
        """Remember the highest rate that a server reached."""
        self.best[name] = max(self.best.get(name, 0), run["rate"])


def warm(bench: Bench) -> Result:
    """One blob, and 1,000 in random order, all asked for before."""
    names = (OURS, SERVE, DISTRIBUTION, BARE)
    result: Result = {}
    with contextlib.ExitStack() as stack:
        bench.need(_HOT)
        servers = _running(bench, stack, dict.fromkeys(names, Setting()))
        for blobs in (1, _HOT):
            paths = bench.paths(blobs)

            def turn(server: Server, number: int, paths: Path = paths, blobs: int = blobs) -> Result:
                if server.name != BARE:
                    redirect_load.warm(server, range(blobs))
                return redirect_load.wrk(server, Load(paths, "random", number), bench.seconds)

            runs = _contest(bench, servers, turn, f"warm, {blobs} blobs")
            result[str(blobs)] = {
                "runs": runs,
                "ratios": [
                    ratio(runs, OURS, DISTRIBUTION, 10),
                    ratio(runs, OURS, BARE, 0.65),
                    ratio(runs, SERVE, DISTRIBUTION),
                    ratio(runs, SERVE, BARE),
                ],
            }
    return result


def ratio(runs: Mapping[str, list[Result]], of: str, to: str, wanted: float | None = None) -> Result:
    """Return how the rates of two servers compare: the ratio of their medians, and each round's."""
    rates = {name: [run["rate"] for run in runs[name]] for name in (of, to)}
    value = median(rates[of]) / median(rates[to])
    rounds = [mine / theirs for mine, theirs in zip(rates[of], rates[to], strict=True)]
    return {
        "of": of,
        "to": to,
        "wanted": wanted,
        "ratio": value,
        "rounds": rounds,
        "median_of_rounds": median(rounds),
        "reached": None if wanted is None else value >= wanted,
    }


def _running(bench: Bench, stack: contextlib.ExitStack, settings: Mapping[str, Setting]) -> dict[str, Server]:
    return {
        name: stack.enter_context(redirect_servers.running(name, bench.place, setting))
        for name, setting in settings.items()
    }


def _contest(
    bench: Bench, servers: Mapping[str, Server], turn: Callable[[Server, int], Result], label: str
) -> dict[str, list[Result]]:
    """Return what each server's turns gave."""
    runs: dict[str, list[Result]] = {name: [] for name in servers}
    for number, name in bench.turns(servers):
        run = turn(servers[name], number)
        runs[name].append(run)
        bench.noted(name, run)
        bench.say(f"{label}: {name}: {run['rate']:.0f} requests/s, p99 {run['p99'] * 1000:.1f} ms")
    return runs


#: The drives by their names, in the order in which they run.
DRIVES: dict[str, Callable[[Bench], Result]] = {"warm": warm}
