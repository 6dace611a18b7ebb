"""The pages that begin, and those that wrap an app, followed by a reader in a clean directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lab import PROJECT
from lab.aws_play import Aws
from lab.clients import Skopeo, find_program
from lab.cloudfront_control import running_control
from lab.cloudfront_play import Stage
from lab.docker_registry import require_docker_registry, running_docker_registry
from lab.images import make_image
from lab.pages import Reader, blocks
from lab.prometheus_server import require_prometheus
from lab.servers import running_moto

from cfmiddleware.config import Config


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
        *(pytest.param(name, marks=pytest.mark.long) for name in ("wrap-flask", "wrap-django", "wrap-paste")),
    ],
)
def test_an_app_is_wrapped(page: str, tmp_path: Path):
    with Reader(tmp_path, {}, {}) as reader:
        reader.follow(page)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("tls", marks=pytest.mark.long),
        "rotate",
    ],
)
def test_a_registry_is_run(page: str, tmp_path: Path):
    with Reader(tmp_path, {}, {}) as reader:
        reader.follow(page)


@pytest.mark.clients
@pytest.mark.parametrize("page", ["clean-up", "refused", pytest.param("observing", marks=pytest.mark.long)])
def test_a_registry_with_an_image_is_run(page: str, tmp_path: Path):
    with Reader(tmp_path, {"skopeo": skopeo(tmp_path)}, {}) as reader:
        reader.follow(page)


@pytest.mark.clients
@pytest.mark.servers
def test_a_dashboard_is_tried(tmp_path: Path):
    require_prometheus()
    with Reader(tmp_path, {"skopeo": skopeo(tmp_path)}, {}) as reader:
        for file in (PROJECT / "docs" / "prometheus").glob("*.yml"):
            shutil.copy(file, reader.directory)
        reader.follow("dashboard")


@pytest.mark.clients
@pytest.mark.long
def test_the_move_from_distribution(tmp_path: Path):
    require_docker_registry()
    with running_moto() as server:
        server.client().create_bucket(Bucket="images-of-ours")
        their = tmp_path / "theirs"
        their.mkdir()
        with running_docker_registry(their, server, "images-of-ours", "team/prod") as registry:
            make_image(their / "image", big_layer=4096)
            Skopeo(their / "skopeo").push(their / "image", f"{registry.address}/their/app:1")
        variables = {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }
        with Reader(tmp_path, {"skopeo": skopeo(tmp_path)}, variables) as reader:
            reader.follow("migrating")


@pytest.mark.parametrize("page", ["s3-ceph", "s3-minio", "s3-r2"])
def test_a_configuration_is_taken(page: str, tmp_path: Path):
    (block,) = blocks(page)
    (tmp_path / block.caption).write_text(block.text)
    assert Config.load(tmp_path / block.caption, {}).settings
