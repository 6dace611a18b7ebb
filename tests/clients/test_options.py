"""Real clients and what only some of them do: pages, sparse indexes, encrypted layers, old manifests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lab.client_settings import OPEN, Place
from lab.clients import ClientError, Podman, Skopeo
from lab.images import Image, Index, blob_file, blobs_in
from lab.servers import S3Server
from lab.serving import ask

pytestmark = pytest.mark.clients

SECTIONS = {
    "http": {"relativeurls": True},
    "tags": {"maxtags": 2},
    "catalog": {"maxentries": 2},
    "validation": {"manifests": {"indexes": {"platforms": "none"}}},
}


@pytest.fixture(scope="module")
def place(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A registry that answers in short pages and with relative addresses, and takes sparse indexes."""
    with OPEN[0].running(tmp_path_factory.mktemp("place"), s3_server, **SECTIONS) as place:
        yield place


def test_clients_read_a_list_of_tags_to_its_last_page(
    place: Place, skopeo: Skopeo, other_image: Image, tmp_path: Path
):
    tags = ["a", "b", "c", "d", "e"]
    for tag in tags:
        skopeo.push(other_image.layout, f"{place.registry}/tagged:{tag}")

    assert skopeo.tags(f"{place.registry}/tagged") == tags
    with contextlib.closing(place.oras(tmp_path / "oras")) as oras:
        assert oras.tags(f"{place.registry}/tagged") == tags


def test_clients_find_where_to_upload_by_a_relative_address(
    place: Place, skopeo: Skopeo, image: Image, tmp_path: Path
):
    begun = ask("POST", f"http://{place.registry}/v2/relative/blobs/uploads/")
    assert begun.headers["Location"].startswith("/v2/relative/blobs/uploads/")

    skopeo.push(image.layout, f"{place.registry}/relative:image")
    (tmp_path / "file").write_bytes(b"text" * 1000)
    with contextlib.closing(place.oras(tmp_path / "oras")) as oras:
        oras.push(f"{place.registry}/relative:file", [tmp_path / "file"], do_chunked=True, chunk_size=1500)
        pulled = oras.pull(f"{place.registry}/relative:file", tmp_path / "back")

    assert pulled == {"file": b"text" * 1000}
    assert skopeo.tags(f"{place.registry}/relative") == ["file", "image"]


def test_podman_reads_the_catalog_to_its_last_page(
    place: Place, skopeo: Skopeo, podman: Podman, other_image: Image
):
    names = [f"{place.registry}/found/{letter}" for letter in "abcde"]
    for name in names:
        skopeo.push(other_image.layout, f"{name}:1")

    assert podman.search(f"{place.registry}/found") == names


def test_an_index_is_pushed_before_its_images(place: Place, skopeo: Skopeo, index: Index, tmp_path: Path):
    reference = f"{place.registry}/sparse:1"
    skopeo.push(index.layout, reference, "--multi-arch", "index-only")
    with pytest.raises(ClientError, match="manifest unknown"):
        skopeo.pull(reference, tmp_path / "before", "--all")

    skopeo.push(index.layout, reference, "--all")
    skopeo.pull(reference, tmp_path / "after", "--all")

    assert blobs_in(tmp_path / "after") == blobs_in(index.layout)


def test_layers_that_skopeo_encrypts_come_back_readable(
    place: Place, skopeo: Skopeo, other_image: Image, tmp_path: Path
):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, encryption = serialization.Encoding.PEM, serialization.NoEncryption()
    own, public = tmp_path / "own.pem", tmp_path / "public.pem"
    own.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    reference = f"{place.registry}/encrypted:1"

    skopeo.push(other_image.layout, reference, "--encryption-key", f"jwe:{public}")
    skopeo.pull(reference, tmp_path / "back", "--decryption-key", str(own))

    layers = json.loads(skopeo.raw_manifest(reference))["layers"]
    assert {layer["mediaType"] for layer in layers} == {
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
    }
    pulled = blobs_in(tmp_path / "back")
    for digest in other_image.layers:
        assert pulled[digest] == blob_file(other_image.layout, digest).read_bytes()


def test_dockers_first_manifest_schema_is_refused_by_name(place: Place, skopeo: Skopeo, other_image: Image):
    with pytest.raises(ClientError, match="manifest invalid: Docker's schema 1"):
        skopeo.push(other_image.layout, f"{place.registry}/old:1", "--format", "v2s1")
