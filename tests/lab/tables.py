"""Tables in the docs that tests make: they compare them, and write them where `WRITE_TABLES` is set."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence

from lab import PROJECT

_WIDTH = 110


def list_table(heads: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int] = ()) -> str:
    """Return a table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1"]
    if widths:
        lines.append(f"   :widths: {' '.join(map(str, widths))}")
    lines.append("")
    for row in (heads, *rows):
        for number, cell in enumerate(row):
            lines += textwrap.wrap(
                cell,
                _WIDTH,
                initial_indent="   * - " if number == 0 else "     - ",
                subsequent_indent="       ",
                break_long_words=False,
                break_on_hyphens=False,
            ) or ["     -"]
    return "\n".join(lines) + "\n"


def compare(page: str, name: str, table: str) -> None:
    """See that a page of the docs has a table between the comments that begin and end it."""
    file = PROJECT / "docs" / page
    text = file.read_text(encoding="utf-8")
    begin, end = f".. begin {name}\n\n", f".. end {name}\n"
    before, _, rest = text.partition(begin)
    found, _, after = rest.partition(end)
    assert after, f"docs/{page} has no comments '.. begin {name}' and '.. end {name}'"
    if os.environ.get("WRITE_TABLES"):
        file.write_text(f"{before}{begin}{table}\n{end}{after}", encoding="utf-8")
    else:
        assert found == table + "\n", f"docs/{page}: WRITE_TABLES=1 pytest ... writes the table {name}"
