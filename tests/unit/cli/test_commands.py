"""Commands are found by their names, and cost only what they need themselves."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from cfmiddleware.cli.commands import _COMMANDS, command_line


def names(first: str = "") -> list[str]:
    (commands,) = [
        action for action in command_line(first)._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return list(commands.choices)


def test_the_help_has_all_of_them_in_their_order() -> None:
    assert names() == names("no such command") == list(_COMMANDS)


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_command_is_found_by_its_name(name: str) -> None:
    assert names(name) == [name]


def test_the_command_that_is_asked_for_is_the_only_one_that_is_imported() -> None:
    code = (
        "import sys; from cfmiddleware.cli.commands import command_line; command_line('gc'); "
        "print([name for name in ('serve', 'checkcommand', 'keygen') if f'cfmiddleware.cli.{name}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
