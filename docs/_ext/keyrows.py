"""What the table of Distribution's keys says. It needs nothing but the package."""

from __future__ import annotations

from cfmiddleware.config.distributionkeys import Key


def cells(key: Key) -> tuple[str, str, str]:
    """Return a row, each cell in reStructuredText."""
    below = ", ".join(f"``{name}``" for name in key.below)
    name = f"``{key.name}``: {below}" if below else f"``{key.name}``"
    return name, key.verdict, key.text[:1].upper() + key.text[1:]
