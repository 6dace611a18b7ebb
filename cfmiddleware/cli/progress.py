"""How far a long command is, on standard error."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from cfmiddleware.process.step import Step

from .terminaltext import printable

T = TypeVar("T")

# How often a command says how far it is, in seconds: on a terminal, and in a file.
_OFTEN, _SELDOM = 0.2, 60.0

_BAR = 20


class Progress:
    """Says on standard error how far a command is: in one line of a terminal, with a bar where it is known
    how much there is, or in a line a minute.
    """

    def __init__(self) -> None:
        # A dumb terminal cannot clear a line.
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._next = time.monotonic() + (0 if self._terminal else _SELDOM)
        self._written = False
        # What is counted, when that began and how much was done then.
        self._what, self._began, self._before = "", 0.0, 0

    def __call__(self, line: str) -> None:
        """Say a line, unless the last one was a moment ago.

        :param line: a :class:`Step` where something can be counted.
        """
        now = time.monotonic()
        if isinstance(line, Step) and line.what != self._what:
            self._what, self._began, self._before = line.what, now, line.done
        if now < self._next:
            return
        self._next = now + (_OFTEN if self._terminal else _SELDOM)
        text = self._measured(line, now) if isinstance(line, Step) else line
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{printable(text)[:width]}", end="", file=sys.stderr, flush=True)
            self._written = True
        else:
            print(printable(text), file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the line of the terminal, before an error is said."""
        self.end()

    def through(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, with a clear line while each is dealt with."""
        for item in items:
            self.end()
            yield item

    def clearing(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Return what says a line elsewhere, when the one of the terminal is cleared."""

        def said(line: str) -> None:
            self.end()
            say(line)

        return said

    def end(self) -> None:
        """Clear the line of the terminal, before something else is printed. The next line brings it back."""
        if self._written:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._written = False

    def _measured(self, step: Step, now: float) -> str:
        passed = now - self._began
        rate = (step.done - self._before) / passed if passed > 0 else 0.0
        text = f"{step.done} of {step.total} {step.what}" if step.total else f"{step.done} {step.what}"
        if rate:
            text += f", {rate:.0f}/s" if rate >= 10 else f", {rate:.1f}/s"
            if step.total:
                text += f", {_span((step.total - step.done) / rate)} left"
        if step.total and self._terminal:
            full = min(_BAR, _BAR * step.done // step.total)
            text = f"[{'#' * full}{'.' * (_BAR - full)}] {text}"
        return f"{text}  {step}" if step else text


def _span(seconds: float) -> str:
    """Return a span of time in two units at the most."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
