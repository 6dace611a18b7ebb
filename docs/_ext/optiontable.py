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
from listtable import table

from cfmiddleware.config.optionrows import options_class, rows

_HEADER = ("Option", "Form", "Default", "Effect")


class Options(Directive):
    """Show the options of the class that the argument names, or the ones that ``:only:`` lists."""

    required_arguments = 1
    option_spec = {"only": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        try:
            known = {row.name.strip("`"): row for row in rows(options_class(self.arguments[0]))}
            wanted = self.options["only"].split() if "only" in self.options else list(known)
            shown = [known[name] for name in wanted]
        except (ImportError, AttributeError, KeyError) as error:
            raise self.error(f"no such class or option: {error}") from error
        return table(self, self.arguments[0], "20 11 13 56", _HEADER, shown, "options")


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("options", Options)
    return {"parallel_read_safe": True}
