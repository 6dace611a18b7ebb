"""The manual pages say what the help says, are fresh, and are found once the wheel is installed."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from lab import PROJECT
from lab.packages import Built
from lab.required import cannot_run

from cfmiddleware.cli.commands import command_line
from cfmiddleware.cli.manpage import pages, undated, write
from cfmiddleware.version import __version__

MAN = PROJECT / "docs" / "man"
PAGES = sorted(MAN.glob("*.1"))


def program(name: str) -> str:
    """Return where a program is, whose test cannot run without it."""
    return shutil.which(name) or cannot_run(f"{name} is missing; scripts/packages installs it")


def test_the_pages_are_those_that_the_parsers_give():
    """Otherwise: scripts/manpages."""
    kept = {file.name: undated(file.read_text(encoding="utf-8")) for file in PAGES}
    assert kept == {name: undated(text) for name, text in pages("2000-01-01").items()}


def test_every_command_and_every_option_is_there():
    commands = command_line().commands()
    assert {file.name for file in PAGES} == {
        "cfmiddleware.1",
        *(f"cfmiddleware-{name}.1" for name in commands),
    }
    for name, parser in commands.items():
        page = (MAN / f"cfmiddleware-{name}.1").read_text(encoding="utf-8").replace("\\", "")
        for action in parser._actions:
            words = action.option_strings or [str(action.metavar or "")]
            assert [word for word in words if word not in page] == []


def test_a_page_has_the_statuses_files_and_environment():
    page = (MAN / "cfmiddleware-verify.1").read_text(encoding="utf-8")
    assert re.findall(r'^\.SH "?([A-Z ]+)', page, re.MULTILINE) == [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "ARGUMENTS",
        "OPTIONS",
        "EXIT STATUS",
        "FILES",
        "ENVIRONMENT",
        "SEE ALSO",
    ]
    statuses = dict(re.findall(r"^\.B (\d+)\n(.*)$", page, re.MULTILINE))
    assert statuses["1"] == "Where something is broken."
    assert statuses["75"] == "Where the storage does not answer."
    assert {"0", "2", "130"} < set(statuses)
    assert ".B config.yml" in page
    assert ".B REGISTRY_..." in page


def test_no_page_has_anything_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    here = pages("2000-01-01")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "40")
    assert pages("2000-01-01") == here


def test_a_page_keeps_its_date_until_it_changes(tmp_path: Path):
    assert len(write(tmp_path, "2000-01-01")) == len(PAGES)
    (tmp_path / "cfmiddleware-gone.1").touch()
    (tmp_path / "cfmiddleware-gc.1").write_text("old")
    assert write(tmp_path, "2001-01-01") == ["cfmiddleware-gc.1", "cfmiddleware-gone.1"]
    assert '"2001-01-01"' in (tmp_path / "cfmiddleware-gc.1").read_text()
    assert '"2000-01-01"' in (tmp_path / "cfmiddleware-purge.1").read_text()


def test_what_troff_would_take_for_its_own_is_text(monkeypatch: pytest.MonkeyPatch):
    import cfmiddleware.cli.manpage as manpage

    odd = ".so /etc/passwd 'quoted' \\fB ~/x -- \"a\""
    parser = argparse.ArgumentParser(prog="cfmiddleware odd", description=odd)
    page = manpage._page("odd", parser, odd, "2000-01-01")
    shown = subprocess.run(
        [program("groff"), "-man", "-ww", "-Tascii", "-P-c", "-P-b", "-P-u", "-rLL=200n"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    assert shown.stdout.count(odd) == 2


def test_troff_and_mandoc_have_no_complaint():
    groff = subprocess.run(
        [program("groff"), "-man", "-ww", "-z", *PAGES], capture_output=True, text=True, check=True
    )
    assert groff.stdout + groff.stderr == ""
    mandoc = subprocess.run(
        [program("mandoc"), "-T", "lint", "-W", "warning", *PAGES], capture_output=True, text=True
    )
    assert mandoc.stdout + mandoc.stderr == ""
    assert mandoc.returncode == 0


def test_man_finds_the_pages_beside_the_commands_of_an_environment(built: Built, tmp_path: Path):
    with zipfile.ZipFile(built.wheel) as wheel:  # laid as pip lays it
        data = f"cfmiddleware-{__version__}.data/data/"
        wheel.extractall(tmp_path, [name for name in wheel.namelist() if name.startswith(data)])
    prefix = tmp_path / data
    (prefix / "bin").mkdir()
    environment = {**os.environ, "PATH": f"{prefix / 'bin'}:{os.environ['PATH']}"}
    environment.pop("MANPATH", None)
    for name in ("cfmiddleware", "cfmiddleware-gc"):
        found = subprocess.run(
            [program("man"), "-w", name], env=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == str(prefix / "share" / "man" / "man1" / f"{name}.1")
