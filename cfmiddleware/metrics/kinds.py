"""Counters, gauges and histograms, whose labels have values that are known beforehand."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import product
from math import isnan, nan, prod

from .cells import NOWHERE, STATE, File

#: What stands for every value of a label that is not known beforehand.
OTHER = "other"

# Combinations of labels that are there with 0 from the start, so that the first one that is counted is an
# increase. Of metrics with more, each is there once it was counted.
_FEW = 40

#: The value of a gauge of what is no longer configured. It is not shown.
GONE = nan

# Combinations of labels that a process counts where any value is allowed: the operator's patterns may match
# what clients invent.
_MOST = 3000

#: Which values a label has; None for any that matches what the operator chose.
Labels = Mapping[str, Sequence[str] | None]


class Cell:
    """One value, in the memory that Prometheus reads; while metrics are off, in one that nobody reads.

    There is no lock: Python changes threads between two calls or at the end of a loop, and a line below is
    neither.
    """

    __slots__ = ("at", "values")

    def __init__(self) -> None:
        self.values = NOWHERE
        self.at = 0

    def inc(self) -> None:
        """Count one more."""
        values = self.values
        if values is not NOWHERE:
            values[self.at] += 1.0

    def add(self, amount: float) -> None:
        """Count *amount* more."""
        self.values[self.at] += amount

    def set(self, value: float) -> None:
        """Have *value* from now on."""
        self.values[self.at] = value
        self.values[self.at + 1] = time.time()


class Buckets:
    """One distribution: how many were at most as much as each bound, and their sum."""

    __slots__ = ("bounds", "cells", "total", "values")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.values = NOWHERE
        self.total = 0
        self.cells = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one that took *value*."""
        values = self.values
        at = self.cells[bisect_left(self.bounds, value)]
        values[at] += 1.0
        values[self.total] += value


class Metric:
    """Something that is counted.

    :param name: its name, without ``_total``.
    :param text: what it is, for people.
    :param labels: the values of each label. Whatever else is counted under ``other``.
    """

    kind = ""

    def __init__(self, name: str, text: str, labels: Labels | None = None) -> None:
        self.name = name
        self.text = text
        self.labels = dict(labels or {})
        self._names = tuple(self.labels)
        self._known = [None if values is None else frozenset(values) for values in self.labels.values()]
        STATE.metrics[name] = self

    def begin(self) -> None:
        """Count into the files of this process, with a 0 for each combination of labels if these are few."""
        raise NotImplementedError

    def forget(self) -> None:
        """Count nowhere until the process has files of its own."""
        raise NotImplementedError

    def retire(self, since: float) -> None:
        """Take back what is told by each process that begins and was not told since, in Unix seconds."""

    def _own(self, labels: tuple[str, ...], room: bool) -> tuple[str, ...]:
        """Return *labels* with ``other`` for what is not known.

        :param room: whether there is room for values that are not known beforehand.
        """
        return tuple(
            label if (room if known is None else label in known) else OTHER
            for label, known in zip(labels, self._known, strict=True)
        )

    def _few(self) -> list[tuple[str, ...]]:
        values = [() if known is None else tuple(known) for known in self._known]
        return list(product(*values)) if prod(map(len, values)) <= _FEW else []


class Counter(Metric):
    """What only grows."""

    kind = "counter"
    suffix = "_total"

    def __init__(self, name: str, text: str, labels: Labels | None = None) -> None:
        super().__init__(name, text, labels)
        self._cells: dict[tuple[str, ...], Cell] = {}

    def of(self, *labels: str) -> Cell:
        """Return the value of *labels*, for those that count often."""
        return self._cells.get(labels) or self._new(labels)

    def _new(self, labels: tuple[str, ...]) -> Cell:
        # No other thread finds it before it has its place: what is counted without one is lost.
        with STATE.lock:
            own = self._own(labels, len(self._cells) < _MOST)
            cell = self._cells.get(own)
            if cell is None:
                made = cell = Cell()
                STATE.attach(lambda: self._bind(own, made))
                self._cells[own] = made
        return cell

    def inc(self, *labels: str) -> None:
        """Count one more."""
        (self._cells.get(labels) or self._new(labels)).inc()

    def begin(self) -> None:
        """Count into the files of this process, with a 0 for each combination of labels if these are few."""
        for labels in self._few():
            self.of(*labels)
        if None in self._known:
            # What an earlier process has counted in this file takes room as well.
            for found in STATE.file(self.kind).labels(self.name):
                self.of(*(found[name] for name in self._names))
        for labels, cell in list(self._cells.items()):
            self._bind(labels, cell)

    def forget(self) -> None:
        """Count nowhere until the process has files of its own."""
        for cell in self._cells.values():
            cell.values, cell.at = NOWHERE, 0

    def _bind(self, labels: tuple[str, ...], cell: Cell) -> None:
        file: File = STATE.file(self.kind)
        at = file.cell(self.name, self.name + self.suffix, self._names, labels, self.text)
        cell.values, cell.at = file.values, at


class Gauge(Counter):
    """What goes up and down. The values of living processes are added up."""

    kind = "gauge_livesum"
    suffix = ""


class LatestGauge(Gauge):
    """What is the same for all processes: the value that was set last counts.

    :param told: whether each process that begins tells or claims all of it (``STATE.tell``): labels that
        one of them neither tells nor claims are 0 from then on.
    :param goes: whether these are gone, and not 0.
    """

    kind = "gauge_mostrecent"

    def __init__(
        self,
        name: str,
        text: str,
        labels: Labels | None = None,
        *,
        told: bool = False,
        goes: bool = False,
    ) -> None:
        super().__init__(name, text, labels)
        self._told = told
        self._last = GONE if goes else 0.0
        self._claimed: set[tuple[str, ...]] = set()

    def begin(self) -> None:
        """Count into the files of this process."""
        self._claimed = set()
        super().begin()

    def claim(self, *labels: str) -> None:
        """Say in a process that begins that *labels* are configured, whichever process sets them."""
        self._claimed.add(labels)

    def gone(self, *labels: str) -> None:
        """Have *labels* not be shown before they are set again."""
        self.of(*labels).set(GONE)

    def retire(self, since: float) -> None:
        """Clear what was neither told since nor claimed; nothing where processes do not tell all of it."""
        if self._told:
            self.clear(since)

    def clear(self, since: float) -> None:
        """Clear what is not claimed and was set for the last time before *since*, in Unix seconds, by
        whichever process.
        """
        if STATE.has_begun:
            STATE.safely(lambda: self._clear(since))

    def _clear(self, since: float) -> None:
        latest: dict[tuple[str, ...], tuple[float, float]] = {}
        for labels, value, when in STATE.found(self.kind, self.name):
            key = tuple(labels.get(name, "") for name in self._names)
            latest[key] = max((when, value), latest.get(key, (0.0, 0.0)))
        for key, (when, value) in latest.items():
            if when < since and key not in self._claimed and value != self._last and not isnan(value):
                self.of(*key).set(self._last)


class Histogram(Metric):
    """How often something took how long.

    :param buckets: the upper bounds, in their order.
    """

    kind = "histogram"

    def __init__(
        self, name: str, text: str, labels: Labels | None = None, *, buckets: Sequence[float]
    ) -> None:
        super().__init__(name, text, labels)
        self._bounds = tuple(buckets)
        self._made: dict[tuple[str, ...], Buckets] = {}

    def of(self, *labels: str) -> Buckets:
        """Return the distribution of *labels*."""
        return self._made.get(labels) or self._new(labels)

    def _new(self, labels: tuple[str, ...]) -> Buckets:
        with STATE.lock:
            own = self._own(labels, len(self._made) < _MOST)
            found = self._made.get(own)
            if found is None:
                made = found = Buckets(self._bounds)
                STATE.attach(lambda: self._bind(own, made))
                self._made[own] = made
        return found

    def begin(self) -> None:
        """Count into the files of this process."""
        if not self._names:
            self.of()
        for labels, made in list(self._made.items()):
            self._bind(labels, made)

    def forget(self) -> None:
        """Count nowhere until the process has files of its own."""
        for made in self._made.values():
            made.values, made.total, made.cells = NOWHERE, 0, [0] * (len(self._bounds) + 1)

    def _bind(self, labels: tuple[str, ...], made: Buckets) -> None:
        file: File = STATE.file(self.kind)
        names = (*self._names, "le")
        cells = [
            file.cell(self.name, f"{self.name}_bucket", names, (*labels, bound), self.text)
            for bound in (*(repr(float(bound)) for bound in self._bounds), "+Inf")
        ]
        total = file.cell(self.name, f"{self.name}_sum", self._names, labels, self.text)
        made.values, made.total, made.cells = file.values, total, cells
