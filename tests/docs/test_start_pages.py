"""The pages that begin, and those that wrap an app, followed by a reader in a clean directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.aws_play import Aws
from lab.clients import find_program
from lab.cloudfront_control import running_control
from lab.cloudfront_play import Stage
from lab.images import make_image
from lab.pages import Reader


def skopeo(directory: Path) -> str:
    """Return a skopeo for which Docker Hub is an image on the disk."""
    make_image(directory / "busybox", big_layer=4096)
    return f"""#!/bin/bash
exec {find_program("skopeo")} --insecure-policy "${{@/docker:\\/\\/docker.io\\/library/oci:{directory}}}"
"""


@pytest.mark.clients
def test_the_start_on_your_machine(tmp_path: Path):
    with Reader(tmp_path, {"skopeo": skopeo(tmp_path)}, {}) as reader:
        reader.follow("start")


@pytest.mark.clients
@pytest.mark.long
def test_the_start_with_cloudfront(tmp_path: Path):
    with (
        running_control() as (server, kept),
        Stage(server, kept).open() as stage,
        Aws(stage).programs() as programs,
        Reader(tmp_path, {**programs, "skopeo": skopeo(tmp_path)}, Aws(stage).variables()) as reader,
    ):
        reader.follow("start-aws")


@pytest.mark.parametrize(
    "page",
    [
        "wrap-gunicorn",
        *(pytest.param(f"wrap-{name}", marks=pytest.mark.long) for name in ("flask", "django", "paste")),
    ],
)
def test_an_app_is_wrapped(page: str, tmp_path: Path):
    with Reader(tmp_path, {}, {}) as reader:
        reader.follow(page)
