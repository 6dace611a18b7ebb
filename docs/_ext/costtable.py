"""The directive ``costs``: what a million pulls cost, and ``prices``: what it is reckoned from."""

from __future__ import annotations

from typing import Any

from costrows import HEADER, prices, rows
from docutils import nodes
from docutils.parsers.rst import Directive
from listtable import table


class Costs(Directive):
    """Show what ``costrows.py`` reckons."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return table(self, "costrows.py", "24 28 12 12 12 12", HEADER, rows(), "numbers")


class Prices(Directive):
    """Show the file of prices, with its date and sources."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        shown = [(name, str(value)) for name, value in prices().items() if not isinstance(value, dict)]
        for service, priced in prices().items():
            if isinstance(priced, dict):
                shown += [(f"{service}: {name}", _written(value)) for name, value in priced.items()]
        return table(self, "prices.yml", "40 60", ("Price", "US dollars"), shown)


def _written(value: object) -> str:
    if not isinstance(value, list):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return "; ".join(f"{price:g}" + (f" for {most:,}" if most else " beyond") for most, price in value)


def setup(app: Any) -> dict[str, bool]:
    """Make the directives known to Sphinx."""
    app.add_directive("costs", Costs)
    app.add_directive("prices", Prices)
    return {"parallel_read_safe": True}
