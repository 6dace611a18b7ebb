"""A verification beside a request, step by step: whatever the order, what is under way is no fault.

The request begins after each step of the verification, stops after each of its own, and goes on after each
later step of the verification, but before its second look.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab.collecting import collector
from lab.examples import tried
from lab.registry_client import OCI_INDEX, OCI_MANIFEST, RegistryClient, descriptor
from lab.relay import FOREVER, Relay, SteppedStorage
from lab.verifying import Result, sized, verify, whole_image

from cfmiddleware.digest import Digest
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.verify.faults import Kind
from cfmiddleware.storage.memory import MemoryDriver

pytestmark = pytest.mark.interleaved


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what may be done side by side in the thread that asks, whose turn it is."""
    monkeypatch.setattr(SideBySide, "all", lambda self, *parts: in_turn(*parts))
    monkeypatch.setattr(SideBySide, "map", lambda self, function, values: (function(v) for v in [*values]))


def one_image(client: RegistryClient) -> None:
    whole_image(client)


def nothing(client: RegistryClient) -> None:
    """Begin with an empty storage."""


def push_an_image(client: RegistryClient, relay: Relay) -> None:
    whole_image(client, "app", "v2")


def push_another(client: RegistryClient, relay: Relay) -> None:
    content = b"another"
    config, layer = (sized(client.push_blob("app", c), c) for c in (b"{}", content))
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    assert client.push_manifest("app", "v1", manifest).status_code == 201


def push_in_chunks(client: RegistryClient, relay: Relay) -> None:
    content = b"in two chunks"
    url = client.start("app")
    for chunk in (content[:5], content[5:]):
        url = client.patch(url, data=chunk).headers["Location"]
    assert client.put(f"{url}?digest={Digest.of(content)}").status_code == 201


def push_an_index_with_a_signature(client: RegistryClient, relay: Relay) -> None:
    child, _ = whole_image(client, "app", "child")
    size = int(client.head(f"/v2/app/manifests/{child}").headers["Content-Length"])
    entry = descriptor(child, OCI_MANIFEST, size)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry], "subject": entry}
    assert client.push_manifest("app", "all", index).status_code == 201


def mount(client: RegistryClient, relay: Relay) -> None:
    layer = Digest.of(b"layer of app")
    assert client.post(f"/v2/other/blobs/uploads/?mount={layer}&from=app").status_code == 201


def delete_the_image(client: RegistryClient, relay: Relay) -> None:
    digest = client.head("/v2/app/manifests/v1").headers["Docker-Content-Digest"]
    assert client.delete(f"/v2/app/manifests/{digest}").status_code == 202


def delete_the_tag(client: RegistryClient, relay: Relay) -> None:
    assert client.delete("/v2/app/manifests/v1").status_code == 202


def delete_a_blob(client: RegistryClient, relay: Relay) -> None:
    client.delete(f"/v2/app/blobs/{Digest.of(b'nobody')}")


def a_blob(client: RegistryClient) -> None:
    client.push_blob("app", b"nobody")


def cancel_an_upload(client: RegistryClient, relay: Relay) -> None:
    url = client.patch(client.start("app"), data=b"given up").headers["Location"]
    assert client.delete(url).status_code == 204


def untagged(client: RegistryClient) -> None:
    whole_image(client)
    client.delete("/v2/app/manifests/v1")
    client.push_blob("app", b"nobody's")


def collect(client: RegistryClient, relay: Relay) -> None:
    for _ in range(2):
        condemned = Condemned(client.driver, relay.clock, relay.sleep)
        collector(client.driver, condemned, deleteuntagged=True).collect()


SCENARIOS: dict[str, tuple[Callable[[RegistryClient], None], Callable[[RegistryClient, Relay], None]]] = {
    "push": (nothing, push_an_image),
    "push again": (one_image, push_an_image),
    "move a tag": (one_image, push_another),
    "chunks": (one_image, push_in_chunks),
    "index and referrer": (nothing, push_an_index_with_a_signature),
    "mount": (one_image, mount),
    "delete an image": (one_image, delete_the_image),
    "delete a tag": (one_image, delete_the_tag),
    "delete a blob": (a_blob, delete_a_blob),
    "cancel": (one_image, cancel_an_upload),
    "collect": (untagged, collect),
}


def play(scenario: str, plan: list[tuple[int, int]]) -> tuple[Relay, Result]:
    prepare, act = SCENARIOS[scenario]
    driver = MemoryDriver()
    client = RegistryClient(driver)
    prepare(client)
    client.start("app")  # reads the secret of uploads
    relay = Relay(plan)
    storage: Any = SteppedStorage(driver, relay)
    condemned = Condemned(storage, relay.clock, relay.sleep)
    client = RegistryClient(storage, condemned=condemned)

    def request() -> None:
        act(client, relay)

    def sleep(seconds: float) -> None:
        if seconds:
            relay.sleep(seconds)  # which lets the request end

    failed, result = relay.run([request, lambda: verify(storage, clock=relay.clock, sleep=sleep, every=True)])
    assert failed is None, failed
    assert isinstance(result, Result), result
    return relay, result


def plans(scenario: str) -> Iterator[list[tuple[int, int]]]:
    """Yield where the request begins, stops, and goes on; a fifth of all orders in the long run."""
    relay, _ = play(scenario, [(0, FOREVER)])
    of_request = relay.steps[0]
    relay, _ = play(scenario, [(1, FOREVER)])
    of_verification = max(relay.steps[1], play(scenario, [(0, FOREVER)])[0].steps[1])
    every = [
        [(1, begins), (0, stops), (1, pause), (0, FOREVER)]
        for begins in range(of_verification + 1)
        for stops in range(of_request + 1)
        for pause in range(1, of_verification - begins + 1)
    ]
    return iter(random.Random(scenario).sample(every, min(len(every), max(60, tried(len(every) // 5)))))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_under_way_is_no_fault_in_any_order(scenario: str) -> None:
    for plan in plans(scenario):
        _, result = play(scenario, plan)
        assert result.faults == [], plan


def test_half_a_delete_that_goes_no_further_is_one() -> None:
    """The harness does see what is half done: without its end, the second look finds it again."""
    driver = MemoryDriver()
    client = RegistryClient(driver)
    manifest, _ = whole_image(client)
    driver.delete([paths.revision_link("app", manifest)])

    assert [fault.kind for fault in verify(driver).faults] == [Kind.TAG]
