"""Pictures of the dashboard's panels, drawn from what a Prometheus knows.

scripts/dashboard-pictures              run a registry to which things happen, and draw its day
scripts/dashboard-pictures URL MINUTES  draw the last minutes of a Prometheus that runs
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from lab import PROJECT
from lab.dashboard import PICTURES, Panel, panels
from lab.prometheus_server import Prometheus

#: Seconds that each thing lasts in the day that is drawn, and between two scrapes.
UNIT, INTERVAL = 20.0, 2

_WIDTH, _HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 30, 22
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#17becf")
#: Points of a picture.
_POINTS = 90


class Line(NamedTuple):
    """A series as it is drawn."""

    name: str
    values: dict[float, float]


class Span(NamedTuple):
    """What is drawn: from one Unix time to another, a point each *step* seconds."""

    start: float
    end: float
    step: float

    @property
    def times(self) -> list[float]:
        """The times of the points."""
        return [
            self.start + number * self.step for number in range(int((self.end - self.start) / self.step) + 1)
        ]


def main(arguments: list[str]) -> int:
    """Draw every panel: those of the docs, or those of a Prometheus that runs already."""
    if arguments:
        minutes = float(arguments[1]) if len(arguments) > 1 else 60.0
        _draw_all(Prometheus(arguments[0].rstrip("/")), minutes * 60, PROJECT / "build" / "dashboard")
        return 0
    with _day() as (prometheus, seconds):
        _draw_all(prometheus, seconds, PICTURES)
    return 0


@contextlib.contextmanager
def _day() -> Iterator[tuple[Prometheus, float]]:
    from lab.observed import observed
    from lab.servers import running_moto
    from lab.watched_s3 import WatchedS3

    with (
        tempfile.TemporaryDirectory() as directory,
        running_moto() as server,
        contextlib.closing(WatchedS3(server)) as s3,
        observed(Path(directory), s3, interval=f"{INTERVAL}s") as day,
    ):
        began = time.time()
        day.live(UNIT)
        yield day.prometheus, time.time() - began


def _draw_all(prometheus: Prometheus, seconds: float, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    end = math.floor(time.time())
    step = max(1, round(seconds / _POINTS))
    span = Span(end - step * round(seconds / step), end, step)
    # As Grafana has it: four scrapes at least.
    window = f"{max(4 * INTERVAL, 4 * step)}s"
    for panel in panels():
        lines = _lines(prometheus, panel, span, window)
        (directory / panel.file_name).write_text(picture(panel, lines, span), encoding="utf-8")
        print(f"{directory / panel.file_name}: {len(lines)} series")


def _lines(prometheus: Prometheus, panel: Panel, span: Span, window: str) -> list[Line]:
    found = []
    for target in panel.targets:
        for series in prometheus.over_time(target.asked("cfmiddleware", window), *span):
            values = {at: value for at, value in series.values if math.isfinite(value)}
            name = target.named(series.labels)
            if values:
                found.append(Line("registry:5001" if name.startswith("127.0.0.1:") else name, values))
    # A legend of zeros says nothing, unless there is nothing else.
    busy = [line for line in found if any(line.values.values())]
    return sorted(busy or found[:1], key=lambda line: line.name)


def picture(panel: Panel, lines: list[Line], span: Span) -> str:
    """Return a panel as SVG, whose description has the queries from which it was drawn."""
    rows = max(1, math.ceil(len(lines) / 4))
    height = _HEIGHT + 16 * (rows - 1)
    drawn = _stacked(lines, span) if panel.is_stacked else [(line, line.values, None) for line in lines]
    top = _round_up(max([0.0, *(value for _, values, _ in drawn for value in values.values())]) or 1.0)
    if panel.unit == "percentunit":
        top = 1.0

    def x(at: float) -> float:
        return _LEFT + (at - span.start) / (span.end - span.start) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (1 - value / top) * (_HEIGHT - _TOP - _BOTTOM - 16)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="11">',
        f"<title>{escape(panel.title)}</title>",
        f"<desc>{escape(queries(panel))}</desc>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="17" font-size="13" font-weight="bold">{escape(panel.title)}</text>',
    ]
    for number in range(5):
        value = top * number / 4
        parts.append(
            f'<path d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">'
            f"{escape(_shown(value, panel.unit))}</text>"
        )
    for number in range(5):
        at = span.start + (span.end - span.start) * number / 4
        anchor = "middle" if number < 4 else "end"
        minutes = (at - span.start) / 60
        parts.append(
            f'<text x="{x(at):.1f}" y="{y(0) + 15:.1f}" text-anchor="{anchor}" fill="#555">'
            f"{minutes:.1f} min</text>"
        )
    for number, (line, values, below) in enumerate(drawn):
        colour = _COLOURS[number % len(_COLOURS)]
        if below is not None:
            edge = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in values.items())
            back = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in reversed(below.items()))
            parts.append(f'<polygon points="{edge} {back}" fill="{colour}" fill-opacity="0.3"/>')
        for piece in _pieces(values, span.step):
            points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in piece)
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5" '
                'stroke-linecap="round"/>'
            )
        column, row = number % 4, number // 4
        left, base = 12 + column * (_WIDTH - 16) // 4, _HEIGHT - 6 + 16 * row
        parts.append(
            f'<rect x="{left}" y="{base - 8}" width="10" height="8" fill="{colour}"/>'
            f'<text x="{left + 14}" y="{base}">{escape(line.name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def queries(panel: Panel) -> str:
    """Return a panel's queries as a picture has them."""
    return "\n".join(target.expression for target in panel.targets)


def _stacked(
    lines: list[Line], span: Span
) -> list[tuple[Line, dict[float, float], dict[float, float] | None]]:
    """Return each line with its values upon those before it, and these."""
    below = dict.fromkeys(span.times, 0.0)
    found: list[tuple[Line, dict[float, float], dict[float, float] | None]] = []
    for line in lines:
        above = {at: value + line.values.get(at, 0.0) for at, value in below.items()}
        found.append((line, above, below))
        below = above
    return found


def _pieces(values: dict[float, float], step: float) -> list[list[tuple[float, float]]]:
    """Return the pieces of a line that is interrupted."""
    pieces: list[list[tuple[float, float]]] = []
    for at, value in values.items():
        if pieces and at - pieces[-1][-1][0] < 1.5 * step:
            pieces[-1].append((at, value))
        else:
            pieces.append([(at, value)])
    return pieces


def _round_up(value: float) -> float:
    size = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8)
    return next((size * step for step in steps if size * step >= value), 10 * size)


def _shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        if value >= 2 * 86400:
            return f"{value / 86400:.1f} d"
        return f"{value:.3g} s" if value >= 1 or not value else f"{value * 1000:.3g} ms"
    if unit == "Bps":
        for name, size in (("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
            if value >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} B/s"
    return f"{value:.3g}" + ("/s" if unit in ("reqps", "ops") else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
