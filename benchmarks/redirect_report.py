"""What came out of the benchmark of redirects, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from redirect_drives import ECDSA, HOT
from redirect_servers import BARE, SERVE
from registries import DISTRIBUTION, OURS
from report import page, table

_Result = Mapping[str, Any]


def markdown(results: _Result) -> str:
    """Return the results as a page; a figure that is not there, or not as wanted, is shown as it is."""
    machine, versions, setting = results["machine"], results["versions"], results["setting"]
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "# Redirects",
        "",
        f"{results['date']}, {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, load "
        f"average {machine['load_average'][0]:.2f} before it began. Load generator, servers and storage "
        "share the machine.",
        "",
        f"{shown}.",
        "",
        f"`wrk -t1 -c{setting['connections']}` against each server in turn, {setting['rounds']} rounds of "
        f"{setting['seconds']} s; {setting['workers']} workers each. *cfmiddleware* is the app under a "
        f"gunicorn of one's own, with gthread workers of {setting['threads']} threads, and *constant "
        "redirect* an app that does nothing else under the server of `cfmiddleware serve`. Requests a "
        "second are medians, in brackets the lowest and the highest; a ratio is that of "
        "the medians, beside it the median of the rounds' ratios. *µs* is the processor time that the "
        "server's processes took for one request.",
        "",
    ]
    return page(lines, _SECTIONS, results)


def judged(results: _Result) -> list[tuple[str, bool]]:
    """Return all that was wanted, each with whether it was reached."""
    return [
        (where, part["reached"]) for where, part in _parts(results, "") if part.get("reached") is not None
    ]


def _parts(value: object, where: str) -> Iterable[tuple[str, _Result]]:
    if isinstance(value, dict):
        label = f"{value['of']} / {value['to']}" if "of" in value and "to" in value else ""
        yield f"{where} {label}".strip(), value
        for name, each in value.items():
            yield from _parts(each, f"{where} {name}".strip())
    elif isinstance(value, list):
        for each in value:
            yield from _parts(each, where)


def _warm(result: _Result) -> Iterable[str]:
    for blobs, part in result.items():
        what = "one blob" if blobs == "1" else f"{int(blobs):,} blobs in random order"
        yield from _contest(f"Warm, {what}", part["runs"], part["ratios"])
        yield ""
        unseen = part["not_looked_at"]
        yield (
            "The same while wrk does not look at the answers' headers, and so takes less of the machine "
            "from the servers:"
        )
        yield ""
        yield from _rates(unseen["runs"])
        yield ""
        yield from _ratios(unseen["ratios"])
        yield ""


def _cold_signatures(result: _Result) -> Iterable[str]:
    yield from _contest("Cold signatures: every request signs", result["runs"], result["ratios"])
    proofs = ", ".join(
        f"{name} {of['signatures']:,} in {of['requests']:,} answers"
        for name, of in result["signatures"].items()
    )
    yield ""
    yield (
        f"{result['blobs']:,} blobs one after the other, expiry times a second apart, so that none is met "
        f"twice within a window; descriptors remembered: {result['s3_requests']} requests to S3 during the "
        f"turns. Different signatures, in a run of its own: {proofs}."
    )


def _cold_descriptors(result: _Result) -> Iterable[str]:
    yield from _contest(
        "Cold descriptors: servers just started, no blob asked for twice", result["runs"], result["ratios"]
    )


def _cold_slow(result: _Result) -> Iterable[str]:
    label = f"The same, S3 takes {result['delay'] * 1000:g} ms for each answer"
    yield from _contest(label, result["runs"], result["ratios"])


def _latency(result: _Result) -> Iterable[str]:
    yield from ("## Latency at half of the highest rate", "")
    rows = [_tail(f"{name}, hey, one blob", part) for name, part in result["hey"].items()]
    hot = result["hot"]
    over = hot["over_window_ends"]
    rows.append(_tail(f"{SERVE}, wrk at that rate, {HOT:,} hot blobs", hot["steady"]))
    if bare := hot.get("steady_constant"):
        rows.append(_tail(f"{BARE}, wrk at the same rate, in turns with it", bare))
    label = (
        f"the same over {over['seconds'] // over['window']} ends of each blob's window of {over['window']} s"
    )
    rows.append(_tail(label, over))
    if last := hot.get("over_descriptor_ends"):
        rows.append(_tail("the same with the default life of descriptors, all of which end once", last))
    columns = ("", "requests/s reached", "p50, ms", "p95, ms", "p99, ms", "p99 / p50", "wanted", "reached")
    yield from table(columns, rows)
    late = sum(run["late"] for part in hot.values() for run in part["runs"])
    sent = sum(run["requests"] for part in hot.values() for run in part["runs"])
    yield ""
    yield (
        f"Of {sent:,} requests of wrk's at a rate, {late:,} were sent more than 5 ms late: all of its "
        "connections waited for answers, or it had no processor. hey's workers all ask at the same moments. "
        "What the constant redirect shows is the machine's and the load generator's share."
    )


def _tail(label: str, part: _Result) -> list[str]:
    runs = part["runs"]
    figures = [f"{median(run[name] for run in runs) * 1000:.2f}" for name in ("p50", "p95", "p99")]
    wanted = "" if part["wanted"] is None else f"under {part['wanted']:g}"
    rate = f"{median(run['rate'] for run in runs):,.0f} of {runs[0]['wanted_rate']:,.0f}"
    return [label, rate, *figures, f"{part['p99_to_p50']:.2f}", wanted, _said(part["reached"])]


def _observed(result: _Result) -> Iterable[str]:
    yield from _contest("What being seen costs", result["runs"], result["ratios"])
    yield ""
    yield (
        f"{HOT:,} blobs in random order, wrk does not look at the answers. {result['scrapes']} scrapes took "
        f"{result['scrape_seconds'] * 1000:.0f} ms each (median). Prometheus asks each 15 s or so."
    )


def _in_process(result: _Result) -> Iterable[str]:
    yield from ("## In process, without a server: what the wrapper itself costs", "")
    columns = ("", "µs", "lowest to highest batch", "wanted", "reached")
    yield from table(columns, [_cost(name, part) for name, part in result["wrapper"].items()])
    ranges = result["ranges"]
    yield ""
    yield (
        f"Look-ups from an address's text in AWS's ranges ({ranges['ranges']}; {ranges['networks']:,} "
        f"networks once merged, read in {ranges['load_seconds'] * 1000:.0f} ms):"
    )
    yield ""
    yield from table(columns, [_cost(name, part) for name, part in ranges["look_ups"].items()])


def _cost(name: str, part: _Result) -> list[str]:
    spread = f"{part['lowest']:.2f} to {part['highest']:.2f}"
    wanted = f"at most {part['wanted']:g}"
    return [name, f"{part['microseconds']:.2f}", spread, wanted, _said(part["reached"])]


def _distinct(result: _Result) -> Iterable[str]:
    yield from ("## Distinct blobs, in random order, requests a second", "")
    names = (OURS, ECDSA, DISTRIBUTION)
    rows = []
    for count in map(str, result["counts"]):
        medians = {name: median(run["rate"] for run in result["runs"][name][count]) for name in names}
        costs = [_microseconds(result["runs"][name][count]) for name in names]
        figures = [f"{medians[name]:,.0f} ({cost} µs)" for name, cost in zip(names, costs, strict=True)]
        ratios = f"{medians[OURS] / medians[DISTRIBUTION]:.1f}"
        rows.append([f"{int(count):,}", *figures, ratios, str(result["s3_requests"][count])])
    yield from table(("blobs", *names, f"{OURS} / {DISTRIBUTION}", "S3 requests meanwhile"), rows)
    yield ""
    yield (
        f"Rounds: {result['rounds']} of {result['seconds']} s. All descriptors are remembered. Ours "
        "remembers 10,000 signatures in each worker; beyond that most requests sign, as all do in "
        "docker-registry."
    )


_SECTIONS = {
    "warm": _warm,
    "cold-signatures": _cold_signatures,
    "cold-descriptors": _cold_descriptors,
    "cold-slow": _cold_slow,
    "latency": _latency,
    "observed": _observed,
    "in-process": _in_process,
    "distinct": _distinct,
}


def _contest(title: str, runs: Mapping[str, Sequence[_Result]], ratios: Sequence[_Result]) -> Iterable[str]:
    yield from (f"## {title}", "")
    yield from _rates(runs)
    yield ""
    yield from _ratios(ratios)


def _rates(runs: Mapping[str, Sequence[_Result]]) -> Iterable[str]:
    rows = []
    for name, of in runs.items():
        rates = [run["rate"] for run in of]
        spread = f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        p99 = f"{median(run['p99'] for run in of) * 1000:.1f}"
        p50 = f"{median(run['p50'] for run in of) * 1000:.1f}"
        rows.append([name, spread, _microseconds(of), p50, p99])
    yield from table(("", "requests/s", "µs", "p50, ms", "p99, ms"), rows)


def _ratios(ratios: Sequence[_Result]) -> Iterable[str]:
    rows = [
        [
            f"{each['of']} / {each['to']}",
            f"{each['ratio']:.2f}",
            f"{each['median_of_rounds']:.2f} ({min(each['rounds']):.2f} to {max(each['rounds']):.2f})",
            "" if each["wanted"] is None else f"at least {each['wanted']:g}",
            _said(each["reached"]),
        ]
        for each in ratios
    ]
    yield from table(("", "ratio", "of the rounds", "wanted", "reached"), rows)


def _microseconds(runs: Sequence[_Result]) -> str:
    return f"{median(run['cpu_microseconds'] for run in runs):.0f}"


def _said(reached: bool | None) -> str:
    return "" if reached is None else "yes" if reached else "**no**"
