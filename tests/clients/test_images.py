"""Real clients with images, on every storage and with every kind of log-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.client_service import sizes
from lab.client_settings import CLOSED, Place, Setting, every_setting
from lab.clients import Buildah, ClientError, Podman, Skopeo
from lab.images import Image, Index, blobs_in, make_docker_archive
from lab.servers import S3Server

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module", params=every_setting(*CLOSED), ids=str)
def place(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A registry with an edge, once in each setting."""
    setting: Setting = request.param
    with setting.running(tmp_path_factory.mktemp("place"), s3_server) as place:
        yield place


def blobs_of(skopeo: Skopeo, reference: str) -> dict[str, int]:
    """Return the digests and sizes of what an image in the registry consists of."""
    manifest = json.loads(skopeo.raw_manifest(reference))
    return {blob["digest"]: blob["size"] for blob in [manifest["config"], *manifest["layers"]]}


def test_skopeo_copies_an_image_there_and_back(place: Place, skopeo: Skopeo, image: Image, tmp_path: Path):
    place.let_in(skopeo)
    skopeo.push(image.layout, f"{place.registry}/team/app:1")
    skopeo.pull(f"{place.registry}/team/app:1", tmp_path / "back")

    assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
    assert place.service.has_sent(sizes(image))


def test_skopeo_inspects_an_image_and_lists_its_tags(place: Place, skopeo: Skopeo, other_image: Image):
    place.let_in(skopeo)
    for tag in ("v1", "latest"):
        skopeo.push(other_image.layout, f"{place.registry}/seen:{tag}")

    assert skopeo.inspect(f"{place.registry}/seen:v1")["Digest"] == other_image.manifest
    assert sorted(skopeo.tags(f"{place.registry}/seen")) == ["latest", "v1"]


def test_skopeo_deletes_an_image_and_pushes_it_again(
    place: Place, skopeo: Skopeo, image: Image, other_image: Image, tmp_path: Path
):
    place.let_in(skopeo)
    skopeo.push(other_image.layout, f"{place.registry}/deleted:old")
    skopeo.push(image.layout, f"{place.registry}/deleted:new")

    skopeo.delete(f"{place.registry}/deleted:old")

    with pytest.raises(ClientError, match="manifest unknown"):
        skopeo.inspect(f"{place.registry}/deleted:old")
    assert skopeo.tags(f"{place.registry}/deleted") == ["new"]
    skopeo.push(other_image.layout, f"{place.registry}/deleted:old")
    skopeo.pull(f"{place.registry}/deleted:old", tmp_path / "back")
    assert blobs_in(tmp_path / "back") == blobs_in(other_image.layout)


def test_skopeo_syncs_a_repository_to_a_directory_and_the_directory_to_a_registry(
    place: Place, skopeo: Skopeo, other_image: Image, index: Index, tmp_path: Path
):
    place.let_in(skopeo)
    skopeo.push(other_image.layout, f"{place.registry}/synced:one")
    skopeo.push(index.layout, f"{place.registry}/synced:many", "--all")

    skopeo.sync_down(f"{place.registry}/synced", tmp_path / "mirror")
    skopeo.sync_up(tmp_path / "mirror", f"{place.registry}/copied")

    assert sorted(skopeo.tags(f"{place.registry}/copied/synced")) == ["many", "one"]
    for tag in ("one", "many"):
        copied = skopeo.raw_manifest(f"{place.registry}/copied/synced:{tag}")
        assert copied == skopeo.raw_manifest(f"{place.registry}/synced:{tag}")


def test_skopeo_pushes_layers_compressed_with_zstd(
    place: Place, skopeo: Skopeo, other_image: Image, tmp_path: Path
):
    place.let_in(skopeo)
    skopeo.push(other_image.layout, f"{place.registry}/zstd:1", "--dest-compress-format", "zstd")
    skopeo.pull(f"{place.registry}/zstd:1", tmp_path / "back")

    manifest = json.loads(skopeo.raw_manifest(f"{place.registry}/zstd:1"))
    types = {layer["mediaType"] for layer in manifest["layers"]}
    assert types == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert set(blobs_of(skopeo, f"{place.registry}/zstd:1")) <= set(blobs_in(tmp_path / "back"))


def test_podman_pushes_and_pulls_an_image(
    place: Place, podman: Podman, skopeo: Skopeo, image: Image, tmp_path: Path
):
    place.let_in(podman, skopeo)
    reference = f"{place.registry}/podman/app:1"
    make_docker_archive(image, tmp_path / "app.tar", reference)
    podman.load(tmp_path / "app.tar")
    podman.push(reference)
    podman.forget_images()
    seen = len(place.service.server.stderr)

    assert podman.pull(reference) == image.config.removeprefix("sha256:")
    assert place.service.has_sent(blobs_of(skopeo, reference), seen)


def test_podman_pushes_a_list_and_pulls_one_of_its_platforms(
    place: Place, podman: Podman, skopeo: Skopeo, index: Index, tmp_path: Path
):
    place.let_in(podman, skopeo)
    reference = f"{place.registry}/podman/list:1"
    names = []
    for image, platform in zip(index.images, ("amd64", "arm64"), strict=True):
        names.append(f"localhost/{platform}:1")
        make_docker_archive(image, tmp_path / f"{platform}.tar", names[-1])
        podman.load(tmp_path / f"{platform}.tar")
    podman.push_list(reference, names)
    podman.forget_images()

    pushed = json.loads(skopeo.raw_manifest(reference))["manifests"]
    assert [entry["platform"]["architecture"] for entry in pushed] == ["amd64", "arm64"]
    pulled = podman.pull(reference, "--platform", "linux/arm64")
    assert pulled == index.images[1].config.removeprefix("sha256:")


def test_podman_finds_repositories_by_a_part_of_their_name(
    place: Place, podman: Podman, skopeo: Skopeo, other_image: Image
):
    place.let_in(podman, skopeo)
    for name in ("found/here", "found/there", "elsewhere"):
        skopeo.push(other_image.layout, f"{place.registry}/{name}:1")

    found = [f"{place.registry}/found/here", f"{place.registry}/found/there"]
    assert sorted(podman.search(f"{place.registry}/found")) == found


def test_buildah_builds_on_an_image_of_the_registry_and_pushes_and_pulls_the_result(
    place: Place, buildah: Buildah, skopeo: Skopeo, image: Image, tmp_path: Path
):
    place.let_in(buildah, skopeo)
    base, reference = f"{place.registry}/buildah/base:1", f"{place.registry}/buildah/app:1"
    skopeo.push(image.layout, base)
    (tmp_path / "context").mkdir()
    (tmp_path / "context/greeting").write_text("hello\n")
    (tmp_path / "context/Containerfile").write_text(f"FROM {base}\nCOPY greeting /srv/greeting\n")

    built = buildah.build_from_file(reference, tmp_path / "context")
    buildah.push(reference)
    buildah.forget_images()
    seen = len(place.service.server.stderr)

    assert buildah.pull(reference) == built
    blobs = blobs_of(skopeo, reference)
    assert len(blobs) == 1 + len(image.layers) + 1
    assert place.service.has_sent(blobs, seen)


def test_buildah_builds_from_scratch(place: Place, buildah: Buildah, tmp_path: Path):
    place.let_in(buildah)
    reference = f"{place.registry}/buildah/scratch:1"
    (tmp_path / "context").mkdir()
    (tmp_path / "context/greeting").write_text("hello\n")
    (tmp_path / "context/Containerfile").write_text("FROM scratch\nCOPY greeting /\n")

    built = buildah.build_from_file(reference, tmp_path / "context")
    buildah.push(reference)
    buildah.forget_images()

    assert buildah.pull(reference) == built
