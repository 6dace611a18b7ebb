"""The pictures of the attacks: how long each good request took, over time, drawn from the JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from hostile_connections import P99
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from registries import DISTRIBUTION, OURS

_Result = Mapping[str, Any]

_COLOURS = {"ping": "#1f5fa8", "pull": "#2a9d8f", "push": "#e07b39"}
_LABELS = {"ping": "/v2/", "pull": "redirect", "push": "small push"}
_FAILED, _MEMORY = "#c1121f", "#b5b5b5"

_STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


def draw(results: _Result, directory: Path) -> list[Path]:
    """Write a picture for each part of the results that is there, and return their paths."""
    parts = {
        "plain": [each for each in results["connections"] if not each["tls"]],
        "tls": [each for each in results["connections"] if each["tls"]],
        "storage": results["storage_faults"],
    }
    return [_picture(results, of, directory / f"hostile-{part}.png") for part, of in parts.items() if of]


def _picture(results: _Result, of: Sequence[_Result], file: Path) -> Path:
    kinds = list(dict.fromkeys(_kind(each) for each in of))
    servers = [name for name in (OURS, DISTRIBUTION) if any(each["server"] == name for each in of)]
    with mpl.rc_context(_STYLE):
        size = (5.5 * len(servers) + 0.5, 1.9 * len(kinds) + 1)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(kinds), len(servers), squeeze=False, sharey=True)
        for row, kind in enumerate(kinds):
            for column, server in enumerate(servers):
                place = axes[row][column]
                found = [each for each in of if _kind(each) == kind and each["server"] == server]
                if found:
                    _over_time(place, found[0])
                else:
                    place.set_axis_off()
                if column == 0:
                    place.set_ylabel("ms (logarithmic)")
        _legend(figure)
        machine = results["machine"]
        caption = (
            f"seconds; {results['date'][:10]}, {machine['cores']} cores of {machine['cpu']}; attackers, good "
            "clients, servers and storage on one machine"
        )
        figure.supxlabel(caption, fontsize=8, color="#555555")
        figure.savefig(file, dpi=110)
    return file


def _kind(each: _Result) -> str:
    return str(each.get("fault") or f"{each['attack']}, {each['kind']}")


def _over_time(axes: Axes, each: _Result) -> None:
    axes.set_title(f"{each['server']}: {_kind(each)}")
    visits = each["visits"]
    ended = each["ended"] - each["began"] if "ended" in each else each["seconds"]
    axes.axvspan(0, ended, color="#f3e3d3", linewidth=0, zorder=0)
    axes.axhline(P99 * 1000, color="#777777", linewidth=0.8, linestyle="--", zorder=1)
    for what, colour in _COLOURS.items():
        good = [(at, seconds * 1000) for at, of, seconds, failure in visits if of == what and not failure]
        if good:
            axes.scatter(*zip(*good, strict=True), s=3, color=colour, linewidths=0, zorder=3)
    bad = [(at, seconds * 1000) for at, _, seconds, failure in visits if failure]
    if bad:
        axes.scatter(*zip(*bad, strict=True), s=14, marker="x", color=_FAILED, linewidths=0.8, zorder=4)
    axes.set_yscale("log")
    axes.set_ylim(0.7, 60_000)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    if samples := each.get("samples"):
        memory = axes.twinx()
        memory.plot([s[0] for s in samples], [s[1] / 1e6 for s in samples], color=_MEMORY, linewidth=1.2)
        memory.set_ylim(0, max(500, *(s[1] / 1e6 for s in samples)) * 1.05)
        memory.set_ylabel("MB", color="#888888")
        memory.tick_params(axis="y", colors="#888888")
    else:
        axes.spines["right"].set_visible(False)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def dot(colour: str, label: str, marker: str = "o") -> Line2D:
        return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=label)

    marks = [dot(colour, _LABELS[what]) for what, colour in _COLOURS.items()]
    goal = Line2D(
        [], [], color="#777777", linestyle="--", linewidth=0.8, label=f"wanted: p99 < {P99 * 1000:.0f} ms"
    )
    memory = Line2D([], [], color=_MEMORY, linewidth=1.2, label="memory of the server, MB")
    attack = Patch(color="#f3e3d3", label="the attack")
    handles = [*marks, dot(_FAILED, "failed", "x"), goal, memory, attack]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
