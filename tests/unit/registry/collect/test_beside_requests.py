"""A collection beside a push, step by step: whatever the order, what was acknowledged is whole.

The request begins after each step of the collection, stops after each of its own steps, and goes on after
each later step of the collection. Time is virtual; the grace period is zero, so that nothing but the protocol
keeps anything.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab.collecting import broken_images, collect_all, collector
from lab.examples import tried
from lab.registry_client import OCI_INDEX, RegistryClient, descriptor, image_manifest
from lab.relay import FOREVER, Relay, SteppedStorage
from werkzeug.test import TestResponse

from cfmiddleware.digest import Digest
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.storage.memory import MemoryDriver

pytestmark = pytest.mark.interleaved

LAYER, CONFIG = b"layer", b"{}"
Push = Callable[[RegistryClient], list[int]]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what may be done side by side in the thread that asks, whose turn it is."""
    monkeypatch.setattr(SideBySide, "all", lambda self, *parts: in_turn(*parts))
    monkeypatch.setattr(SideBySide, "map", lambda self, function, values: (function(v) for v in [*values]))


def manifest() -> bytes:
    return json.dumps(image_manifest(Digest.of(CONFIG), [Digest.of(LAYER)])).encode()


def put(client: RegistryClient, reference: str = "v1", content: bytes | None = None) -> TestResponse:
    return client.push_manifest("app", reference, manifest() if content is None else content)


def upload(client: RegistryClient, content: bytes) -> int:
    digest = Digest.of(content)
    return client.post(f"/v2/app/blobs/uploads/?digest={digest}", data=content).status_code


def garbage(client: RegistryClient) -> None:
    """Two blobs that nothing refers to, in two repositories."""
    for name in ("app", "base"):
        client.push_blob(name, LAYER)
        client.push_blob(name, CONFIG)


def garbage_without_links(client: RegistryClient) -> None:
    garbage(client)
    collector(client.driver).collect()


def untagged(client: RegistryClient) -> None:
    garbage(client)
    assert put(client, f"{Digest.of(manifest())}").status_code == 201


def only_manifest(client: RegistryClient) -> list[int]:
    """Push the manifest alone, whose blobs the client has seen to be there."""
    return [put(client).status_code]


def all_anew(client: RegistryClient) -> list[int]:
    return [upload(client, LAYER), upload(client, CONFIG), put(client).status_code]


def in_chunks(client: RegistryClient) -> list[int]:
    statuses = [upload(client, CONFIG)]
    started = client.post("/v2/app/blobs/uploads/")
    url = started.headers.get("Location", "/v2/app/blobs/uploads/")
    patched = client.patch(url, data=LAYER)
    url = patched.headers.get("Location", url)
    finished = client.put(f"{url}?digest={Digest.of(LAYER)}")
    return [
        *statuses,
        started.status_code,
        patched.status_code,
        finished.status_code,
        put(client).status_code,
    ]


def mounted(client: RegistryClient) -> list[int]:
    statuses = []
    for content in (LAYER, CONFIG):
        query = f"?mount={Digest.of(content)}&from=base"
        if client.post(f"/v2/app/blobs/uploads/{query}").status_code != 201:
            statuses.append(upload(client, content))
    return [*statuses, put(client).status_code]


def index_of_untagged(client: RegistryClient) -> list[int]:
    entries = [descriptor(Digest.of(manifest()), "application/vnd.oci.image.manifest.v1+json")]
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    return [put(client, "v1", content).status_code]


SCENARIOS: dict[str, tuple[Callable[[RegistryClient], None], Push, dict[str, Any]]] = {
    "manifest": (garbage, only_manifest, {}),
    "manifest, links gone": (garbage_without_links, only_manifest, {}),
    "all anew": (garbage, all_anew, {}),
    "all anew, links gone": (garbage_without_links, all_anew, {}),
    "chunks, links gone": (garbage_without_links, in_chunks, {}),
    "mount": (garbage, mounted, {}),
    "tag of an untagged manifest": (untagged, only_manifest, {"deleteuntagged": True}),
    "index of an untagged manifest": (untagged, index_of_untagged, {"deleteuntagged": True}),
}


def play(scenario: str, plan: list[tuple[int, int]]) -> tuple[Relay, list[int], MemoryDriver]:
    prepare, push, rules = SCENARIOS[scenario]
    driver = MemoryDriver()
    prepare(RegistryClient(driver))
    relay = Relay(plan)
    storage: Any = SteppedStorage(driver, relay)
    condemned = [Condemned(storage, relay.clock, relay.sleep) for _ in range(2)]
    client = RegistryClient(storage, condemned=condemned[0])
    collection = collector(storage, condemned[1], **rules)
    outcome, statuses = relay.run([collection.collect, lambda: push(client)])
    assert not isinstance(outcome, BaseException), outcome
    assert not isinstance(statuses, BaseException), statuses
    return relay, statuses, driver


def plans(scenario: str) -> Iterator[list[tuple[int, int]]]:
    """Yield where the request begins, where it stops, and where it goes on; all of them in the long run."""
    relay, _, _ = play(scenario, [(0, FOREVER)])
    of_collection = relay.steps[0]
    relay, _, _ = play(scenario, [(1, FOREVER)])
    of_request = relay.steps[1]
    every = [
        [(0, begins), (1, stops), (0, pause), (1, FOREVER)]
        for begins in range(of_collection + 1)
        for stops in range(of_request + 1)
        for pause in range(1, of_collection - begins + 1)
    ]
    return iter(random.Random(scenario).sample(every, min(len(every), max(60, tried(len(every) // 5)))))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_was_acknowledged_is_whole_in_every_order(scenario: str) -> None:
    acknowledged = 0
    for plan in plans(scenario):
        _, statuses, driver = play(scenario, plan)
        if statuses[-1] == 201:
            acknowledged += 1
            assert not broken_images(driver), plan
            client = RegistryClient(driver)
            assert client.get("/v2/app/manifests/v1").status_code == 200, plan
            collect_all(driver, **SCENARIOS[scenario][2])
            assert not broken_images(driver), plan
            assert client.get("/v2/app/manifests/v1").status_code == 200, plan
        assert statuses[-1] in (201, 404, 503), (plan, statuses)
    assert acknowledged
