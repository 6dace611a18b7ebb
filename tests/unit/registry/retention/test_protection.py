"""What clients may not do with protected and immutable tags."""

from __future__ import annotations

import json

import pytest
from lab.aging import policy
from lab.collecting import collect_all
from lab.registry_client import (
    OCI_INDEX,
    OCI_MANIFEST,
    RegistryClient,
    descriptor,
    error_code,
    image_manifest,
)

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.links import write_link
from cfmiddleware.storage.memory import MemoryDriver

RULES = policy({"repositories": ("app", "team/*"), "protect": ("release-*",), "immutable": ("v*",)})


@pytest.fixture
def client() -> RegistryClient:
    return RegistryClient(MemoryDriver(), retention=RULES)


def get(client: RegistryClient, reference: object, name: str = "app") -> int:
    return client.get(f"/v2/{name}/manifests/{reference}").status_code


def refused(answer, status: int, *words: str) -> None:
    assert answer.status_code == status
    assert error_code(answer) == "DENIED"
    message = answer.json["errors"][0]["message"]
    for word in words:
        assert word in message
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("tag", ["release-1", "Release-1", "RELEASE-1", "v1", "V1"])
def test_a_protected_tag_cannot_be_deleted(client: RegistryClient, tag: str):
    client.push_image("app", tag)
    answer = client.delete(f"/v2/app/manifests/{tag}")
    refused(answer, 405, tag)
    assert "DELETE" not in answer.headers["Allow"]
    assert get(client, tag) == 200


def test_one_that_is_not_there_is_unknown(client: RegistryClient):
    assert client.delete("/v2/app/manifests/release-1").status_code == 404


def test_other_tags_and_repositories_are_not_protected(client: RegistryClient):
    for name, tag in (("app", "x"), ("app", "my-release-1"), ("other", "release-1"), ("application", "v1")):
        client.push_image(name, tag, tag.encode())
        assert client.delete(f"/v2/{name}/manifests/{tag}").status_code == 202, (name, tag)


@pytest.mark.parametrize("tag", ["release-1", "v1"])
def test_a_manifest_that_a_protected_tag_names_cannot_be_deleted(client: RegistryClient, tag: str):
    digest = client.push_image("app", "x")
    client.push_manifest("app", tag, client.get("/v2/app/manifests/x").data)
    refused(client.delete(f"/v2/app/manifests/{digest}"), 405, str(digest), tag)
    assert client.delete("/v2/app/manifests/x").status_code == 202
    assert get(client, digest) == get(client, tag) == 200


def test_an_image_of_a_protected_index_cannot_be_deleted_nor_its_blobs(client: RegistryClient):
    config, layer = client.push_blob("app", b"{}"), client.push_blob("app", b"layer")
    other = client.push_blob("app", b"other")
    child = client.push_manifest("app", "x", image_manifest(config, [layer])).headers["Docker-Content-Digest"]
    entries = [descriptor(Digest.parse(child), OCI_MANIFEST)]
    inner = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    content = json.dumps(inner).encode()
    assert client.push_manifest("app", "y", content).status_code == 201
    outer = {**inner, "manifests": [descriptor(Digest.of(content), OCI_INDEX)]}
    assert client.push_manifest("app", "v1", outer).status_code == 201
    for digest in (child, Digest.of(content)):
        refused(client.delete(f"/v2/app/manifests/{digest}"), 405, "v1")
    for blob in (config, layer):
        refused(client.delete(f"/v2/app/blobs/{blob}"), 405, "v1")
    assert client.delete(f"/v2/app/blobs/{other}").status_code == 202
    assert client.get(f"/v2/app/blobs/{layer}").status_code == 200


def test_blobs_and_manifests_of_unprotected_images_can_be_deleted(client: RegistryClient):
    client.push_image("app", "v1", b"protected")
    digest = client.push_image("app", "x", b"not")
    assert client.delete(f"/v2/app/manifests/{digest}").status_code == 202
    assert client.delete(f"/v2/app/blobs/{Digest.of(b'layernot')}").status_code == 202
    assert client.delete(f"/v2/app/blobs/{Digest.of(b'layerprotected')}").status_code == 405


def test_a_protected_manifest_that_cannot_be_read_keeps_its_repository(client: RegistryClient):
    client.push_image("app", "v1", b"protected")
    digest = client.push_image("app", "x", b"not")
    broken = Digest.of(b"not a manifest")
    client.driver.write(paths.blob_data(broken), b"not a manifest")
    write_link(client.driver, paths.revision_link("app", broken), broken)
    write_link(client.driver, paths.tag_current("app", "release-1"), broken)
    refused(client.delete(f"/v2/app/manifests/{digest}"), 405, "release-1")


def test_an_immutable_tag_cannot_be_moved(client: RegistryClient):
    first = client.push_image("app", "v1", b"1")
    content = client.get("/v2/app/manifests/v1").data
    client.push_image("app", "x", b"2")
    other = client.get("/v2/app/manifests/x").data
    refused(client.push_manifest("app", "v1", other), 403, "v1", str(first))
    assert client.get("/v2/app/manifests/v1").data == content
    assert client.push_manifest("app", "v1", content).status_code == 201, "the same manifest again"


def test_an_immutable_tag_cannot_be_moved_by_a_push_by_digest(client: RegistryClient):
    client.push_image("app", "v1", b"1")
    digest = client.push_image("app", "x", b"2")
    other = client.get("/v2/app/manifests/x").data
    refused(client.push_manifest("app", f"{digest}?tag=new&tag=v1", other), 403, "v1")
    assert get(client, "new") == 404, "nothing of a push is done that is refused"
    assert client.push_manifest("app", f"{digest}?tag=v2&tag=new", other).status_code == 201
    assert get(client, "v2") == 200


def test_a_refused_push_stores_nothing(client: RegistryClient):
    client.push_image("app", "v1", b"1")
    config, layer = client.push_blob("app", b"{}"), client.push_blob("app", b"new")
    before = client.objects()
    refused(client.push_manifest("app", "v1", image_manifest(config, [layer])), 403)
    assert client.objects() == before


def test_a_protected_tag_may_be_moved(client: RegistryClient):
    first = client.push_image("app", "release-1", b"1")
    client.push_image("app", "release-1", b"2")
    assert client.delete(f"/v2/app/manifests/{first}").status_code == 202, "no protected tag names it now"
    assert get(client, "release-1") == 200


@pytest.mark.parametrize("content", [b"", str(Digest.of(b"gone")).encode()])
def test_an_immutable_tag_that_leads_nowhere_can_be_mended(client: RegistryClient, content: bytes):
    client.driver.write(paths.tag_current("app", "v1"), content)
    client.push_image("app", "v1")
    assert get(client, "v1") == 200


def test_sha512_names_are_protected_as_well(client: RegistryClient):
    content = json.dumps(image_manifest(client.push_blob("app", b"{}"), [])).encode()
    digest = Digest.of(content, "sha512")
    assert client.push_manifest("app", f"v1?digest={digest}", content).status_code == 201
    refused(client.delete(f"/v2/app/manifests/{digest}"), 405, "v1")


@pytest.mark.parametrize("tag", ["v1", "release-1"])
def test_the_type_of_a_protected_manifest_stays(client: RegistryClient, tag: str):
    fields = image_manifest(client.push_blob("app", b"{}"), [])
    del fields["mediaType"]
    content = json.dumps(fields).encode()
    assert client.push_manifest("app", tag, content, OCI_MANIFEST).status_code == 201
    other = "application/vnd.example+json"
    refused(client.push_manifest("app", f"{Digest.of(content)}", content, other), 403, tag, OCI_MANIFEST)
    refused(client.push_manifest("app", "x", content, other), 403, tag)
    client.driver.delete([paths.manifest_type("app", Digest.of(content))])  # as Distribution leaves it
    refused(client.push_manifest("app", "x", content, other), 403, tag)
    assert client.get(f"/v2/app/manifests/{tag}").content_type == OCI_MANIFEST
    assert client.push_manifest("app", "x", content, OCI_MANIFEST).status_code == 201
    client.push_blob("other", b"{}")
    assert client.push_manifest("other", "x", content, other).status_code == 201


def test_a_mount_into_another_repository_takes_nothing_away(client: RegistryClient):
    client.push_image("app", "v1")
    layer = Digest.of(b"layer")
    assert client.post(f"/v2/other/blobs/uploads/?mount={layer}&from=app").status_code == 201
    assert client.delete(f"/v2/other/blobs/{layer}").status_code == 202
    assert client.get(f"/v2/app/blobs/{layer}").status_code == 200


def test_garbage_collection_leaves_protected_images(client: RegistryClient):
    digest = client.push_image("app", "release-1")
    client.push_image("app", "release-1", b"moved")
    collect_all(client.driver, deleteuntagged=True)
    assert get(client, "release-1") == 200
    assert get(client, digest) == 404


def test_without_rules_nothing_is_asked():
    client = RegistryClient(MemoryDriver())
    digest = client.push_image("app", "v1", b"1")
    client.push_image("app", "v1", b"2")
    assert client.delete(f"/v2/app/manifests/{digest}").status_code == 202
    assert client.delete("/v2/app/manifests/v1").status_code == 202
