"""The directive ``distributionkeys``: what becomes of each key of Distribution's configuration."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from keyrows import cells
from listtable import table

from cfmiddleware.config.distributionkeys import KEYS


class DistributionKeys(Directive):
    """Show the list that the start's warnings are made from."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return table(self, "KEYS", "40 14 46", ("Key", "Here", "What it means"), map(cells, KEYS), "cards")


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("distributionkeys", DistributionKeys)
    return {"parallel_read_safe": True}
