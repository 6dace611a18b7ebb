"""A storage that hangs: what needs none of it goes on, and what waited for it comes to a good end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import hostile_servers
from beside import beside
from hostile_connections import P99, summary
from hostile_servers import Place, Setting, Stock
from hostile_victims import Good, Visit, visit
from many_requests import Outcome, Wish, at_once
from server_watch import ServerWatch
from stalling import way_to

#: Clients that wait for manifests while the storage hangs.
WAITING = 150

#: Small images pushed in a second while the storage stalls.
PUSHES = 6

#: Seconds that a client waits there before it gives up.
_PATIENCE = 60


def hang(name: str, place: Place, stock: Stock, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Stop the S3 while clients wait for manifests, and see what those meet who need nothing of it."""
    with (
        way_to(place.s3["regionendpoint"]) as way,
        hostile_servers.running(name, place, Setting(endpoint=way.endpoint)) as server,
        ServerWatch(server.program) as watch,
    ):
        good = Good(server.port, blob=stock.pull, pushes=0, patience=5)
        # Each worker remembers from here on where the blob is.
        with beside(visit, good) as visitors:
            visitors.wait()
            time.sleep(3)
        way.stop()
        wishes = [Wish("GET", f"/v2/{stock.repository}/manifests/no-{n}") for n in range(WAITING)]
        with beside(at_once, server.port, wishes, seconds + 60) as waiting:
            waiting.wait()
            with beside(visit, good) as visitors:
                visitors.wait()
                began = time.monotonic()
                time.sleep(seconds)
            way.go_on()
        memory = max((sample.proportional for sample in watch.samples()), default=0)
    outcome: Outcome = waiting.result
    visits: list[Visit] = visitors.result
    met = summary(visits)
    failed = sum(of["failed"] for of in met.values())
    reached = not failed and all(of["p99"] < P99 for of in met.values()) and set(outcome.statuses) == {"404"}
    say(f"{name}, a storage that hangs: {failed} good requests failed; those that waited: {outcome.statuses}")
    return {
        "server": name,
        "seconds": seconds,
        "waited": outcome._asdict(),
        "good": met,
        "memory": memory,
        "visits": [[round(v.at - began, 3), v.what, round(v.seconds, 4), v.failure] for v in visits],
        "reached": {"all answered": reached},
    }


def stall(
    name: str, place: Place, stock: Stock, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Stop the S3 for a while under a steady rate of pushes, and count those that fail."""
    with (
        way_to(place.s3["regionendpoint"]) as way,
        hostile_servers.running(name, place, Setting(endpoint=way.endpoint)) as server,
        ServerWatch(server.program) as watch,
    ):
        good = Good(
            server.port, None, f"{stock.repository}-pushed", stock.pull, 20, 0, PUSHES, patience=_PATIENCE
        )
        with beside(visit, good) as visitors:
            visitors.wait()
            time.sleep(seconds / 2)
            began = time.monotonic()
            way.stop()
            time.sleep(seconds)
            way.go_on()
            time.sleep(seconds * 3 / 4)
        memory = max((sample.proportional for sample in watch.samples()), default=0)
    visits: list[Visit] = visitors.result
    met = summary(visits)
    say(f"{name}, a storage that stalls for {seconds:g} s: {met['push']['failed']} pushes failed")
    return {
        "server": name,
        "seconds": seconds,
        "good": met,
        "memory": memory,
        "visits": [[round(v.at - began, 3), v.what, round(v.seconds, 4), v.failure] for v in visits],
        "reached": {"no failure": not any(of["failed"] for of in met.values())},
    }


#: Each fault of a storage, and for how many seconds it lasts.
FAULTS: dict[str, tuple[Callable[..., dict[str, Any]], float]] = {"hang": (hang, 20), "stall": (stall, 20)}
