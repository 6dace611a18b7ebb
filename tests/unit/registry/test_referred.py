"""What the push of a manifest looks at where a collection has been, and where none has."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from lab.collecting import VirtualClock
from lab.registry_client import OCI_INDEX, OCI_MANIFEST, RegistryClient, descriptor, image_manifest

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.manifest import Required
from cfmiddleware.storage.memory import MemoryDriver

LAYERS = (b"one", b"two")


class Counting(MemoryDriver):
    """A storage that counts what it is asked while manifests are pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def stat(self, path: str) -> Any:
        self.asked["stat " + path.rpartition("/")[2]] += 1
        return super().stat(path)

    def read(self, path: str) -> bytes:
        self.asked["read " + path.rpartition("/")[2]] += 1
        return super().read(path)


class Known(RegistryClient):
    """A client of a registry over such a storage, in which no collection has been."""

    def __init__(self, **options: Any) -> None:
        driver, clock = Counting(), VirtualClock()
        self.condemned = Condemned(driver, clock, clock.sleep)
        super().__init__(driver, condemned=self.condemned, **options)

    def collect_something(self) -> None:
        """Leave what a collection leaves, and have the registry know of it."""
        clock = VirtualClock()
        theirs = Condemned(self.driver, clock, clock.sleep)
        theirs.withdraw(theirs.announce(["a line"]))
        self.condemned.sleep(10)
        self.condemned.look_ahead()
        self.driver.asked.clear()


@pytest.fixture
def client() -> Known:
    """A registry with the blobs of an image."""
    client = Known()
    for content in (*LAYERS, b"{}"):
        client.push_blob("app", content)
    return client


def image(**more: Any) -> bytes:
    content = image_manifest(Digest.of(b"{}"), [Digest.of(layer) for layer in LAYERS], **more)
    return json.dumps(content).encode()


def index(*children: bytes, media_type: str = OCI_MANIFEST, **more: Any) -> bytes:
    entries = [descriptor(Digest.of(child), media_type, **more) for child in children]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def push(client: Known, content: bytes, tag: str = "") -> int:
    return client.push_manifest("app", tag or str(Digest.of(content)), content).status_code


def is_there(client: Known, content: bytes) -> bool:
    return client.head(f"/v2/app/manifests/{Digest.of(content)}").status_code == 200


def lose(client: Known, content: bytes) -> None:
    client.driver.delete([paths.blob_data(Digest.of(content))])


def test_where_no_collection_has_been_a_push_asks_for_links_alone(client: Known) -> None:
    client.driver.asked.clear()
    assert push(client, image()) == 201
    assert client.driver.asked == {"stat link": 4}  # three links, and the revision at the end
    client.driver.asked.clear()
    assert push(client, index(image())) == 201
    assert client.driver.asked == {"stat link": 2}


def test_where_a_collection_has_been_it_asks_for_the_bytes_too(client: Known) -> None:
    client.collect_something()
    assert push(client, image()) == 201
    assert client.driver.asked == {"read link": 3, "stat data": 3, "stat link": 1}
    client.driver.asked.clear()
    assert push(client, index(image())) == 201
    assert client.driver.asked == {"read link": 1 + 3, "read data": 1, "stat data": 3, "stat link": 1}


def test_a_link_without_bytes_does_not_count_where_a_collection_has_been(client: Known) -> None:
    client.collect_something()
    lose(client, b"two")
    assert push(client, image()) == 404
    client.push_blob("app", b"two")
    assert push(client, image()) == 201


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_manifest_of_an_index_whose_blobs_are_gone_is_refused_and_can_be_pushed_again(
    client: Known, depth: int
) -> None:
    nested = [image()]
    for level in range(depth):
        nested.append(index(nested[-1], media_type=OCI_INDEX if level else OCI_MANIFEST))
    for content in nested[:-1]:
        assert push(client, content) == 201
    client.collect_something()
    lose(client, b"two")

    assert push(client, nested[-1], "v1") == 404
    assert not any(is_there(client, content) for content in nested)

    client.push_blob("app", b"two")
    for content in nested:
        assert push(client, content) == 201


def test_a_manifest_that_was_left_without_its_blobs_can_be_pushed_again_by_itself(
    client: Known,
) -> None:
    assert push(client, image()) == 201
    client.collect_something()
    lose(client, b"two")
    assert push(client, image()) == 404
    assert not is_there(client, image())


def test_what_was_taken_comes_back_with_what_it_lacked(client: Known) -> None:
    assert push(client, image()) == 201
    client.collect_something()
    lose(client, b"two")
    assert push(client, index(image()), "v1") == 404
    client.push_blob("app", b"two")
    assert push(client, index(image()), "v1") == 201
    assert is_there(client, image())


def test_a_manifest_that_a_tag_names_stays_whatever_it_lacks(client: Known) -> None:
    assert push(client, image(), "v1") == 201
    client.collect_something()
    lose(client, b"two")
    assert push(client, image(), "v2") == 404
    assert push(client, index(image())) == 404
    assert is_there(client, image())


def test_a_manifest_whose_blob_a_client_has_deleted_stays(client: Known) -> None:
    assert push(client, image()) == 201
    client.collect_something()
    assert client.delete(f"/v2/app/blobs/{Digest.of(b'two')}").status_code == 202
    assert push(client, image(), "v1") == 404
    assert is_there(client, image())
    assert push(client, index(image()), "v1") == 201


def test_what_need_not_be_there_is_not_looked_for_below_an_index_either() -> None:
    client = Known(required=Required(layers=False, platforms=frozenset({("linux", "amd64")})))
    client.push_blob("app", b"{}")
    assert push(client, image()) == 201
    client.collect_something()

    assert push(client, index(image(), platform={"os": "linux", "architecture": "amd64"})) == 201
    absent = image(annotations={"is": "absent"})
    assert push(client, index(absent, platform={"os": "linux", "architecture": "arm64"})) == 201
