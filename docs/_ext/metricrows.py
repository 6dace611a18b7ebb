"""What the table of the metrics says. It needs nothing but the package."""

from __future__ import annotations

from cfmiddleware.metrics.kinds import Counter, Gauge, Histogram, Metric
from cfmiddleware.metrics.names import REASONS

# Values that are too many for a cell.
_LONG = {"handler": "the resource", "method": "the method", "code": "the status", "operation": "S3's name"}


def metrics() -> list[Metric]:
    """Return every metric."""
    from cfmiddleware.metrics.cells import STATE

    return list(STATE.metrics.values())


def cells(metric: Metric) -> tuple[str, str, str, str]:
    """Return a row, each cell in reStructuredText."""
    suffix = "_total" if type(metric) is Counter else ""
    kind = (
        "histogram" if isinstance(metric, Histogram) else "gauge" if isinstance(metric, Gauge) else "counter"
    )
    labels = "; ".join(_label(name, values) for name, values in metric.labels.items())
    return f"``{metric.name}{suffix}``", kind, labels, metric.text


def _label(name: str, values: object) -> str:
    if name in _LONG or not isinstance(values, tuple):
        return f"``{name}``"
    if values == REASONS:
        return f"``{name}``: see :doc:`wrapping`"
    return f"``{name}``: {', '.join(values)}"
