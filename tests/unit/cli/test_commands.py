"""Commands are found by their names, and cost only what they need themselves."""

from __future__ import annotations

import argparse
from types import ModuleType

import pytest

from cfmiddleware.cli import commands
from cfmiddleware.cli.commands import _COMMANDS, command_line


def names(first: str = "") -> list[str]:
    (found,) = [
        action for action in command_line(first)._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return list(found.choices)


def test_the_help_has_all_of_them_in_their_order() -> None:
    assert names() == names("no such command") == list(_COMMANDS)


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_command_is_found_by_its_name(name: str) -> None:
    assert names(name) == [name]


def test_the_command_that_is_asked_for_is_the_only_one_that_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    imported = commands.import_module

    def note(name: str, package: str) -> ModuleType:
        asked.append(name)
        return imported(name, package)

    monkeypatch.setattr(commands, "import_module", note)
    command_line("gc")
    assert asked == [".collectgarbage"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--verison"], "there is no option --verison (did you mean '--version'?)"),
        (["gc", "--dryrun"], "there is no option --dryrun (did you mean '--dry-run'?)"),
        (["explain", "--confg=config.yml", "https://example.com"], "(did you mean '--config'?)"),
        (["GC", "config.yml"], "there is no command 'GC' (did you mean 'gc'?)"),
        (["gc"], "the following arguments are required: CONFIG\n"),
        (["notifications"], "the following arguments are required: CONFIG\n"),
        (["gc", "a.yml", "b.yml"], "'b.yml' is one argument too many"),
    ],
)
def test_what_is_wrong_is_told_before_what_is_missing(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        command_line(arguments[0]).parse_args(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err
