"""Long commands on a terminal: a line that says how far they are, and is gone when they are done."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from lab.servers import CFMIDDLEWARE

CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration whose storage has 30 blobs, each in its repository."""
    directory = tmp_path_factory.mktemp("storage")
    top = directory / "data" / "docker" / "registry" / "v2"
    for number in range(30):
        content = b"%d" % number
        digest = sha256(content).hexdigest()
        data = top / "blobs" / "sha256" / digest[:2] / digest / "data"
        data.parent.mkdir(parents=True)
        data.write_bytes(content)
        link = top / "repositories" / f"app{number}" / "_layers" / "sha256" / digest / "link"
        link.parent.mkdir(parents=True)
        link.write_text(f"sha256:{digest}")
    digest = sha256(b"{}").hexdigest()
    revision = top / "repositories" / "app0" / "_manifests" / "revisions" / "sha256" / digest / "link"
    manifest = top / "blobs" / "sha256" / digest[:2] / digest / "data"
    for path, content in ((revision, f"sha256:{digest}"), (manifest, "{}")):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    file = directory / "config.yml"
    file.write_text(CONFIG.format(root=directory / "data"))
    return file


def begin_upload(root: Path) -> None:
    """Leave an upload that nobody has written to since 2020."""
    uploads = root / "docker" / "registry" / "v2" / "repositories" / "app0" / "_uploads"
    started = uploads / "0d3ee5b8-1d1b-4a4b-9a6e-1b2c3d4e5f60" / "startedat"
    started.parent.mkdir(parents=True)
    started.write_text("2020-01-01T00:00:00Z")
    os.utime(started, (1_577_836_800, 1_577_836_800))


def on_terminal(*arguments: str) -> tuple[str, str]:
    """Run a command whose standard error is a terminal, and return what it prints there and elsewhere."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [CFMIDDLEWARE, *arguments], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as command:
        os.close(theirs)
        shown = b""
        try:
            while said := os.read(ours, 65536):
                shown += said
        except OSError:  # EIO: nobody has the terminal any more
            pass
        assert command.stdout is not None
        printed = command.stdout.read().decode()
    os.close(ours)
    return shown.decode(), printed


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("gc", "--dry-run"), r"\[#*\.*\] \d+ of 30 repositories.*  app\d+: \d manifests, 1 blobs"),
        (("verify",), r"\d+ blobs listed"),
        (("referrers",), r"1 manifests read  app0"),
        (("purge", "--dry-run"), r"1 uploads looked at  app0"),
        (("delete", "--dry-run", "app1", "app2"), r"\[\.*\] 0 of 2 done  app1"),
    ],
    ids=lambda value: value[0],
)
def test_it_says_how_far_it_is_and_clears_the_line(config: Path, command: tuple[str, ...], line: str):
    if command[0] == "purge":
        begin_upload(config.parent / "data")
    shown, printed = on_terminal(command[0], str(config), *command[1:])
    said = shown.split("\r\033[K")
    assert re.search(line, shown), (shown, printed)
    assert said[0] == said[-1] == ""
    assert all(len(each) < 100 and "\n" not in each for each in said)
    assert printed


def test_elsewhere_it_says_nothing_that_takes_less_than_a_minute(config: Path):
    done = subprocess.run([CFMIDDLEWARE, "gc", str(config), "--dry-run"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout
