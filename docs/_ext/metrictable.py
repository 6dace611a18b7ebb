"""The directive ``metrics``: every metric, with its labels."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from listtable import table
from metricrows import cells, metrics


class Metrics(Directive):
    """Show what ``cfmiddleware.metrics.names`` defines."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        header = ("Name", "Kind", "Labels", "What it counts")
        return table(self, "names.py", "34 10 24 32", header, map(cells, metrics()), "cards")


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("metrics", Metrics)
    return {"parallel_read_safe": True}
