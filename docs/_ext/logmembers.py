"""The directive ``logmembers``: the members of a line of the log."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from listtable import table

from cfmiddleware.logs import MEMBERS

_LINES = {"both": "both kinds"}


class LogMembers(Directive):
    """Show what ``cfmiddleware.logs`` says of them."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = [(f"``{name}``", _LINES.get(lines, lines), text) for name, (lines, text) in MEMBERS.items()]
        return table(self, "logs.py", "16 14 70", ("Member", "Line", "Meaning"), rows, "cards")


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("logmembers", LogMembers)
    return {"parallel_read_safe": True}
