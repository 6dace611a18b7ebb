"""How often a long command says how far it is, and where."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable

import pytest

from cfmiddleware.cli.progress import Progress
from cfmiddleware.process.step import Step


class Stream(io.StringIO):
    """What standard error is."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def said(
    monkeypatch: pytest.MonkeyPatch,
    *,
    terminal: bool,
    line: Callable[[int], str] = lambda number: f"step {number}",
) -> str:
    """Say something every second for three minutes, and return what was written."""
    stream, clock = Stream(terminal=terminal), [1000.0]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    progress = Progress()
    for number in range(181):
        progress(line(number))
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


def blob(number: int) -> Step:
    return Step("team/app", 20 * (number + 1), 4000, "blobs read")


def test_a_count_has_a_bar_a_rate_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = said(monkeypatch, terminal=True, line=blob).split("\r\033[K")
    assert (
        lines[101] == "[##########..........] 2020 of 4000 blobs read, 20/s, 1 min 39 s left  team/app"[:79]
    )
    assert all(len(line) <= 79 for line in lines)


def test_in_a_file_a_count_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, terminal=False, line=blob).splitlines() == [
        "1220 of 4000 blobs read, 20/s, 2 min 19 s left  team/app",
        "2420 of 4000 blobs read, 20/s, 1 min 19 s left  team/app",
        "3620 of 4000 blobs read, 20/s, 19 s left  team/app",
    ]


def test_a_count_of_nobody_knows_how_many_has_a_rate_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, terminal=True, line=lambda number: Step("", number + 1, 0, "blobs listed"))
    assert text.split("\r\033[K")[61] == "61 blobs listed, 1.0/s"


def test_the_next_part_of_the_work_has_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def line(number: int) -> Step:
        if number < 90:
            return Step("", 1000 * number, 0, "blobs listed")
        return Step("", number - 89, 1000, "blobs read")

    assert "11 of 1000 blobs read, 1.0/s, 16 min 29 s left" in said(monkeypatch, terminal=True, line=line)


def test_a_terminal_that_cannot_clear_a_line_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Stream(terminal=True))
    monkeypatch.setenv("TERM", "dumb")
    progress = Progress()
    progress("step")
    progress.end()
    assert sys.stderr.getvalue() == ""


def test_the_line_is_gone_before_an_error_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")

    def fail() -> None:
        with Progress() as progress:
            progress("step")
            raise OSError("it")

    with pytest.raises(OSError, match="it"):
        fail()
    assert stream.getvalue() == "\r\033[Kstep\r\033[K"
