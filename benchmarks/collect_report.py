"""What the benchmark of collections found, as a page and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from collect_growth import PER_REPOSITORY, line
from collect_images import REPOSITORIES
from registries import DISTRIBUTION, OURS
from report import table

#: What a line through the figures is drawn to.
_FAR = 100_000_000

_NAMES = {
    DISTRIBUTION: f"{DISTRIBUTION}, dry run",
    "first": "ours, first dry run",
    "next": "ours, next dry run",
    "whole": "ours, a collection with nothing to collect",
}
_COLOURS = {DISTRIBUTION: "#e07b39", "first": "#1f5fa8", "next": "#7fb0e0", "whole": "#9a9a9a"}


def markdown(results: Mapping[str, Any]) -> str:
    """Return the page; a part that was not run is not there."""
    machine = results["machine"]
    lines = [
        "# Garbage collection",
        "",
        f"cfmiddleware {results['versions'][OURS]}"
        + (
            f" and Distribution {results['versions'][DISTRIBUTION]} "
            if DISTRIBUTION in results["versions"]
            else " "
        )
        + f"({results['date'][:10]}, {machine['cores']} cores of {machine['cpu']}; collectors, gateway and "
        "store share the machine). Compare ratios.",
        "",
    ]
    for part, section in (
        ("images", _images),
        ("slow", _images),
        ("slower", _images),
        ("growth", _growth),
        ("redirects", _redirects),
    ):
        if part in results:
            lines += [*section(results[part]), ""]
    return "\n".join(lines)


def _images(result: Mapping[str, Any]) -> Iterable[str]:
    delay = result["delay"]
    waiting = f" and {delay * 1000:.0f} ms for each answer" if delay else ""
    yield f"## Both over a Ceph gateway on this machine{waiting}, {REPOSITORIES} repositories"
    yield ""
    yield "Seconds on the clock, and in brackets how many times as fast as Distribution; requests to S3."
    yield ""
    rows = []
    for row in result["rows"]:
        seconds, requests = row["seconds"], row["requests"]
        for name, label in _NAMES.items():
            ratio = seconds[DISTRIBUTION] / seconds[name]
            rows.append(
                [
                    str(row["images"]),
                    label,
                    f"{seconds[name]:.2f}" + ("" if name == DISTRIBUTION else f" ({ratio:.1f})"),
                    str(requests[name]),
                ]
            )
    yield from table(("images", "", "seconds", "requests"), rows)
    last = result["rows"][-1]["seconds"]
    yield ""
    yield (
        f"Wanted at the most images: 40 for a first run, {last[DISTRIBUTION] / last['first']:.1f} measured; "
        f"200 for the next one, {last[DISTRIBUTION] / last['next']:.1f} measured. With the fewest images the "
        f"next one takes {result['rows'][0]['seconds']['next']:.2f} s: that is the start of Python, and some "
        "requests that wait for each other."
    )


def _growth(rows: list[Mapping[str, Any]]) -> Iterable[str]:
    yield "## Growth, over an S3 server in memory"
    yield ""
    yield (
        f"Five blobs for each manifest, {PER_REPOSITORY:,} manifests in a repository. The server answers "
        "from one process beside the collector."
    )
    yield ""
    cells = [
        [
            f"{row['manifests']:,}",
            _NAMES[name].removeprefix("ours, ") if name != "whole" else "a collection",
            f"{run['seconds']:.1f}",
            f"{run['cpu']:.1f}",
            f"{run['memory'] / 1e6:.0f}",
            f"{run['requests']:,}",
            f"{run['price']:.3f}",
        ]
        for row in rows
        for name, run in row["runs"].items()
    ]
    yield from table(
        ("manifests", "", "seconds", "of the processor", "MB", "requests", "dollars at AWS"), cells
    )
    if len(rows) < 2:
        return
    yield ""
    yield f"The straight line through these figures, and what it says of {_FAR:,} manifests:"
    yield ""
    fits = []
    for name in rows[0]["runs"]:
        for what, unit, scale in (("seconds", "hours", 3600), ("memory", "GB", 1e9), ("price", "dollars", 1)):
            start, slope = line([(row["manifests"], row["runs"][name][what]) for row in rows])
            worst = max(
                abs(start + slope * row["manifests"] - row["runs"][name][what]) / row["runs"][name][what]
                for row in rows
            )
            fits.append(
                [
                    name,
                    what,
                    f"{start / scale:.3g} + {slope * 1e6 / scale:.3g} {unit} a million",
                    f"{worst:.0%}",
                    f"{(start + slope * _FAR) / scale:.3g} {unit}",
                ]
            )
    yield from table(("run", "", "line", "farthest from it", f"at {_FAR:,}"), fits)


def _redirects(result: Mapping[str, Any]) -> Iterable[str]:
    yield "## Redirects beside a collection"
    yield ""
    yield (
        f"`wrk` asks `cfmiddleware serve` for redirects of {result['blobs']:,} blobs on 16 connections, in "
        "turns without a collection and with one beside it on the same machine (`gc --requests-per-second`), "
        f"whose first look at {result['manifests']:,} manifests goes on. Wanted: under 5 % lost."
    )
    yield ""
    alone = _middle(result["rates"]["alone"])
    rows = [["none", f"{alone:.0f}", ""]]
    for name, lost in result["lost"].items():
        rows.append([f"{name} requests a second", f"{_middle(result['rates'][name]):.0f}", f"{lost:.1%}"])
    yield from table(("collection", "redirects a second", "lost"), rows)


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def draw(results: Mapping[str, Any], directory: Path) -> Path | None:
    """Write ``collect.png`` from the parts that are there, and return its path; None without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return None
    parts = [part for part in ("images", "slow", "slower", "growth") if part in results]
    if not parts:
        return None
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4.2 * len(parts), 4), layout="constrained")
        for axes, part in zip(figure.subplots(1, len(parts), squeeze=False).flat, parts, strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_ylabel("seconds")
            if part == "growth":
                axes.set_title("S3 in memory")
                axes.set_xlabel("manifests")
                rows = results[part]
                for name in rows[0]["runs"]:
                    points = [(row["manifests"], row["runs"][name]["seconds"]) for row in rows]
                    axes.plot(*zip(*points, strict=True), "o-", color=_COLOURS[name], label=_NAMES[name])
                    start, slope = line(points)
                    far = [points[0][0], _FAR]
                    axes.plot(far, [max(start + slope * x, 0.1) for x in far], ":", color=_COLOURS[name])
            else:
                delay = results[part]["delay"]
                axes.set_title(
                    f"S3 with {delay * 1000:.0f} ms an answer" if delay else "Ceph on this machine"
                )
                axes.set_xlabel("images")
                rows = results[part]["rows"]
                for name, label in _NAMES.items():
                    points = [(row["images"], row["seconds"][name]) for row in rows]
                    axes.plot(*zip(*points, strict=True), "o-", color=_COLOURS[name], label=label)
            axes.legend(fontsize=7)
        file = directory / "collect.png"
        figure.savefig(file, dpi=150)
    return file
