"""The page of the metrics shows each of them."""

from __future__ import annotations

import sys

from lab import PROJECT

from cfmiddleware.metrics import names
from cfmiddleware.metrics.cells import STATE

sys.path.insert(0, str(PROJECT / "docs" / "_ext"))
from metricrows import cells, metrics


def test_the_table_has_a_row_for_each_metric():
    shown = [cells(metric)[0].strip("`") for metric in metrics()]

    assert len(shown) == len(STATE.metrics) > 25
    assert "cfmiddleware_pulls_total" in shown
    assert cells(names.PULLS) == (
        "``cfmiddleware_pulls_total``",
        "counter",
        "``sent``: edge, s3, app",
        "Pulls of blobs, by where they were sent.",
    )
    page = (PROJECT / "docs" / "metrics-and-health.rst").read_text(encoding="utf-8")
    assert "\n.. metrics::\n" in page
