"""What every test stands on. Nothing here is imported that a bare `pip install cfmiddleware` lacks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import Buildah, Podman, Skopeo
from images import Image, Index, make_image, make_index
from servers import S3Server, running_s3


def _is_foreign(variable: str) -> bool:
    if variable == "CFMIDDLEWARE_REQUIRE_CLIENTS":
        return False
    others = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GUNICORN_CMD_ARGS"}
    return variable.startswith(("AWS_", "REGISTRY_", "CFMIDDLEWARE_", "XDG_")) or variable.upper() in others


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the machine's own settings away from the tests and from every process that they start.

    Credentials and settings of AWS, `REGISTRY_...` overrides of the configuration and proxies would change
    what is tested. The variables are gone before the first fixture of any other kind.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(_is_foreign, list(os.environ)):
            patch.delenv(name)
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        # boto3 would ask a machine's metadata service, and read the files of whoever HOME was before.
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(home / "no-aws-config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "no-aws-credentials"))
        yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 without any bucket in it; a test takes a bucket of its own with `new_bucket()`."""
    with running_s3() as server:
        yield server


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image of four layers, one of which holds several megabytes."""
    return make_image(tmp_path_factory.mktemp("image") / "layout")


@pytest.fixture(scope="session")
def other_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A small image that shares its first layer with `image`."""
    return make_image(tmp_path_factory.mktemp("other-image") / "layout", seed=1, big_layer=50_000)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An image for two platforms."""
    return make_index(tmp_path_factory.mktemp("index") / "layout", seed=2)


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    """Skopeo with a home of its own; the test is skipped where there is none."""
    return Skopeo.ready(tmp_path / "skopeo")


@pytest.fixture
def podman(tmp_path: Path) -> Podman:
    """Podman with an image store of its own; the test is skipped where it cannot run."""
    return Podman.ready(tmp_path / "podman")


@pytest.fixture
def buildah(tmp_path: Path) -> Buildah:
    """Buildah with an image store of its own; the test is skipped where it cannot run."""
    return Buildah.ready(tmp_path / "buildah")
