"""What is measured of redirects: each drive returns a value that JSON can hold."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import redirect_inprocess
import redirect_load
import redirect_memory_s3
import redirect_servers
import redirect_store
from ceph_gateway import Gateway
from lab.servers import free_ports
from redirect_load import Load
from redirect_memory_s3 import MemoryS3
from redirect_servers import BARE, SERVE, Place, Server, Setting
from registries import DISTRIBUTION, OURS
from slow_way import slow_way_to

Result = dict[str, Any]
_Kind = TypeVar("_Kind")

#: Ours with the cheaper of the two kinds of key.
ECDSA = f"{OURS} (ECDSA)"

#: Ours by its command: with nothing on, and with what its operator sees it by.
UNSEEN, COUNTED = f"{SERVE}, nothing on", f"{SERVE}, metrics"
LOGGED, SCRAPED = f"{SERVE}, metrics and access log", f"{SERVE}, metrics, scraped each second"

#: Blobs that are hot at the same time.
HOT = 1000

# Signatures are made anew each second of these; what is asked for one after the other meets none twice.
_SHORT = {"duration": 2, "window": 1}

# More than there are blobs: what is measured here is not what is forgotten.
_DESCRIPTORS = 200_000

_COLD = 10_000

# Seconds that a slow S3 takes for each answer.
_DELAY = 0.015

# How many signatures each worker of ours remembers.
_SIGNATURES = 10_000

# Seconds that ours remembers a descriptor for, by default.
_LIFE = 60


@dataclass
class Bench:
    """What the drives share.

    :param gateway: the S3 server.
    :param place: where the servers' files and blobs are.
    :param rounds: how often each server's turn comes in a measured drive.
    :param seconds: how long a turn takes.
    :param quick: do less, as ``--quick`` says.
    :param ranges: AWS's address ranges, as a file, or None to make some up.
    :param say: takes a line on how far it is.
    """

    gateway: Gateway
    place: Place
    rounds: int
    seconds: int
    quick: bool
    ranges: Path | None
    say: Callable[[str], None]
    _written: int = 0
    _best: dict[str, float] = field(default_factory=dict)
    _files: Iterator[int] = field(default_factory=itertools.count)

    def need(self, blobs: int) -> None:
        """See that so many blobs are in the bucket."""
        if blobs > self._written:
            started = time.monotonic()
            redirect_store.fill(self.gateway, self.place.bucket, range(self._written, blobs))
            self.say(f"{blobs - self._written} blobs written in {time.monotonic() - started:.0f} s")
            self._written = blobs

    def paths(self, blobs: int) -> Path:
        """Return a file with the paths of the first so many blobs."""
        return redirect_load.write_paths(self.place.home / f"paths-{next(self._files)}", range(blobs))

    def turns(self, names: Iterable[str]) -> Iterator[tuple[int, str]]:
        """Yield whose turn it is, with the round's number; who begins changes from round to round."""
        names = list(names)
        for number in range(self.rounds):
            for place in range(len(names)):
                yield number, names[(place + number) % len(names)]

    def noted(self, name: str, runs: Iterable[Result]) -> None:
        """Remember the highest rate that a server reached."""
        self._best[name] = max([self._best.get(name, 0), *(run["rate"] for run in runs)])

    def highest(self, server: Server, load: Load) -> float:
        """Return the highest rate that a server reached so far, in requests a second."""
        if server.name not in self._best:
            self.noted(server.name, [redirect_load.wrk(server, load, self.seconds) for _ in range(3)])
        return self._best[server.name]


def warm(bench: Bench) -> Result:
    """Blobs that have all been asked for before: one, and 1,000 in random order."""
    bench.need(HOT)
    result: Result = {}
    with contextlib.ExitStack() as stack:
        names = (OURS, SERVE, DISTRIBUTION, BARE)
        servers = _started(bench.place, stack, {name: (name, Setting()) for name in names})
        for blobs in (1, HOT):
            load = Load(bench.paths(blobs))

            def turn(server: Server, number: int, look: str = "all", load: Load = load) -> Result:
                if server.name != BARE:
                    redirect_load.warm(server, range(blobs))  # noqa: B023 (called here)
                return redirect_load.wrk(server, load._replace(first=number), bench.seconds, look=look)

            label = f"warm, {blobs} of them"
            runs = _contest(bench, servers, turn, label)
            for name in names:
                bench.noted(name, runs[name])
            fast = {name: servers[name] for name in (SERVE, BARE)}
            unseen = _contest(bench, fast, functools.partial(turn, look="none"), f"{label}, not looked at")
            result[str(blobs)] = {
                "runs": runs,
                "ratios": [
                    ratio(runs, SERVE, DISTRIBUTION, 20),
                    ratio(runs, SERVE, BARE, 0.8),
                    ratio(runs, OURS, DISTRIBUTION),
                ],
                "not_looked_at": {"runs": unseen, "ratios": [ratio(unseen, SERVE, BARE, 0.8)]},
            }
    return result


def cold_signatures(bench: Bench) -> Result:
    """Every request signs; where the blobs are is remembered."""
    blobs = 6000 if bench.quick else 10_000
    setting = Setting(**_SHORT, descriptors=_DESCRIPTORS, known=blobs)
    kinds = {
        OURS: (OURS, setting),
        ECDSA: (OURS, setting._replace(key="ecdsa")),
        DISTRIBUTION: (DISTRIBUTION, setting),
    }
    load = Load(bench.paths(blobs), "sequence")
    with _memory_s3(bench) as (place, s3), contextlib.ExitStack() as stack:
        servers = _started(place, stack, kinds)
        redirect_load.warm(servers[DISTRIBUTION], range(blobs), 8)
        asked = s3.requests

        def turn(server: Server, number: int) -> Result:
            run = redirect_load.wrk(server, load._replace(first=number * 1000), bench.seconds)
            if run["rate"] > 0.9 * blobs:
                raise RuntimeError(f"{server.name} comes round in less than a second: take more blobs")
            return run

        runs = _contest(bench, servers, turn, "cold signatures")
        proofs = {}
        for name, server in servers.items():
            proof = redirect_load.wrk(server, load, 2, look="signatures")
            proofs[name] = {"requests": proof["requests"], "signatures": proof["signatures"]}
        asked = s3.requests - asked
    return {
        "blobs": blobs,
        "runs": runs,
        "ratios": [ratio(runs, ECDSA, DISTRIBUTION, 2), ratio(runs, OURS, DISTRIBUTION, 1)],
        "signatures": proofs,
        "s3_requests": asked,
    }


def cold_descriptors(bench: Bench) -> Result:
    """Blobs never asked for, of servers just started: each costs questions to S3 and a signature."""
    return _cold(bench, bench.place, "cold descriptors")


def cold_slow(bench: Bench) -> Result:
    """The same against an S3 that takes a while for each answer."""
    with slow_way_to(bench.gateway.endpoint, _DELAY) as endpoint:
        slow = bench.place._replace(endpoint=endpoint)
        return {"delay": _DELAY} | _cold(bench, slow, f"cold descriptors, S3 takes {_DELAY * 1000:g} ms")


def _cold(bench: Bench, place: Place, label: str) -> Result:
    bench.need(_COLD)
    load = Load(bench.paths(_COLD), "sequence", 1)
    kinds = {name: name for name in (OURS, SERVE, DISTRIBUTION)}

    def turn(name: str, number: int) -> Result:
        with redirect_servers.running(name, place) as server:
            redirect_load.warm(server, range(1))  # what happens once in a process is not the blobs' cost
            run = redirect_load.wrk(server, load, bench.seconds)
        if run["requests"] > _COLD - redirect_load.CONNECTIONS:
            raise RuntimeError(f"{name} was asked for all {_COLD} blobs: take more")
        return run

    runs = _contest(bench, kinds, turn, label)
    ratios = [ratio(runs, SERVE, DISTRIBUTION, 1.9), ratio(runs, OURS, DISTRIBUTION)]
    return {"blobs": _COLD, "runs": runs, "ratios": ratios}


def latency(bench: Bench) -> Result:
    """Latencies at half of the highest rate, and over the ends of expiry windows of 1,000 hot blobs."""
    bench.need(HOT)
    seconds, window = (3, 3) if bench.quick else (6, 10)
    load = Load(bench.paths(HOT))
    result: Result = {"hey": {}, "hot": {}}
    names = (OURS, SERVE, DISTRIBUTION, BARE)
    with contextlib.ExitStack() as stack:
        servers = _started(bench.place, stack, {name: (name, Setting()) for name in names})
        for name, server in servers.items():
            if name != BARE:
                redirect_load.warm(server, range(HOT))
            rate = bench.highest(server, load) / 2
            runs = [redirect_load.hey(server, 0, seconds, rate) for _ in range(1 if bench.quick else 3)]
            result["hey"][name] = _tail(runs, 5 if name == SERVE else None)
            bench.say(f"latency of {name} at {rate:.0f} requests/s: {_spoken(runs[-1])}")
        rate = bench.highest(servers[SERVE], load) / 2
        redirect_load.warm(servers[SERVE], range(HOT))
        steady: dict[str, list[Result]] = {SERVE: [], BARE: []}
        for _ in range(1 if bench.quick else 3):
            for name, runs in steady.items():
                runs.append(redirect_load.wrk(servers[name], load, seconds, rate=rate))
    ends = Setting(duration=4 * window, window=window)
    times = 1 if bench.quick else 3
    over = _over(bench, ends, load, times, 3 * window, rate)
    result["hot"] = {
        "steady": _tail(steady[SERVE], 5),
        "steady_constant": _tail(steady[BARE], None),
        "over_window_ends": _tail(over, 5) | {"window": window, "seconds": 3 * window},
    }
    latest = {
        "steady": steady[SERVE][-1],
        "the constant redirect": steady[BARE][-1],
        "over window ends": over[-1],
    }
    if not bench.quick:
        over = _over(bench, Setting(life=None), load, times, _LIFE + 10, rate)
        latest["over descriptors' ends"] = over[-1]
        result["hot"]["over_descriptor_ends"] = _tail(over, 5)
    for label, run in latest.items():
        bench.say(f"latency of {HOT} hot blobs, {label}, at {rate:.0f} requests/s: {_spoken(run)}")
    return result


def _over(
    bench: Bench, setting: Setting, load: Load, times: int, seconds: float, rate: float
) -> list[Result]:
    """Return runs of servers that were just started, so that the same ends in each of them."""
    runs: list[Result] = []
    for _ in range(times):
        with redirect_servers.running(SERVE, bench.place, setting) as server:
            redirect_load.warm(server, range(HOT))
            runs.append(redirect_load.wrk(server, load, seconds, rate=rate))
    return runs


def observed(bench: Bench) -> Result:
    """What metrics, the access log and a scrape each second cost the redirects of ``cfmiddleware serve``."""
    bench.need(HOT)
    debug = free_ports(3)
    kinds = {
        UNSEEN: (SERVE, Setting()),
        COUNTED: (SERVE, Setting(debug=debug[0])),
        LOGGED: (SERVE, Setting(debug=debug[1], logs=True)),
        SCRAPED: (SERVE, Setting(debug=debug[2])),
    }
    load = Load(bench.paths(HOT))
    scrapes: list[float] = []
    with contextlib.ExitStack() as stack:
        servers = _started(bench.place, stack, kinds)

        def turn(server: Server, number: int) -> Result:
            redirect_load.warm(server, range(HOT))
            with contextlib.ExitStack() as beside:
                if server.name == SCRAPED:
                    beside.enter_context(_scraping(f"http://127.0.0.1:{debug[2]}/metrics", scrapes))
                return redirect_load.wrk(server, load._replace(first=number), bench.seconds, look="none")

        runs = _contest(bench, servers, turn, "observed")
    ratios = [
        ratio(runs, COUNTED, UNSEEN),
        ratio(runs, LOGGED, UNSEEN),
        ratio(runs, SCRAPED, COUNTED, 0.98),
    ]
    return {"runs": runs, "ratios": ratios, "scrapes": len(scrapes), "scrape_seconds": median(scrapes)}


@contextlib.contextmanager
def _scraping(url: str, seconds: list[float]) -> Iterator[None]:
    """Ask for the metrics each second, and note how long the answers took."""
    over = threading.Event()

    def scrape() -> None:
        while not over.is_set():
            began = time.monotonic()
            with urllib.request.urlopen(url, timeout=10) as answer:
                answer.read()
            seconds.append(time.monotonic() - began)
            over.wait(max(0.0, 1 - (time.monotonic() - began)))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def in_process(bench: Bench) -> Result:
    """What the wrapper costs by itself, and a look-up of an address."""
    batches = 30 if bench.quick else 100
    return {
        "wrapper": redirect_inprocess.wrapper(batches),
        "ranges": redirect_inprocess.look_ups(bench.ranges, batches),
    }


def distinct(bench: Bench) -> Result:
    """How the number of distinct blobs, in random order, tells on the rate."""
    counts = [1, 10, 100, 1000, 10_000] + ([] if bench.quick else [100_000])
    setting = Setting(descriptors=_DESCRIPTORS, known=counts[-1])
    kinds = {
        OURS: (OURS, setting),
        ECDSA: (OURS, setting._replace(key="ecdsa")),
        DISTRIBUTION: (DISTRIBUTION, setting),
    }
    rounds, seconds = (1, 2) if bench.quick else (min(bench.rounds, 3), 3)
    result: Result = {"counts": counts, "rounds": rounds, "seconds": seconds}
    result |= {"runs": {name: {} for name in kinds}, "s3_requests": {}}
    with _memory_s3(bench) as (place, s3), contextlib.ExitStack() as stack:
        servers = _started(place, stack, kinds)
        known = 0
        for count in counts:
            redirect_load.warm(servers[DISTRIBUTION], range(known, count), 8)
            known = count
            for name in (OURS, ECDSA) if count <= _SIGNATURES else ():
                redirect_load.warm(servers[name], range(count), 2)
            load = Load(bench.paths(count))

            def turn(server: Server, number: int, load: Load = load) -> Result:
                return redirect_load.wrk(server, load._replace(first=number), seconds)

            asked = s3.requests
            label = f"{count} distinct blobs"
            runs = _contest(dataclasses.replace(bench, rounds=rounds), servers, turn, label)
            for name in kinds:
                result["runs"][name][str(count)] = runs[name]
            result["s3_requests"][str(count)] = s3.requests - asked
    return result


@contextlib.contextmanager
def _memory_s3(bench: Bench) -> Iterator[tuple[Place, MemoryS3]]:
    (port,) = free_ports(1)
    with redirect_memory_s3.running(port) as s3:
        yield bench.place._replace(endpoint=s3.endpoint), s3


def _tail(runs: list[Result], wanted: float | None) -> Result:
    """Return runs with how far the slow answers are from the usual ones: 99th percentile to median."""
    value = median(run["p99"] / run["p50"] for run in runs)
    reached = None if wanted is None else value < wanted
    return {"runs": runs, "p99_to_p50": value, "wanted": wanted, "reached": reached}


def _spoken(run: Result) -> str:
    names = ("p50", "p95", "p99")
    return ", ".join(f"{name} {run[name] * 1000:.2f} ms" for name in names)


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


def _started(
    place: Place, stack: contextlib.ExitStack, kinds: Mapping[str, tuple[str, Setting]]
) -> dict[str, Server]:
    """Start servers under labels of their own."""
    return {
        label: stack.enter_context(redirect_servers.running(name, place, setting))._replace(name=label)
        for label, (name, setting) in kinds.items()
    }


def _contest(
    bench: Bench, servers: Mapping[str, _Kind], turn: Callable[[_Kind, int], Result], label: str
) -> dict[str, list[Result]]:
    """Return what each server's turns gave."""
    runs: dict[str, list[Result]] = {name: [] for name in servers}
    for number, name in bench.turns(servers):
        run = turn(servers[name], number)
        runs[name].append(run)
        spoken = f"{run['rate']:.0f} requests/s, {run['cpu_microseconds']:.0f} µs of processor time each"
        bench.say(f"{label}: {name}: {spoken}, p99 {run['p99'] * 1000:.1f} ms")
    return runs


#: The drives by their names, in the order in which they run.
DRIVES: dict[str, Callable[[Bench], Result]] = {
    "warm": warm,
    "latency": latency,
    "cold-signatures": cold_signatures,
    "cold-descriptors": cold_descriptors,
    "cold-slow": cold_slow,
    "observed": observed,
    "in-process": in_process,
    "distinct": distinct,
}
