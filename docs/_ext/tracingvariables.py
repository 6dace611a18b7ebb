"""The directive ``tracingvariables``: OpenTelemetry's variables, and what is said of them in the code."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from listtable import table

from cfmiddleware.tracing.variables import VARIABLES, checked


class TracingVariables(Directive):
    """Show what ``cfmiddleware.tracing.variables`` has."""

    def run(self) -> list[nodes.Node]:
        """Return the table, and the names of the others whose values are checked."""
        rows = [(f"``{name}``", text) for name, text in VARIABLES.items()]
        shown = table(self, "variables.py", "36 64", ("Variable", "Meaning here"), rows, "cards")
        others = [name for name in checked() if name not in VARIABLES]
        said = f"Checked too are {', '.join(f'``{name}``' for name in others)}."
        node = nodes.container()
        self.state.nested_parse(StringList([said], source="variables.py"), self.content_offset, node)
        return [*shown, *node.children]


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("tracingvariables", TracingVariables)
    return {"parallel_read_safe": True}
