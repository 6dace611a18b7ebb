"""How often a long command says how far it is, and where."""

from __future__ import annotations

import io
import sys
import time

import pytest

from cfmiddleware.cli.progress import Progress


class Stream(io.StringIO):
    """What standard error is."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def said(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    """Say something every second for three minutes, and return what was written."""
    stream, clock = Stream(terminal=terminal), [1000.0]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = Progress()
    for number in range(181):
        progress(f"step {number}")
        clock[0] += 1
    progress.end()
    return stream.getvalue()


def test_in_a_file_it_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, terminal=False) == "step 60\nstep 120\nstep 180\n"


def test_on_a_terminal_it_is_one_line_that_changes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, terminal=True)
    assert "\n" not in text
    assert text.count("\r\033[Kstep ") == 181
    assert text.endswith("\r\033[K")
