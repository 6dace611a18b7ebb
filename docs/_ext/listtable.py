"""A table that a directive makes of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList


def table(
    directive: Directive,
    source: str,
    widths: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    kind: str = "",
) -> list[nodes.Node]:
    """Return a table, each cell in reStructuredText.

    :param source: where the rows come from, for messages.
    :param widths: of the columns, as percentages.
    :param kind: a class of the table for ``_static/site.css``.
    """
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        f"   :widths: {widths}",
        f"   :class: {kind or 'plain'}",
        "",
    ]
    for row in (header, *rows):
        for mark, cell in zip("*" + " " * (len(header) - 1), row, strict=True):
            lines.append(f"   {mark} - {cell}".rstrip())
    node = nodes.container()
    directive.state.nested_parse(StringList(lines, source=source), directive.content_offset, node)
    return node.children
