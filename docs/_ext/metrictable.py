"""The directive ``metrics``: every metric, with its labels."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from metricrows import cells, metrics


class Metrics(Directive):
    """Show what ``cfmiddleware.metrics.names`` defines."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        node = nodes.container()
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 34 10 24 32", ""]
        for row in [("Name", "Kind", "Labels", "What it counts"), *map(cells, metrics())]:
            for mark, cell in zip("*   ", row, strict=True):
                lines.append(f"   {mark} - {cell}".rstrip())
        self.state.nested_parse(StringList(lines, source="names.py"), self.content_offset, node)
        return node.children


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("metrics", Metrics)
    return {"parallel_read_safe": True}
