"""How far a long command is, on standard error."""

from __future__ import annotations

import sys
import time

# How often a command says how far it is, in seconds: on a terminal, and in a file.
_OFTEN, _SELDOM = 0.2, 60.0


class Progress:
    """Says on standard error how far a command is: in one line of a terminal, or in a line a minute."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (0 if self._terminal else _SELDOM)
        self._written = False

    def __call__(self, line: str) -> None:
        """Say a line, unless the last one was a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_OFTEN if self._terminal else _SELDOM)
        if self._terminal:
            print(f"\r\033[K{line[:78]}", end="", file=sys.stderr, flush=True)
            self._written = True
        else:
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line of the terminal."""
        if self._written:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._written = False
