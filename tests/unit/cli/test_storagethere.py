"""Commands that work on what is stored do not make a storage where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfmiddleware.cli import main

RULES = "retention: [{repositories: '*', keep: {last: 1}}]"

COMMANDS = [
    ["gc"],
    ["gc", "--dry-run"],
    ["gc", "--why", f"sha256:{'a' * 64}"],
    ["retention"],
    ["retention", "--dry-run"],
    ["purge"],
    ["purge", "--dry-run"],
    ["delete", "app", "--yes"],
    ["delete", "app:*", "--dry-run"],
    ["verify"],
    ["referrers"],
]


def run(here: Path, storage: str, command: list[str]) -> int:
    config = here / "config.yml"
    config.write_text(f"storage: {storage}\n{RULES}")
    return main([command[0], str(config), *command[1:]])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_directory_that_is_not_there_is_one_line_and_is_not_made(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "{filesystem: {rootdirectory: dta}}", command) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"cfmiddleware: {tmp_path}/config.yml: storage.filesystem.rootdirectory: '{tmp_path}/dta': "
        "No such file or directory\n",
    )
    assert not (tmp_path / "dta").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_memory_of_a_server_is_seen_by_no_command(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "{inmemory: {}}", command) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err == (
        f"cfmiddleware: {tmp_path}/config.yml: storage.inmemory: is the memory of each server, which no "
        "command sees\n"
    )


def test_what_a_command_writes_for_itself_is_not_a_registry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    for command in (["gc"], ["purge"], ["retention"]):
        assert run(tmp_path, "{filesystem: {rootdirectory: data}}", command) == 0
    assert run(tmp_path, "{filesystem: {rootdirectory: data}}", ["verify"]) == 2
    assert "nothing of a registry is in" in capsys.readouterr().err
