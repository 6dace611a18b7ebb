"""What every test stands on. Nothing here is imported that a bare `pip install cfmiddleware` lacks."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import hangs, inheritedsignals, schedule
from lab.clients import Buildah, Podman, Skopeo
from lab.examples import register_profiles
from lab.images import Image, Index, make_image, make_index
from lab.required import require_ceph
from lab.servers import S3Server
from lab.shared import shared
from lab.tls import write_certificate
from lab.watched_s3 import WATCHED, WatchedS3

#: Tests with one of these marks run only where `-m` names it.
LEFT_OUT = ("long", "pairs", "orders", "types", "site", "composed")

register_profiles()


def pytest_configure(config: pytest.Config) -> None:
    """End what hangs, and start programs that hear signals."""
    hangs.watch(config)
    inheritedsignals.ignore_alone()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Spread the tests by file where pytest-xdist is asked for processes (`-n 4`)."""
    return schedule.scheduler(config, log) if config.option.dist == "load" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked so unless `-m` names the mark, and start what takes longest first."""
    marks = [mark for mark in LEFT_OUT if mark not in config.option.markexpr]
    left_out = [item for item in items if any(map(item.get_closest_marker, marks))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: schedule.rank(item.nodeid))


def _is_foreign(variable: str) -> bool:
    if variable.startswith("CFMIDDLEWARE_REQUIRE_"):
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
        # Hundreds of processes start. Each would compile the whole package, a third of what its start costs.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        # boto3 would ask a machine's metadata service, and read the files of whoever HOME was before.
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(home / "no-aws-config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "no-aws-credentials"))
        yield


@pytest.fixture(scope="session", autouse=True)
def read_boto_once() -> Iterator[None]:
    """Keep what botocore reads of its own files: to parse and to list them is most of what a client costs."""
    from botocore.loaders import JSONFileLoader, Loader

    read = functools.cache(JSONFileLoader().load_file)
    list_services = Loader.list_available_services

    @functools.cache
    def listed(places: tuple[str, ...], kind: str) -> tuple[str, ...]:
        loader = Loader(include_default_search_paths=False)
        loader.search_paths.extend(places)
        return tuple(list_services(loader, kind))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda self, path: read(path))
        patch.setattr(
            Loader,
            "list_available_services",
            lambda self, type_name: list(listed(tuple(self.search_paths), type_name)),
        )
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that all processes of this run of pytest have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def s3_server(run: Path) -> Iterator[S3Server]:
    """An S3 that pip alone brings, without any bucket in it; a test makes its own with `new_bucket()`."""
    with shared("moto", run) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(run: Path) -> Iterator[S3Server]:
    """A real gateway, without any bucket in it; the test is skipped where the machine has none."""
    require_ceph()
    with shared("ceph", run) as server:
        yield server


@pytest.fixture(scope="session", params=["s3_server", "ceph"])
def any_s3(request: pytest.FixtureRequest) -> S3Server:
    """Each of the two above."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key, and the certificate that belongs to it and 127.0.0.1."""
    path = tmp_path_factory.mktemp("certificate") / "own.pem"
    write_certificate(path)
    return path


@pytest.fixture(scope="module")
def watched_moto(s3_server: S3Server) -> Iterator[WatchedS3]:
    """moto, its requests noted; it can be told to fail."""
    with contextlib.closing(WatchedS3(s3_server)) as server:
        yield server


@pytest.fixture(scope="module")
def watched_ceph(ceph: S3Server) -> Iterator[WatchedS3]:
    """The gateway, its requests noted; it can be told to fail."""
    with contextlib.closing(WatchedS3(ceph)) as server:
        yield server


@pytest.fixture(scope="module")
def watched_ceph_over_tls(ceph: S3Server, certificate: Path) -> Iterator[WatchedS3]:
    """The gateway behind TLS; the environment says which certificate to trust."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CA_BUNDLE", str(certificate))
        with contextlib.closing(WatchedS3(ceph, certificate)) as server:
            yield server


@pytest.fixture(scope="module", params=WATCHED)
def watched_s3(request: pytest.FixtureRequest) -> WatchedS3:
    """An S3 with a bucket in it, whose requests are noted and which can be told to fail."""
    server: WatchedS3 = request.getfixturevalue(request.param)
    return server


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
