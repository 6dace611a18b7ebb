"""The directive ``options``: a table of a dataclass's options, made from the class itself.

.. code-block:: rst

    .. options:: cfmiddleware.storage.s3.options.S3Options
       :only: bucket region

An option's text stands once, after its ``:param:`` in the docstring of the class.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList
from optionrows import Row, options_class, rows


class Options(Directive):
    """Show the options of the class that the argument names, or the ones that ``:only:`` lists."""

    required_arguments = 1
    option_spec = {"only": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        try:
            known = {row.name.strip("`"): row for row in rows(options_class(self.arguments[0]))}
            wanted = self.options["only"].split() if "only" in self.options else list(known)
            lines = list(_table([known[name] for name in wanted]))
        except (ImportError, AttributeError, KeyError) as error:
            raise self.error(f"no such class or option: {error}") from error
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.arguments[0]), self.content_offset, node)
        return node.children


def _table(shown: list[Row]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 11 13 56", ""]
    for row in [Row("Option", "Form", "Default", "Effect"), *shown]:
        for mark, cell in zip("*   ", row, strict=True):
            lines.append(f"   {mark} - {cell}".rstrip())
    return lines


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("options", Options)
    return {"parallel_read_safe": True}
