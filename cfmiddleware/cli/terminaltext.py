"""Text as this terminal can show it."""

from __future__ import annotations

import sys


def can_print(text: str) -> bool:
    """Return whether standard output has all characters of *text*."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def printable(text: str) -> str:
    """Return *text* as this terminal can show it: what it cannot is written as Python would write it."""
    return text if can_print(text) else text.encode("ascii", "backslashreplace").decode("ascii")
