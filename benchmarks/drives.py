"""What is done to the registries, and what it gives: each drive returns a value that JSON can hold."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import registries
from ceph_gateway import Gateway
from docker_client import Client, Failed, Layer
from lab.s3_proxy import AtRandom, Rates, S3Proxy
from programs import MemoryWatch
from registries import DISTRIBUTION, OURS, Registry
from slow_way import slow_way_to

_REPOSITORY = "bench/image"
_MIB, _MB = 1 << 20, 1_000_000
_SMALL = 64 << 10
_AT_ONCE = 8
_MANY = (8, 32)

Result = dict[str, Any]


@dataclass
class Bench:
    """What the drives share.

    :param gateway: the S3 server of all of them.
    :param home: a directory for configurations and logs.
    :param rounds: how often each registry's turn comes in a measured drive.
    :param large: the sizes of the large layers, in bytes.
    :param small: how many small layers there are.
    :param deadline: when to stop, on the clock of :func:`time.monotonic`.
    :param chunk: the size of the HTTP chunks of a PATCH, in bytes.
    :param delay: how long a slow S3 takes for each answer, in seconds.
    :param say: takes a line on how far it is.
    """

    gateway: Gateway
    home: Path
    rounds: int
    large: tuple[int, ...]
    small: int
    deadline: float
    chunk: int
    delay: float
    say: Callable[[str], None]
    _names: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    def layer(self, size: int) -> Layer:
        """Return a layer that was never pushed, its digest computed."""
        layer = Layer(size, f"layer-{next(self._names)}")
        _ = layer.digest
        return layer

    def bucket(self) -> str:
        """Make a bucket."""
        return self.gateway.new_bucket(f"benchmark-{next(self._names)}")

    @contextlib.contextmanager
    def registry(
        self, name: str, bucket: str, endpoint: str | None = None, *, edge: bool = False
    ) -> Iterator[Registry]:
        """Run a registry, one push and pull behind it, so that nothing is done for the first time."""
        home = self.home / f"{name}-{next(self._names)}"
        with registries.running(name, home, endpoint or self.gateway.endpoint, bucket, edge=edge) as registry:
            layer = self.layer(20 * _MIB)
            with self.client(registry) as client:
                client.push("bench/first", layer)
                client.pull("bench/first", layer)
            yield registry

    def client(self, registry: Registry) -> Client:
        """Return a client of *registry*."""
        return Client(registry.port, self.chunk)

    def check_time(self) -> None:
        """See that there is time for more.

        :raises TimeoutError: when there is none.
        """
        if time.monotonic() > self.deadline:
            raise TimeoutError("the time is up")


def large(bench: Bench) -> Result:
    """Push and pull large layers, the registries in turns; MB/s and memory."""
    result: Result = {"unit": "MB/s", "sizes": []}
    for size in bench.large:
        buckets = {name: bench.bucket() for name in (OURS, DISTRIBUTION)}
        rates: dict[str, dict[str, list[float]]] = {name: {"push": [], "pull": []} for name in buckets}
        rates[OURS]["pull_edge"] = []
        memory = {}
        with contextlib.ExitStack() as stack:
            running = {name: stack.enter_context(bench.registry(name, buckets[name])) for name in buckets}
            edge = stack.enter_context(bench.registry(OURS, buckets[OURS], edge=True))
            watches = {n: stack.enter_context(MemoryWatch(running[n].program)) for n in running}
            for name in _turns(bench):
                layer = bench.layer(size)
                with bench.client(running[name]) as client:
                    pushed = _seconds(lambda: client.push(_REPOSITORY, layer))  # noqa: B023 (called here)
                    pulled = _seconds(lambda: client.pull(_REPOSITORY, layer))  # noqa: B023
                rates[name]["push"].append(size / _MB / pushed)
                rates[name]["pull"].append(size / _MB / pulled)
                if name == OURS:
                    with bench.client(edge) as client:
                        pulled = _seconds(lambda: client.pull(_REPOSITORY, layer))  # noqa: B023
                    rates[name]["pull_edge"].append(size / _MB / pulled)
                bench.gateway.empty(buckets[name])
                line = f"{name}: {size // _MB} MB pushed at {rates[name]['push'][-1]:.0f} MB/s, "
                bench.say(line + f"pulled at {rates[name]['pull'][-1]:.0f} MB/s")
            memory = {name: watches[name].memory()._asdict() for name in running}
        result["sizes"].append({"size": size, "rates": rates, "memory": memory})
    return result


def small(bench: Bench) -> Result:
    """Push and pull many small layers with their manifests and tags, eight at a time; images a second."""
    return _images(bench, None, _AT_ONCE)


def slow(bench: Bench) -> Result:
    """The same over an S3 that takes a while for each answer, by the number of images at a time."""
    result: Result = {"delay": bench.delay, "at_once": {}}
    with slow_way_to(bench.gateway.endpoint, bench.delay) as endpoint:
        for at_once in _MANY:
            result["at_once"][str(at_once)] = _images(bench, endpoint, at_once)
    return result


def _images(bench: Bench, endpoint: str | None, at_once: int) -> Result:
    buckets = {name: bench.bucket() for name in (OURS, DISTRIBUTION)}
    rates: dict[str, dict[str, list[float]]] = {name: {"push": [], "pull": []} for name in buckets}
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(bench.registry(name, buckets[name], endpoint)) for name in buckets
        }
        watches = {n: stack.enter_context(MemoryWatch(running[n].program)) for n in running}
        for name in _turns(bench):
            layers = [bench.layer(_SMALL) for _ in range(bench.small)]
            for way, act in (("push", _push_image), ("pull", _pull_image)):
                started = time.monotonic()
                errors = _each(bench, running[name], layers, act, at_once)
                if errors:
                    raise Failed(f"{name} failed {len(errors)} times without faults: {errors[0]}")
                rates[name][way].append(len(layers) / (time.monotonic() - started))
            bench.gateway.empty(buckets[name])
            push, pull = (rates[name][way][-1] for way in ("push", "pull"))
            line = f"{name}: {len(layers)} small ones, {at_once} at a time, pushed at {push:.1f} a second, "
            line += f"pulled at {pull:.1f} a second"
            bench.say(line)
        memory = {name: watches[name].memory()._asdict() for name in running}
    return {"unit": "images a second", "layers": bench.small, "rates": rates, "memory": memory}


def requests(bench: Bench) -> Result:
    """Count the S3 requests of each step, through a proxy in front of the gateway."""
    result: Result = {}
    for name in (OURS, DISTRIBUTION):
        bucket = bench.bucket()
        steps: list[Result] = []
        with (
            S3Proxy(bench.gateway.endpoint) as proxy,
            bench.registry(name, bucket, proxy.endpoint) as registry,
            bench.client(registry) as client,
        ):
            proxy.counts()

            def step(
                what: str, act: Callable[[], None], proxy: S3Proxy = proxy, to: list[Result] = steps
            ) -> None:
                act()
                to.append({"step": what, "requests": proxy.counts()})

            for label, size in (("64 KB", _SMALL), *((f"{size // _MB} MB", size) for size in bench.large)):
                bench.check_time()
                layer = bench.layer(size)
                step(f"push {label}", lambda: client.push(_REPOSITORY, layer))  # noqa: B023 (called at once)
                step(f"pull {label}", lambda: client.pull(_REPOSITORY, layer))  # noqa: B023
                if size == _SMALL:
                    step("push manifest and tag", lambda: client.tag(_REPOSITORY, "tag", layer))  # noqa: B023
                    step("pull by tag", lambda: client.pull_tag(_REPOSITORY, "tag", layer))  # noqa: B023
        bench.gateway.empty(bucket)
        result[name] = steps
        bench.say(f"{name}: S3 requests counted")
    return result


def memory(bench: Bench) -> Result:
    """Push eight of the largest layers at once through ours; the peak of all its processes together."""
    bucket, size = bench.bucket(), max(bench.large)
    layers = [bench.layer(size) for _ in range(_AT_ONCE)]
    with bench.registry(OURS, bucket) as registry, MemoryWatch(registry.program) as watch:
        idle = watch.memory()
        started = time.monotonic()
        errors = _each(bench, registry, layers, lambda client, layer: client.push(_REPOSITORY, layer))
        seconds = time.monotonic() - started
        peak = watch.memory()
        errors += _each(bench, registry, layers[:1], lambda client, layer: client.pull(_REPOSITORY, layer))
    bench.gateway.empty(bucket)
    bench.say(f"{OURS}: {_AT_ONCE} layers of {size // _MB} MB at once, {peak.resident / _MIB:.0f} MiB")
    return {
        "layers": _AT_ONCE,
        "size": size,
        "idle": idle._asdict(),
        "peak": peak._asdict(),
        "rate": _AT_ONCE * size / _MB / seconds,
        "errors": errors,
    }


def faults(bench: Bench) -> Result:
    """Push and pull the small ones while the gateway misbehaves; what failed."""
    planned, seed = Rates(refused=50, unheard=10, unanswered=10, cut=10), 1
    result: Result = {"faults": planned._asdict() | {"seed": seed}, "layers": bench.small}
    for name in (OURS, DISTRIBUTION):
        bench.check_time()
        bucket = bench.bucket()
        layers = [bench.layer(_SMALL) for _ in range(bench.small)]
        with (
            S3Proxy(bench.gateway.endpoint) as proxy,
            bench.registry(name, bucket, proxy.endpoint) as registry,
        ):
            proxy.counts()
            faults = AtRandom(seed, planned, cut_requests=False)
            with proxy.failing(faults):
                pushes = _each(bench, registry, layers, _push_image)
                pulls = _each(bench, registry, layers, _pull_image)
            counts = proxy.counts()
            complaints = registry.program.complaints()
        bench.gateway.empty(bucket)
        result[name] = {
            "failed_pushes": len(pushes),
            "failed_pulls": len(pulls),
            "errors": dict(Counter([*pushes, *pulls]).most_common()),
            "requests": sum(counts.values()),
            "struck": dict(sorted(faults.struck.items())),
            "log": complaints,
        }
        bench.say(f"{name}: {len(pushes)} pushes and {len(pulls)} pulls failed under faults")
    return result


def _turns(bench: Bench) -> Iterator[str]:
    """Yield whose turn it is: each registry's in each round, and the first one's last in the next round."""
    for number in range(bench.rounds):
        for name in (OURS, DISTRIBUTION) if number % 2 == 0 else (DISTRIBUTION, OURS):
            bench.check_time()
            yield name


def _seconds(act: Callable[[], None]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def _push_image(client: Client, layer: Layer) -> None:
    client.push(_REPOSITORY, layer)
    client.tag(_REPOSITORY, layer.name, layer)


def _pull_image(client: Client, layer: Layer) -> None:
    client.pull_tag(_REPOSITORY, layer.name, layer)
    client.pull(_REPOSITORY, layer)


def _each(
    bench: Bench,
    registry: Registry,
    layers: Iterable[Layer],
    act: Callable[[Client, Layer], None],
    at_once: int = _AT_ONCE,
) -> list[str]:
    """Do *act* for each layer, some at a time, each on a connection of its own; return what went wrong."""
    waiting = iter(list(layers))
    errors: list[str] = []

    def work() -> None:
        with bench.client(registry) as client:
            # One thread at a time is in an iterator of a list, so none is done twice.
            for layer in waiting:
                bench.check_time()
                try:
                    act(client, layer)
                except Failed as error:
                    errors.append(str(error))

    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(work) for _ in range(at_once)]:
            done.result()
    return errors


#: The drives by their names, in the order in which they run.
DRIVES: dict[str, Callable[[Bench], Result]] = {
    "requests": requests,
    "small": small,
    "slow": slow,
    "large": large,
    "memory": memory,
    "faults": faults,
}
