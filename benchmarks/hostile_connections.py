"""Attacks by connections: thousands of slow clients of one kind, while good clients go on asking."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.synchronize import Event
from statistics import median
from typing import Any, NamedTuple

import hostile_servers
from beside import beside
from hostile_servers import Place, Setting, Stock
from hostile_victims import Good, Visit, visit
from lab.slow_clients import SENDERS, Counts, SlowClients, Targets, begin_uploads
from registries import OURS
from server_watch import Sample, ServerWatch

#: The attacks, by the letters of the page, with the kind of slow client that makes each.
ATTACKS = {
    "a": "silence",
    "b": "one-byte",
    "c": "slow-head",
    "d": "handshake",
    "e": "stalled-body",
    "f": "unread-manifest",
    "f2": "unread-blob",
    "g": "slow-body",
}

#: What was asked for: the slowest of a hundred good requests, in seconds, and all memory, in bytes.
P99, MEMORY = 0.25, 400_000_000

#: Descriptors more than before the attack that count as given back: connections to the storage that are kept.
TOLERANCE = 20

#: Seconds that the server gets to give them back.
_GIVEN = 30


class Effort(NamedTuple):
    """How much of an attack there is.

    :param connections: how many are held at a time.
    :param seconds: how long.
    :param calm: seconds before the attack and after it, in which only good clients ask.
    """

    connections: int
    seconds: float
    calm: float


def attack(
    name: str,
    place: Place,
    stock: Stock,
    letter: str,
    effort: Effort,
    *,
    tls: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Attack a registry that was just started, and return what its good clients met.

    :param name: which registry.
    :param letter: a key of :data:`ATTACKS`.
    """
    kind = ATTACKS[letter]
    setting = Setting(tls=tls, served=kind == "unread-blob")
    with hostile_servers.running(name, place, setting) as server:
        good = Good(server.port, server.certificate, f"{stock.repository}-pushed", stock.pull)
        targets = Targets(server.port, server.certificate, stock.manifest, stock.blob)
        if kind in SENDERS:
            uploads = begin_uploads(server.port, stock.repository, effort.connections, server.certificate)
            targets = targets._replace(uploads=tuple(uploads))
        with ServerWatch(server.program) as watch, beside(visit, good) as visitors:
            visitors.wait()
            time.sleep(effort.calm)
            calm = watch.samples()
            began = time.monotonic()
            with beside(_hold, targets, kind, effort.connections) as attackers:
                opened = time.monotonic() - began if attackers.wait(60) else None
                time.sleep(effort.seconds)
                ended = time.monotonic()
            # Before the first sample nobody knows; half of them begin with connections that are being made.
            before = int(median(sample.descriptors for sample in calm)) if calm else 0
            after, seconds = _given_back(watch, before, ended, server.port)
            outgoing = watch.outgoing(server.port)
            time.sleep(effort.calm)
        samples = watch.samples()
        complaints = [each[:200] for each in server.program.complaints(3)]
        # One that lost all its workers, or ended, is no server any more.
        alive = server.program.process.poll() is None
    visits: list[Visit] = visitors.result
    counts: Counts = attackers.result
    during = [each for each in visits if began <= each.at <= ended]
    result = {
        "server": name,
        "attack": letter,
        "kind": kind,
        "tls": tls,
        "connections": effort.connections,
        "began": began,
        "ended": ended,
        "opened_in": opened,
        "alive": alive,
        "killed": watch.killed,
        "good": summary(during),
        "before": summary(each for each in visits if each.at < began),
        "memory": max((s.proportional for s in samples), default=0),
        "descriptors": {
            "before": before,
            "highest": max((s.descriptors for s in samples if began <= s.at <= ended), default=0),
            "after": after,
            "outgoing": outgoing,
            "given_back_in": seconds,
        },
        "attackers": counts._asdict() | {"answers": {str(k): v for k, v in counts.answers.items()}},
        "complaints": complaints,
        "visits": [[round(v.at - began, 3), v.what, round(v.seconds, 4), v.failure] for v in visits],
        "samples": _series(samples, began),
    }
    result["reached"] = judged(result)
    say(line(result))
    return result


def _hold(targets: Targets, kind: str, count: int, ready: Event, done: Event) -> Counts:
    with SlowClients(targets, kind, count) as clients:
        clients.wait_until_open()
        ready.set()
        done.wait()
        return clients.counts()


def _given_back(watch: ServerWatch, before: int, ended: float, port: int) -> tuple[int, float | None]:
    """Return how many descriptors the server has after the attack, and when it had given back the others.

    Connections that it keeps to a storage do not count: they are as many as its option says at the most.
    """
    while (now := watch.now()).descriptors - watch.outgoing(port) > before + TOLERANCE:
        if now.at > ended + _GIVEN:
            return now.descriptors, None
        time.sleep(0.25)
    return now.descriptors, now.at - ended


def summary(visits: Iterable[Visit]) -> dict[str, Any]:
    """Return what good clients met: for each wish how many, how many failed and why, and the latencies."""
    result: dict[str, Any] = {}
    visits = list(visits)
    for what in ("ping", "pull", "push"):
        seconds = sorted(each.seconds for each in visits if each.what == what)
        if not seconds:
            continue
        failures: dict[str, int] = {}
        for each in visits:
            if each.what == what and each.failure:
                failures[each.failure] = failures.get(each.failure, 0) + 1
        result[what] = {
            "count": len(seconds),
            "failed": sum(failures.values()),
            "failures": failures,
            "p50": seconds[len(seconds) // 2],
            "p99": seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))],
            "max": seconds[-1],
        }
    return result


def judged(result: Mapping[str, Any]) -> dict[str, bool]:
    """Return each goal with whether it was reached."""
    good = result["good"].values()
    return {
        "no failure": bool(good) and not any(each["failed"] for each in good) and result["alive"],
        "p99": bool(good) and all(each["p99"] < P99 for each in good),
        "memory": result["memory"] < MEMORY,
        "descriptors": result["alive"] and result["descriptors"]["given_back_in"] is not None,
    }


def line(result: Mapping[str, Any]) -> str:
    """Return a result in a line."""
    good = result["good"]
    failed = sum(each["failed"] for each in good.values())
    slowest = max((each["p99"] for each in good.values()), default=0)
    over = "TLS" if result["tls"] else "HTTP"
    descriptors = result["descriptors"]
    return (
        f"{result['server']}, {result['kind']} over {over}: "
        f"{failed} of {sum(each['count'] for each in good.values())} failed, p99 {slowest * 1000:.0f} ms, "
        f"{result['memory'] / 1e6:.0f} MB, descriptors {descriptors['before']}, {descriptors['highest']}, "
        f"{descriptors['after']} ({descriptors.get('outgoing', 0)} of them to the storage)"
    )


def _series(samples: Iterable[Sample], began: float) -> list[list[float]]:
    return [[round(s.at - began, 2), s.proportional, s.descriptors, s.processes] for s in samples]


def over_what(letter: str, *, plain: bool, tls: bool) -> list[bool]:
    """Return over what an attack goes: ``False`` for plain HTTP, ``True`` for TLS.

    A handshake there is in TLS alone.
    """
    if ATTACKS[letter] == "handshake":
        return [True]
    return [way for way, wanted in ((False, plain), (True, tls)) if wanted]


def is_ours(result: Mapping[str, Any]) -> bool:
    """Return whether the goals are for this result: they are for this registry alone."""
    return bool(result["server"] == OURS)
