"""Other people's registries behind the wrapper, as pages of the docs say, with our edge for CloudFront."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from cfmiddleware.signing.keys import generate
from lab import PROJECT
from lab.servers import CFMIDDLEWARE, S3Server, free_port, running

#: The key pair and the distribution of the pages.
KEY_PAIR_ID = "K2JCJMDEHXQW5F"
DISTRIBUTION = "https://d111111abcdef8.cloudfront.net"

_BLOCK = re.compile(r"^(?:\.\. code-block:: \w+|.*::)\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def environment_of(app: str) -> Path:
    """Return where the programs of *app* are that `.ci/` has installed; skip the test where it has not."""
    variable = f"WRAPPED_{app.upper().replace('-', '_')}"
    if variable not in os.environ:
        pytest.skip(f"{variable} names no virtual environment; .ci/{app} makes one")
    return Path(os.environ[variable]) / "bin"


def blocks(page: str) -> list[str]:
    """Return the blocks of code of a page in the docs."""
    text = (PROJECT / "docs" / f"{page}.rst").read_text(encoding="utf-8")
    return [dedent(block).strip() + "\n" for block in _BLOCK.findall(text)]


def block(page: str, beginning: str) -> str:
    """Return the one block of a page that begins so."""
    (found,) = [each for each in blocks(page) if each.startswith(beginning)]
    return found


@contextlib.contextmanager
def edge(here: Path, s3: S3Server, bucket: str, originpath: str) -> Iterator[str]:
    """Run our edge in CloudFront's place, over a bucket, and yield its URL.

    :param here: where the page's private key is put.
    """
    key, port = generate("rsa"), free_port()
    (here / f"pk-{KEY_PAIR_ID}.pem").write_text(key.private_pem)
    (here / f"{KEY_PAIR_ID}.pub").write_text(key.public_pem)
    storage = "".join(f"      {name}: {value!r}\n" for name, value in s3.driver_options(bucket).items())
    (here / "edge.yml").write_text(
        f"edge:\n  originpath: {originpath!r}\n  publickeys: {{{KEY_PAIR_ID}: {KEY_PAIR_ID}.pub}}\n"
        f"  storage:\n    s3:\n{storage}"
    )
    command = [CFMIDDLEWARE, "edge", str(here / "edge.yml"), "--addr", f"127.0.0.1:{port}"]
    with running(command, here / "edge", ports=[port]):
        yield f"http://127.0.0.1:{port}"
