"""A command whose standard streams are closed, full or not read ends with the right status."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lab.registry_client import RegistryClient
from lab.servers import CFMIDDLEWARE
from lab.verifying import whole_image

from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver

FULL = "cfmiddleware: cannot write what it has to say: No space left on device\n"

PRINTING = ["", "--version", "config --schema", "config config.yml", "completion bash"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "config.yml").write_text("version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n")
    whole_image(RegistryClient(FilesystemDriver(tmp_path / "data")))
    return tmp_path


def run(line: str, directory: Path) -> tuple[int, str, str]:
    """Run a line of bash, and return its status and what came to standard output and standard error."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {CFMIDDLEWARE} {line}"],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", PRINTING)
def test_a_full_disk_is_told_in_one_line(command: str, directory: Path):
    assert run(f"{command} > /dev/full", directory) == (74, "", FULL)


@pytest.mark.parametrize("command", PRINTING)
def test_nobody_who_reads_is_no_word(command: str, directory: Path):
    assert run(f"{command} | true", directory) in ((1, "", ""), (0, "", ""))


def test_errors_do_not_go_elsewhere_where_their_stream_is_closed(directory: Path):
    assert run("gc none.yml 2>&-", directory) == (2, "", "")
    assert run("wrong 2>&-", directory) == (2, "", "")


def test_a_command_works_without_streams(directory: Path):
    """No file of the storage gets the number of one, and whether it is a terminal can be asked."""
    status, out, err = run("gc config.yml 2>&-", directory)
    assert (status, err) == (0, "")
    assert "repositories" in out
    assert run("gc config.yml <&- >&- 2>&-", directory) == (0, "", "")
    assert run("verify config.yml >&-", directory)[::2] == (0, "")
