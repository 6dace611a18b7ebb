"""The help of each command says what is needed to use it."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from cfmiddleware.cli import main
from cfmiddleware.cli.commands import command_line
from cfmiddleware.version import __version__


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["serve", "edge", "sign", "keygen", "CloudFront-signed URLs"]),
        (
            ["serve"],
            ["CONFIG", "--data", "--addr", "--edge-addr", "127.0.0.1:5000", "127.0.0.1:5001", "Ctrl-C"],
        ),
        (["edge"], ["CONFIG", "--addr", "edge.addr", "Origin Path", "without its signature"]),
        (["sign"], ["URL-or-digest", "--config", "--data", "--privatekey", "--keypairid", "--address"]),
        (["check"], ["CONFIG", "--data", "--digest", "--url", "--login", "--json", "Exit status: 0 without"]),
        (["delete"], ["CONFIG", "NAME[:TAG|@DIGEST]", "--dry-run", "--yes", "--json", "Protected", "gc"]),
        (["purge"], ["CONFIG", "--dry-run", "--age", "168h", "--json", "Exit status: 0", "at any moment"]),
        (["verify"], ["CONFIG", "--all", "--sample", "--rate", "--repository", "--json", "75 where"]),
        (["explain"], ["URL", "--config", "--answer", "--offline", "--json", "No signature is printed"]),
        (
            ["notifications"],
            ["CONFIG", "resend", "drop", "--endpoint", "--dead", "--all", "--json"],
        ),
        (["keygen"], ["--type", "--out", "RSA (2048 bits)", "ECDSA (P-256)", "never overwritten"]),
    ],
    ids=lambda value: "-".join(value[:1]),
)
def test_help_says_what_is_needed(capsys: pytest.CaptureFixture[str], command: list[str], words: list[str]):
    said = output(capsys, *command, "--help")

    assert [word for word in words if word not in said] == []


def test_the_version_is_told_with_those_of_the_libraries(capsys: pytest.CaptureFixture[str]):
    told = output(capsys, "--version")
    assert told.startswith(f"cfmiddleware {__version__} Python {platform.python_version()}, werkzeug ")
    for name in ("boto3", "rsa", "PyYAML"):
        assert f"{name} {version(name)}" in told


def test_without_a_command_the_first_steps_are_shown(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    known = command_line().commands()
    steps = re.findall(r"^  cfmiddleware ([a-z]+)", shown.out, re.MULTILINE)
    assert steps
    assert set(steps) <= set(known)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["serv"], "cfmiddleware: error: there is no command 'serv' (did you mean 'serve'?)"),
        (["gc", "c.yml", "--dry-rum"], "there is no option --dry-rum (did you mean '--dry-run'?)"),
        (["sign", "--adress=1.2.3.4", "a"], "there is no option --adress (did you mean '--address'?)"),
        (["--verson", "serve"], "there is no option --verson (did you mean '--version'?)"),
        (["keygen", "--type", "dsa"], "argument --type: it cannot be 'dsa' (did you mean 'ecdsa'?)"),
        (["completion", "powershell"], "it cannot be 'powershell'; there are: bash, zsh, fish"),
        (["keygen", "more"], "'more' is one argument too many"),
    ],
)
def test_what_is_not_known_is_told_with_what_is_near(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["serv"], ["sign"], ["edge"], ["keygen", "--type", "dsa"]])
def test_what_is_no_command_ends_with_status_2(capsys: pytest.CaptureFixture[str], arguments: list[str]):
    with pytest.raises(SystemExit) as end:
        main(arguments)

    assert end.value.code == 2
    assert "usage: cfmiddleware" in capsys.readouterr().err


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "cfmiddleware", "--version"]

    told = subprocess.run(command, capture_output=True, text=True).stdout
    assert told.startswith(f"cfmiddleware {__version__}\nPython ")
