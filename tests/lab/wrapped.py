"""Other people's registries behind the wrapper, as pages of the docs say, with our edge for CloudFront."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from cfmiddleware.signing.keys import generate
from lab import PROJECT
from lab.servers import CFMIDDLEWARE, S3Server, free_port, running

#: The key pair and the distribution of the pages.
KEY_PAIR_ID = "K2JCJMDEHXQW5F"
DISTRIBUTION = "https://d111111abcdef8.cloudfront.net"

#: How long a program of an app may take: far longer than any takes on a busy machine.
SECONDS = 300

_BLOCK = re.compile(r"^(?:\.\. code-block:: \w+|.*::)\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def environment_of(app: str) -> Path:
    """Return where the programs of *app* are that `.ci/` has installed; skip the test where it has not."""
    variable = f"WRAPPED_{app.upper().replace('-', '_')}"
    if variable not in os.environ:
        pytest.skip(f"{variable} names no virtual environment; .ci/{app} makes one")
    return Path(os.environ[variable]) / "bin"


def call(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it wrote.

    :param env: variables on top of this process's own environment.
    :raises AssertionError: with what it wrote, when it fails.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def blocks(page: str) -> list[str]:
    """Return the blocks of code of a page in the docs."""
    text = (PROJECT / "docs" / f"{page}.rst").read_text(encoding="utf-8")
    return [dedent(block).strip() + "\n" for block in _BLOCK.findall(text)]


def block(page: str, beginning: str) -> str:
    """Return the one block of a page that begins so."""
    (found,) = [each for each in blocks(page) if each.startswith(beginning)]
    return found


def edge(
    here: Path, s3: S3Server, bucket: str, originpath: str = ""
) -> contextlib.AbstractContextManager[str]:
    """Run our edge in CloudFront's place, over a bucket, and yield its URL.

    :param here: where the page's private key is put.
    """
    return _edge(here, {"s3": s3.driver_options(bucket)}, originpath)


def edge_of_directory(here: Path, directory: Path) -> contextlib.AbstractContextManager[str]:
    """Run our edge over a directory that stands for a mounted bucket, and yield its URL."""
    return _edge(here, {"filesystem": {"rootdirectory": str(directory)}}, "")


@contextlib.contextmanager
def _edge(here: Path, storage: dict[str, Any], originpath: str) -> Iterator[str]:
    key, port = generate("rsa"), free_port()
    (here / f"pk-{KEY_PAIR_ID}.pem").write_text(key.private_pem)
    (here / f"{KEY_PAIR_ID}.pub").write_text(key.public_pem)
    options = {
        "originpath": originpath,
        "publickeys": {KEY_PAIR_ID: f"{KEY_PAIR_ID}.pub"},
        "storage": storage,
    }
    (here / "edge.yml").write_text(json.dumps({"edge": options}))  # JSON is YAML
    command = [CFMIDDLEWARE, "edge", str(here / "edge.yml"), "--addr", f"127.0.0.1:{port}"]
    with running(command, here / "edge", ports=[port]):
        yield f"http://127.0.0.1:{port}"
