"""The directive ``distributionkeys``: what becomes of each key of Distribution's configuration."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from keyrows import cells

from cfmiddleware.config.distributionkeys import KEYS


class DistributionKeys(Directive):
    """Show the list that the start's warnings are made from."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        node = nodes.container()
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 40 14 46", ""]
        for row in [("Key", "Here", "What it means"), *map(cells, KEYS)]:
            for mark, cell in zip("*  ", row, strict=True):
                lines.append(f"   {mark} - {cell}".rstrip())
        self.state.nested_parse(StringList(lines, source="KEYS"), self.content_offset, node)
        return node.children


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("distributionkeys", DistributionKeys)
    return {"parallel_read_safe": True}
