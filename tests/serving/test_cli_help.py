"""The help of each command says what is needed to use it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cfmiddleware.cli import main
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


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    assert output(capsys, "--version") == f"cfmiddleware {__version__}"


@pytest.mark.parametrize("arguments", [[], ["serv"], ["sign"], ["edge"], ["keygen", "--type", "dsa"]])
def test_what_is_no_command_ends_with_status_2(capsys: pytest.CaptureFixture[str], arguments: list[str]):
    with pytest.raises(SystemExit) as end:
        main(arguments)

    assert end.value.code == 2
    assert "usage: cfmiddleware" in capsys.readouterr().err


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "cfmiddleware", "--version"]

    assert subprocess.run(command, capture_output=True, text=True).stdout == f"cfmiddleware {__version__}\n"
