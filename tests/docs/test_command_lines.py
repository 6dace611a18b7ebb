"""Each command line that a page or the program itself shows is one that the program takes."""

from __future__ import annotations

import contextlib
import io
import re
import shlex

import pytest
from lab import PROJECT

from cfmiddleware.cli.commands import command_line
from cfmiddleware.cli.firststeps import FIRST_STEPS

PAGES = [*sorted((PROJECT / "docs").glob("*.rst")), PROJECT / "README.rst"]

#: ``cfmiddleware COMMAND ARGUMENT...`` between backquotes, also over the end of a line.
SHOWN = re.compile(r"``(cfmiddleware\s+[a-z]+\s+[^`]+)``")


def refused(line: str) -> str:
    """Return why a command line is not taken, or nothing."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            command_line().parse_args(shlex.split(line)[1:])
        except SystemExit as end:
            if end.code:
                return f"{line}: {said.getvalue().splitlines()[-1]}"
    return ""


def shown(text: str) -> list[str]:
    return [" ".join(line.split()) for line in SHOWN.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_with_arguments_is_one_that_is_taken(page):
    assert [why for line in shown(page.read_text(encoding="utf-8")) if (why := refused(line))] == []


def test_the_first_steps_are_commands_that_are_taken():
    lines = re.findall(r"^  (cfmiddleware .*?)(?:  |$)", FIRST_STEPS, re.MULTILINE)
    assert lines
    assert [why for line in lines if (why := refused(line))] == []


def test_a_command_that_lacks_something_is_found():
    (line,) = shown("see ``cfmiddleware explain\n  URL`` and ``cfmiddleware gc``")
    assert "--config" in refused(line)
