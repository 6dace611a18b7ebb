"""Shells complete the command line: each is a real one, which has read the script and is asked for more."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.servers import CFMIDDLEWARE

from cfmiddleware.cli.commands import command_line
from cfmiddleware.cli.completion import script


def bash(line: str, directory: Path) -> set[str]:
    """Return what bash offers at the end of a line. It completes files itself where nothing is offered."""
    words = line.split(" ")
    asked = (
        f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; "
        f"_cfmiddleware; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = run(["bash", "--norc", "-c", script("bash", command_line()) + asked], directory)
    return set(done.split()) or {file.name for file in directory.iterdir() if file.name.startswith(words[-1])}


def fish(line: str, directory: Path) -> set[str]:
    """Return what fish offers at the end of a line."""
    asked = f"{script('fish', command_line())}\ncomplete -C '{line}'"
    done = run(["fish", "--no-config", "-c", asked], directory)
    return {offered.partition("\t")[0] for offered in done.splitlines()}


def zsh(line: str, directory: Path) -> set[str]:
    """Return what zsh lists after two tabs at the end of a line."""
    (directory / ".zsh").write_text(
        "autoload -U compinit; compinit -D -u; zstyle ':completion:*' list-colors ''\n"
        "setopt nolistbeep; LISTMAX=1000\n" + script("zsh", command_line())
    )
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(directory)
        environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "> ", "HOME": str(directory)}
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
    try:
        os.write(terminal, b"stty cols 200 rows 100; source ./.zsh && print re''ady\n")
        read_until(terminal, "ready\r\n")
        os.write(terminal, line.encode() + b"\t\t")
        said = read_until(terminal, "\0", seconds=1.5)
        (directory / ".zsh").unlink()
        return set(re.findall(r"[A-Za-z.-]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", said)))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)


def read_until(terminal: int, end: str, seconds: float = 20) -> str:
    said, until = "", time.monotonic() + seconds
    while end not in said and (left := until - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            said += os.read(terminal, 65536).decode(errors="replace")
    return said


def run(command: list[str], directory: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "TERM": "dumb"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout


SHELLS = [
    pytest.param(
        shell,
        id=shell.__name__,
        marks=pytest.mark.skipif(shutil.which(shell.__name__) is None, reason=f"{shell.__name__} is missing"),
    )
    for shell in (bash, zsh, fish)
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "offered", "not_offered"),
    [
        ("cfmiddleware ke", {"keygen", "keys"}, {"serve"}),
        ("cfmiddleware gc --d", {"--dry-run", "--delete-untagged"}, {"--grace"}),
        ("cfmiddleware keygen --type ", {"rsa", "ecdsa"}, {"--out"}),
        ("cfmiddleware completion ", {"bash", "zsh", "fish"}, {"serve"}),
        ("cfmiddleware serve conf", {"config.yml"}, {"other.yml"}),
        ("cfmiddleware sign --config conf", {"config.yml"}, {"other.yml"}),
    ],
)
def test_commands_options_values_and_files_are_completed(
    shell: Callable[[str, Path], set[str]],
    line: str,
    offered: set[str],
    not_offered: set[str],
    tmp_path: Path,
):
    for name in ("config.yml", "config.yaml", "other.yml"):
        (tmp_path / name).touch()
    found = shell(line, tmp_path)
    assert offered <= found
    assert not found & not_offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_the_script(shell: str):
    done = subprocess.run([CFMIDDLEWARE, "completion", shell], capture_output=True, text=True, check=True)
    assert done.stdout == script(shell, command_line())
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_command_and_each_option_is_there(shell: str):
    said = script(shell, command_line())
    for name, parser in command_line().commands().items():
        assert name in said
        for action in parser._actions:
            for option in action.option_strings:
                assert option.lstrip("-") in said
