"""What came out, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from registries import DISTRIBUTION, OURS

_Section = Callable[[Any], Iterable[str]]

_MIB, _MB = 1 << 20, 1_000_000


def markdown(results: dict[str, Any]) -> str:
    """Return the results as a page; a figure that is not there, or not as wanted, is shown as it is."""
    versions = results["versions"]
    lines = [
        "# Push and pull",
        "",
        f"cfmiddleware {versions[OURS]} and Distribution {versions[DISTRIBUTION]} (Debian's docker-registry) "
        f"on one Ceph {versions['ceph']} gateway, {results['machine']}, Python {versions['python']}. "
        f"{results['rounds']} rounds in turns, medians; in brackets the lowest and the highest. "
        "Client, registry and storage share the machine.",
        "",
    ]
    return page(lines, _SECTIONS, results)


def _large(result: dict[str, Any]) -> Iterable[str]:
    rows = []
    for entry in result["sizes"]:
        label, rates = f"{entry['size'] // _MB} MB", entry["rates"]
        rows.append(_compared(f"push {label}", rates, "push", "1.0"))
        rows.append(_compared(f"pull {label}", rates, "pull", ""))
        if edge := rates[OURS].get("pull_edge"):
            rows.append([f"pull {label}, redirected to the local edge", _spread(edge), "", "", ""])
    yield from ("## Large layers, MB/s", "")
    yield from table(("", OURS, DISTRIBUTION, "ratio", "wanted"), rows)
    yield ""
    yield from _memory_table(
        (f"{entry['size'] // _MB} MB", name, entry["memory"].get(name))
        for entry in result["sizes"]
        for name in (OURS, DISTRIBUTION)
    )


def _small(result: dict[str, Any]) -> Iterable[str]:
    yield from (
        f"## {result['layers']} layers of 64 KB with manifest and tag, 8 at a time, images a second",
        "",
    )
    rates = result["rates"]
    rows = [_compared("push", rates, "push", "2.0"), _compared("pull", rates, "pull", "")]
    yield from table(("", OURS, DISTRIBUTION, "ratio", "wanted"), rows)
    yield ""
    yield from _memory_table(("small", name, result["memory"].get(name)) for name in (OURS, DISTRIBUTION))


def _slow(result: dict[str, Any]) -> Iterable[str]:
    milliseconds = f"{result['delay'] * 1000:g} ms"
    yield from (f"## The same images over an S3 that takes {milliseconds} for each answer, a second", "")
    rows = []
    for at_once, part in result["at_once"].items():
        rows.append(_compared(f"push, {at_once} at a time", part["rates"], "push", "3.0"))
        rows.append(_compared(f"pull, {at_once} at a time", part["rates"], "pull", "1.0"))
    yield from table(("", OURS, DISTRIBUTION, "ratio", "wanted"), rows)


def _requests(result: dict[str, Any]) -> Iterable[str]:
    yield from ("## S3 requests", "")
    totals = {name: {e["step"]: sum(e["requests"].values()) for e in result[name]} for name in result}
    steps = list(dict.fromkeys(step for of in totals.values() for step in of))
    rows = [[step, *(str(totals[name].get(step, "")) for name in (OURS, DISTRIBUTION)), ""] for step in steps]
    blob = ("push 64 KB", "pull 64 KB")
    image = (*blob, "push manifest and tag", "pull by tag")
    for label, of, wanted in (
        ("**64 KB, pushed and pulled**", blob, "11"),
        ("**the same with manifest and tag**", image, "18"),
    ):
        sums = [str(sum(totals[name].get(step, 0) for step in of)) for name in (OURS, DISTRIBUTION)]
        rows.append([label, *sums, f"at most {wanted}"])
    yield from table(("", OURS, DISTRIBUTION, "wanted"), rows)
    yield ""
    rows = []
    for name in (OURS, DISTRIBUTION):
        for entry in result[name]:
            operations = ", ".join(f"{count} {operation}" for operation, count in entry["requests"].items())
            rows.append([name, entry["step"], operations])
    yield from table(("", "step", "operations"), rows)


def _memory(result: dict[str, Any]) -> Iterable[str]:
    label = f"{result['layers']} layers of {result['size'] // _MB} MB at once"
    yield from (f"## Memory: {label}", "")
    yield from _memory_table(((f"before, {OURS}", "", result["idle"]), (f"peak, {OURS}", "", result["peak"])))
    yield ""
    yield "Wanted: at most 400 MB (381 MiB) for all processes together."
    yield f"They went in at {result['rate']:.0f} MB/s together; {len(result['errors'])} failed."


def _faults(result: dict[str, Any]) -> Iterable[str]:
    planned = result["faults"]
    # Rates are of a thousand requests.
    refused, cut = planned["refused"] / 1000, planned["cut"] / 1000
    unanswered = (planned["unheard"] + planned["unanswered"]) / 1000
    yield from ("## Faults", "")
    yield (
        f"{result['layers']} such images pushed and pulled while S3 answers {refused:.0%} of "
        f"the requests with 503 SlowDown, closes {unanswered:.0%} of the connections unanswered (half "
        f"of them after it did what was asked) and breaks off {cut:.0%} of the bodies; seed "
        f"{planned['seed']}. Wanted: no failure of ours."
    )
    yield ""
    rows = []
    for name in (OURS, DISTRIBUTION):
        if of := result.get(name):
            struck = ", ".join(f"{count} {fault.replace('_', ' ')}" for fault, count in of["struck"].items())
            failed = [str(of["failed_pushes"]), str(of["failed_pulls"])]
            rows.append([name, *failed, str(of["requests"]), struck])
    yield from table(("", "failed pushes", "failed pulls", "S3 requests", "faults"), rows)


_SECTIONS = {
    "large": _large,
    "small": _small,
    "slow": _slow,
    "requests": _requests,
    "memory": _memory,
    "faults": _faults,
}


def _compared(label: str, rates: dict[str, Any], way: str, wanted: str) -> list[str]:
    ours, theirs = rates[OURS].get(way), rates[DISTRIBUTION].get(way)
    ratio = f"{median(ours) / median(theirs):.2f}" if ours and theirs else ""
    return [label, _spread(ours), _spread(theirs), ratio, wanted and f"at least {wanted}"]


def _spread(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _memory_table(entries: Iterable[tuple[str, str, dict[str, int] | None]]) -> Iterable[str]:
    rows = [
        [
            f"{label} {name}".strip(),
            str(of["processes"]),
            f"{of['resident'] / _MIB:.0f}",
            f"{of['proportional'] / _MIB:.0f}",
        ]
        for label, name, of in entries
        if of
    ]
    columns = ("memory, MiB", "processes", "sum of VmHWM", "highest sum of PSS seen")
    yield from table(columns, rows)


def page(head: Sequence[str], sections: Mapping[str, _Section], results: Mapping[str, Any]) -> str:
    """Return a page: its head, a section for each drive with results, and what was not finished."""
    lines = list(head)
    for name, section in sections.items():
        if name in results:
            lines += [*section(results[name]), ""]
    for name, error in results["unfinished"].items():
        lines += [f"**{name} was not finished:** {error}", ""]
    return "\n".join(lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(columns)} |"
    yield "|" + " --- |" * len(columns)
    for row in rows:
        yield f"| {' | '.join(row)} |"
