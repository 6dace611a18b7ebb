"""The picture of the benchmark of redirects, drawn from its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator
from redirect_drives import ECDSA, HOT
from redirect_servers import BARE, SERVE
from registries import DISTRIBUTION, OURS

_COLOURS = {OURS: "#1f5fa8", SERVE: "#7fb0e0", ECDSA: "#2a9d8f", DISTRIBUTION: "#e07b39", BARE: "#9a9a9a"}
_ORDER = (BARE, OURS, SERVE, ECDSA, DISTRIBUTION)

_Result = Mapping[str, Any]


def draw(results: _Result, directory: Path) -> Path:
    """Write ``redirect.png`` from the results that are there, and return its path."""
    style = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(11, 8.2), layout="constrained")
        axes = figure.subplots(2, 2, width_ratios=(1, 1.05))
        panels = (
            (_rates, any(name in results for name in ("warm", "cold-signatures", "cold-descriptors"))),
            (_latencies, "latency" in results),
            (_distinct_rates, "distinct" in results),
            (_distinct_costs, "distinct" in results),
        )
        for place, (panel, there) in zip(axes.flat, panels, strict=True):
            if there:
                panel(place, results)
            else:
                place.set_axis_off()
        machine = results["machine"]
        caption = (
            f"{results['date'][:10]}, {machine['cores']} cores of {machine['cpu']}; load generator, servers "
            "and storage on one machine. Compare ratios."
        )
        figure.supxlabel(caption, fontsize=8, color="#555555")
        file = directory / "redirect.png"
        figure.savefig(file, dpi=150)
    return file


def _rates(axes: Axes, results: _Result) -> None:
    axes.set_title("Requests per second")
    groups: list[tuple[str, Mapping[str, Sequence[_Result]]]] = []
    for blobs, part in results.get("warm", {}).items():
        groups.append(("warm,\none blob" if blobs == "1" else f"warm,\n{int(blobs):,} blobs", part["runs"]))
    for name, label in (
        ("cold-signatures", "every request\nsigns"),
        ("cold-descriptors", "never asked\nbefore"),
    ):
        if name in results:
            groups.append((label, results[name]["runs"]))
    position, ticks, shown = 0.0, [], set()
    for label, runs in groups:
        names = [name for name in _ORDER if name in runs]
        ticks.append((position + (len(names) - 1) / 2, label))
        for name in names:
            rates = [run["rate"] for run in runs[name]]
            middle = median(rates)
            axes.barh(
                position,
                middle,
                0.85,
                color=_COLOURS[name],
                label=name if name not in shown else None,
                xerr=[[middle - min(rates)], [max(rates) - middle]],
                error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
            )
            axes.annotate(
                f"{middle:,.0f}",
                (max(rates), position),
                (4, 0),
                textcoords="offset points",
                va="center",
                size=8,
            )
            shown.add(name)
            position += 1
        position += 0.8
    axes.set_yticks([place for place, _ in ticks], [label for _, label in ticks])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("requests/s (median of the rounds; lines: lowest to highest)")
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [name for name in _ORDER if name in named]
    axes.legend([named[name] for name in order], order, frameon=False, fontsize=8, loc="lower right")


def _latencies(axes: Axes, results: _Result) -> None:
    axes.set_title("Latency at half of each server's highest rate")
    hey, hot = results["latency"]["hey"], results["latency"]["hot"]
    rows: list[tuple[str, str, _Result]] = [(name, name, hey[name]) for name in _ORDER if name in hey]
    rows.append((f"{SERVE},\n{HOT:,} blobs", SERVE, hot["steady"]))
    if bare := hot.get("steady_constant"):
        rows.append((f"{BARE}\nat the same rate", BARE, bare))
    rows.append((f"{SERVE}, {HOT:,}\nblobs, windows end", SERVE, hot["over_window_ends"]))
    if last := hot.get("over_descriptor_ends"):
        rows.append((f"{SERVE}, {HOT:,}\nblobs, descriptors end", SERVE, last))
    markers = {"p50": "o", "p95": "|", "p99": "D"}
    for position, (_, server, part) in enumerate(rows):
        values = {name: median(run[name] for run in part["runs"]) * 1000 for name in markers}
        colour = _COLOURS[server]
        axes.plot([values["p50"], values["p99"]], [position] * 2, color=colour, linewidth=2, zorder=1)
        for name, marker in markers.items():
            axes.scatter(values[name], position, marker=marker, color=colour, s=36, zorder=2)
        times = f"p99 is {part['p99_to_p50']:.1f} medians"
        axes.annotate(
            times, (values["p99"], position), (8, 0), textcoords="offset points", va="center", size=8
        )
    for name, marker in markers.items():
        label = {"p50": "median", "p95": "95th percentile", "p99": "99th percentile"}[name]
        axes.scatter([], [], marker=marker, color="#555555", s=36, label=label)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.12)
    axes.set_xlabel("milliseconds (logarithmic)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)


def _distinct_rates(axes: Axes, results: _Result) -> None:
    axes.set_title("Requests per second, by distinct blobs")
    _curves(axes, results["distinct"], "rate")
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))


def _distinct_costs(axes: Axes, results: _Result) -> None:
    axes.set_title("Processor time per request, by distinct blobs")
    _curves(axes, results["distinct"], "cpu_microseconds")
    axes.set_yscale("log")
    axes.set_ylabel("server's microseconds (logarithmic)")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.minorticks_off()


def _curves(axes: Axes, distinct: _Result, figure: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("number of distinct blobs, in random order (logarithmic)")
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.minorticks_off()
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    counts = distinct["counts"]
    for name in (OURS, ECDSA, DISTRIBUTION):
        values = [[run[figure] for run in distinct["runs"][name][str(count)]] for count in counts]
        axes.plot(counts, [median(each) for each in values], "o-", ms=4, color=_COLOURS[name], label=name)
        low, high = [min(each) for each in values], [max(each) for each in values]
        axes.fill_between(counts, low, high, color=_COLOURS[name], alpha=0.15, linewidth=0)
    axes.legend(frameon=False, fontsize=8)


def _thousands(value: float, position: object = None) -> str:
    return f"{value:,.0f}"


def _plain(value: float, position: object = None) -> str:
    return f"{value:g}"
