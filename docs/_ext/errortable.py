"""The directive ``errors``: every error that the registry answers with."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from errorrows import rows
from listtable import table


class Errors(Directive):
    """Show what ``cfmiddleware/registry/errors.py`` defines."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return table(self, "errors.py", "30 10 60", ("Code", "Status", "For"), rows(), "cards")


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("errors", Errors)
    return {"parallel_read_safe": True}
