"""Real clients that speak TLS with the registry, while the edge is another server with its own address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.client_service import sizes
from lab.client_settings import CLOSED, PASSWORD, USER, Place
from lab.clients import Buildah, ClientError, Podman, Skopeo
from lab.images import Image, blobs_in
from lab.servers import S3Server
from lab.tls import write_certificate

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the registry's certificate, as clients are given it to trust."""
    directory = tmp_path_factory.mktemp("trusted")
    write_certificate(directory / "registry.crt")
    return directory


@pytest.fixture(scope="module")
def place(trusted: Path, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A registry that speaks TLS alone, and wants a password."""
    pair = dict.fromkeys(("certificate", "key"), str(trusted / "registry.crt"))
    with CLOSED[0].running(tmp_path_factory.mktemp("place"), s3_server, http={"tls": pair}) as place:
        yield place


def test_skopeo_pushes_and_pulls_where_it_trusts_the_certificate(
    place: Place, trusted: Path, skopeo: Skopeo, image: Image, tmp_path: Path
):
    place.let_in(skopeo)
    reference = f"{place.registry}/team/app:1"
    skopeo.push(image.layout, reference, "--dest-tls-verify=true", "--dest-cert-dir", str(trusted))
    skopeo.pull(reference, tmp_path / "back", "--src-tls-verify=true", "--src-cert-dir", str(trusted))

    assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
    assert place.service.has_sent(sizes(image))


def test_skopeo_pushes_nothing_where_it_does_not_trust_the_certificate(
    place: Place, skopeo: Skopeo, image: Image
):
    place.let_in(skopeo)
    with pytest.raises(ClientError, match="certificate"):
        skopeo.push(image.layout, f"{place.registry}/untrusted:1", "--dest-tls-verify=true")


def test_podman_and_buildah_push_and_pull(
    place: Place, trusted: Path, podman: Podman, buildah: Buildah, tmp_path: Path
):
    place.let_in(podman, buildah)
    reference = f"{place.registry}/buildah/app:1"
    (tmp_path / "files").mkdir()
    (tmp_path / "files/greeting").write_text("hello\n")
    built = buildah.build(reference, tmp_path / "files")
    buildah.push(reference)

    assert podman.pull(reference, "--tls-verify=true", "--cert-dir", str(trusted)) == built


def test_a_wrong_password_is_refused(place: Place, skopeo: Skopeo):
    with pytest.raises(ClientError, match="invalid username/password"):
        skopeo.log_in(place.registry, USER, PASSWORD + "x")
