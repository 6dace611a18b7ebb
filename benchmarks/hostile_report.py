"""What came out of the attacks, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hostile_connections import ATTACKS, MEMORY, P99, TOLERANCE
from hostile_storage import PUSHES, WAITING
from registries import DISTRIBUTION, OURS
from report import table

_Result = Mapping[str, Any]

#: What each kind of slow client does.
_SAID = {
    "silence": "send nothing",
    "one-byte": "send `G`, and nothing more",
    "slow-head": "send a byte of a head every five seconds",
    "handshake": "stall in the TLS handshake: nothing, or half a ClientHello",
    "stalled-body": "`PATCH` with one byte of its body, then silence",
    "unread-manifest": "ask for a manifest of 4 MiB and do not read it",
    "unread-blob": "ask for a large blob that the registry serves itself and do not read it",
    "slow-body": "`PATCH` with a byte of its body every second",
}

_WISHES = {"ping": "`/v2/`", "pull": "redirects", "push": "small pushes"}


def markdown(results: _Result, pictures: Sequence[str] = ()) -> str:
    """Return the results as a page; a figure that is not as wanted is shown as it is.

    :param pictures: the names of the files that stand beside the page.
    """
    machine, effort = results["machine"], results["effort"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        "# Slow and hostile clients",
        "",
        f"{results['date']}, {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, load "
        f"average {machine['load_average'][0]:.2f} before it began; storage: {results['storage']}. "
        "Attackers, good clients, servers and storage share the machine.",
        "",
        f"{versions}.",
        "",
    ]
    if results["connections"]:
        lines += [*_connections(results, effort, pictures), ""]
    if results["requests"]:
        lines += [*_requests(results["requests"]), ""]
    if results["storage_faults"]:
        lines += [*_faults(results["storage_faults"], pictures), ""]
    for name, error in results["unfinished"].items():
        lines += [f"**{name} was not finished:** {error}", ""]
    return "\n".join(lines)


def judged(results: _Result) -> list[tuple[str, bool]]:
    """Return all that was wanted of this registry, each with whether it was reached."""
    found = []
    for each in _of_ours(results["connections"]):
        over = " over TLS" if each["tls"] else ""
        found += [(f"{each['kind']}{over}: {goal}", reached) for goal, reached in each["reached"].items()]
    for each in _of_ours(results["requests"]):
        if each["reached"] is not None:
            found.append((f"{each['request']}: {each['wanted']}", each["reached"]))
    for each in _of_ours(results["storage_faults"]):
        found += [(f"{each['fault']}: {goal}", reached) for goal, reached in each["reached"].items()]
    return found


def _of_ours(parts: Iterable[_Result]) -> list[_Result]:
    return [each for each in parts if each["server"] == OURS]


def _connections(results: _Result, effort: _Result, pictures: Sequence[str]) -> Iterable[str]:
    yield from ("## Connections", "")
    yield (
        f"{effort['connections']:,} connections of one kind at a time, for {effort['seconds']:g} s, against "
        "a server that was just started with its defaults. Meanwhile good clients, each on a new connection, "
        "ask "
        "20 times a second for `/v2/`, 20 times for a blob, and push two small images a second "
        "(`POST`, `PUT`, and the manifest's `PUT`). "
        f"Wanted of {OURS}: no failure, the 99th percentile of each under {P99 * 1000:.0f} ms, all processes "
        f"together under {MEMORY / 1e6:.0f} MB (PSS), and the descriptors given back within 30 s (but for "
        f"{TOLERANCE}, and idle connections to the storage, of which a process keeps up to maxconnections)."
    )
    yield ""
    for letter, kind in ATTACKS.items():
        yield f"- **{letter}**, *{kind}*: {_SAID[kind]}"
    yield ""
    yield (
        f"{DISTRIBUTION} redirects nothing where it stands on a directory, and in {ATTACKS['f2']}: it sends "
        "the bytes."
    )
    for tls in (False, True):
        of = [each for each in results["connections"] if each["tls"] == tls]
        if not of:
            continue
        yield from ("", f"### Over {'TLS' if tls else 'plain HTTP'}", "")
        yield from _met(of)
        yield ""
        yield from _held(of)
        for picture in pictures:
            if picture.startswith(f"hostile-{'tls' if tls else 'plain'}."):
                yield from ("", f"![Latency over time]({picture})")


def _met(of: Sequence[_Result]) -> Iterable[str]:
    columns = ["", ""]
    columns += [f"{label}: failed; p50, p99, max in ms" for label in _WISHES.values()]
    rows = []
    for each in of:
        cells = [_latencies(each["good"].get(what)) for what in _WISHES]
        rows.append(
            [f"{each['attack']} {each['kind']}", each["server"], *cells, _reached(each, "no failure", "p99")]
        )
    yield from table([*columns, "reached"], rows)


def _held(of: Sequence[_Result]) -> Iterable[str]:
    columns = (
        "", "", "memory, MB", "descriptors before, at the most, after (of them to the storage)",
        "given back after",
        "connections held, ended by the server", "answers", "reached",
    )  # fmt: skip
    rows = []
    for each in of:
        descriptors, attackers = each["descriptors"], each["attackers"]
        given = descriptors["given_back_in"]
        given_back = "**not in 30 s**" if given is None else f"{given:.1f} s"
        memory = f"{each['memory'] / 1e6:,.0f}{'' if each['alive'] else ', and the server ended'}"
        rows.append(
            [
                f"{each['attack']} {each['kind']}",
                each["server"],
                f"{memory}{' (killed)' if each['killed'] else ''}",
                f"{descriptors['before']}, {descriptors['highest']:,}, {descriptors['after']:,} "
                f"({descriptors.get('outgoing', 0):,})",
                given_back if each["alive"] else "",
                f"{attackers['highest']:,}, {attackers['ended']:,}",
                ", ".join(f"{count:,} x {status}" for status, count in attackers["answers"].items()),
                _reached(each, "memory", "descriptors"),
            ]
        )
    yield from table(columns, rows)


def _latencies(met: _Result | None) -> str:
    if met is None:
        return ""
    times = ", ".join(f"{met[name] * 1000:,.0f}" for name in ("p50", "p99", "max"))
    if not met["failed"]:
        return f"0 of {met['count']:,}; {times}"
    why = ", ".join(f"{count} {name}" for name, count in met["failures"].items())
    return f"**{met['failed']:,}** of {met['count']:,} ({why}); {times}"


def _reached(each: _Result, *goals: str) -> str:
    """Return whether goals were reached; they are this registry's own."""
    if each["server"] != OURS:
        return ""
    return "yes" if all(each["reached"][goal] for goal in goals) else "**no**"


def _requests(requests: Sequence[_Result]) -> Iterable[str]:
    yield from ("## Expensive requests", "")
    rows = []
    for each in requests:
        figures = "; ".join(f"{name}: {_figure(value)}" for name, value in each["figures"].items())
        reached = {None: "", True: "yes", False: "**no**"}[each["reached"]]
        rows.append([each["request"], each["wanted"], each["server"], figures, reached])
    yield from table(("", f"wanted of {OURS}", "", "measured", "as wanted"), rows)


def _figure(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"


def _faults(faults: Sequence[_Result], pictures: Sequence[str]) -> Iterable[str]:
    yield from ("## A storage that hangs", "")
    yield (
        f"*hang*: the S3 answers nothing while {WAITING} clients wait for manifests that are not there (404 "
        "in the end), and good clients who need nothing of it ask with 5 s of patience. *stall*: it answers "
        f"nothing for a while under {PUSHES} pushes of small images a second."
    )
    yield ""
    rows = []
    for each in faults:
        cells = [_latencies(each["good"].get(what)) for what in _WISHES]
        waited = each.get("waited")
        waiting = "" if waited is None else ", ".join(f"{n} x {s}" for s, n in waited["statuses"].items())
        memory = f"{each['memory'] / 1e6:,.0f}"
        reached = "" if each["server"] != OURS else "yes" if all(each["reached"].values()) else "**no**"
        rows.append(
            [f"{each['fault']}, {each['seconds']:g} s", each["server"], *cells, waiting, memory, reached]
        )
    columns = [f"{label}: failed; p50, p99, max in ms" for label in _WISHES.values()]
    yield from table(("", "", *columns, "those that waited", "memory, MB", "as wanted"), rows)
    for picture in pictures:
        if picture.startswith("hostile-storage."):
            yield from ("", f"![Latency over time]({picture})")
