"""Garbage collections as tests run them: at once, with a clock of their own."""

from __future__ import annotations

import json
import time
from typing import Any

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.collector import Collector, Outcome
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.registry.collect.verdict import Rules
from cfmiddleware.storage.driver import Driver

ROOT = "/docker/registry/v2/"
OURS = ROOT + "_cfmiddleware/"


class VirtualClock:
    """Seconds that pass when somebody sleeps, and a little with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def collector(driver: Any, condemned: Condemned | None = None, **rules: Any) -> Collector:
    """Return a collector that waits for nobody; without rules, everything is old enough."""
    clock = VirtualClock()
    if driver.shared:
        # A disk's times stand still for some milliseconds, and what is of this moment is not old.
        time.sleep(0.01)
    condemned = condemned or Condemned(driver, clock, clock.sleep)
    return Collector(driver, Rules(**{"grace": 0.0, "olderthan": 0.0, **rules}), 4, condemned)


def collect(driver: Driver, **rules: Any) -> Outcome:
    """Run one collection."""
    return collector(driver, **rules).collect()


def collect_all(driver: Driver, **rules: Any) -> None:
    """Collect until nothing is left to collect: first the links, then the bytes."""
    collect(driver, **rules)
    collect(driver, **rules)


def stored(driver: Driver) -> set[str]:
    """Return all objects but those that collections keep for themselves."""
    return {path for path, _ in driver.walk(ROOT) if not path.startswith(OURS)}


def digests_stored(driver: Driver) -> set[Digest]:
    """Return the digests whose bytes are in the storage."""
    return {Digest(path.split("/")[-4], path.split("/")[-2]) for path, _ in driver.walk(ROOT + "blobs/")}


def broken_images(driver: Driver) -> list[str]:
    """Return what is missing of the images that the storage has, by simple means."""
    found = []
    for path, _ in driver.walk(ROOT + "repositories/"):
        name, mark, rest = path[len(ROOT + "repositories/") :].partition("/_manifests/revisions/")
        if not mark:
            continue
        algorithm, hexadecimal, _ = rest.split("/")
        manifest = json.loads(_bytes(driver, f"{algorithm}:{hexadecimal}"))
        for entry in (*manifest.get("layers", ()), *filter(None, [manifest.get("config")])):
            algorithm, _, hexadecimal = entry["digest"].partition(":")
            link = f"{ROOT}repositories/{name}/_layers/{algorithm}/{hexadecimal}/link"
            try:
                _bytes(driver, driver.read(link).decode())
            except Exception as error:
                found.append(f"{name}: {entry['digest']}: {error!r}")
    return found


def _bytes(driver: Driver, digest: str) -> bytes:
    algorithm, _, hexadecimal = digest.partition(":")
    return driver.read(f"{ROOT}blobs/{algorithm}/{hexadecimal[:2]}/{hexadecimal}/data")
