"""The errors that pass from room to room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cfmiddleware.errors import ConfigError, cannot_be_read


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\u2028"])
def test_a_message_is_one_line_whatever_the_operator_wrote(text: str):
    assert str(ConfigError(f"{text}: unknown")).isprintable()


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (lambda here: (here / "none").read_text(), "cannot be read: No such file or directory"),
        (lambda here: here.read_text(), "cannot be read: Is a directory"),
        (lambda here: (here / "a\0b").read_text(), "cannot be read: that is not a path"),
        (lambda here: b"\xff".decode(), "cannot be read: it is not UTF-8 text"),
    ],
)
def test_why_a_file_cannot_be_read(tmp_path: Path, read: Callable[[Path], object], line: str):
    with pytest.raises((OSError, ValueError)) as caught:
        read(tmp_path)
    assert cannot_be_read(caught.value) == line


def test_an_error_of_the_system_without_words_is_named():
    assert cannot_be_read(TimeoutError()) == "cannot be read: TimeoutError"
