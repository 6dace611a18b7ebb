"""Retention and protection beside requests, step by step in every order of their steps."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab.aging import age_tag, policy, push_aged
from lab.examples import tried
from lab.registry_client import RegistryClient, image_manifest
from lab.relay import FOREVER, Relay, SteppedStorage

from cfmiddleware.digest import Digest
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.registry.retention.expiry import Expired, Retention
from cfmiddleware.storage.memory import MemoryDriver

pytestmark = pytest.mark.interleaved

DAY = 86400.0
OLD, NEW = b"x", b"new"
RULES = policy({"tags": ("?",), "keep": {"last": 1}}, {"protect": ("p*",), "immutable": ("i*",)})

Action = Callable[[RegistryClient], list[int]]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what may be done side by side in the thread that asks, whose turn it is."""
    monkeypatch.setattr(SideBySide, "all", lambda self, *parts: in_turn(*parts))
    monkeypatch.setattr(SideBySide, "map", lambda self, function, values: (function(v) for v in [*values]))


def manifest(seed: bytes) -> bytes:
    layers, about = [Digest.of(b"layer" + seed)], {"for": seed.decode()}
    return json.dumps(image_manifest(Digest.of(b"{}" + seed), layers, annotations=about)).encode()


def put(seed: bytes, reference: str) -> Action:
    return lambda client: [client.push_manifest("app", reference, manifest(seed)).status_code]


def delete(reference: object) -> Action:
    return lambda client: [client.delete(f"/v2/app/manifests/{reference}").status_code]


def made(age: float) -> RegistryClient:
    """Return a registry whose tag x goes, because y is newer."""
    client = RegistryClient(MemoryDriver(), retention=RULES)
    push_aged(client, "app", [("x", age), ("y", age / 2)])
    for content in (b"layer" + NEW, b"{}" + NEW):
        client.push_blob("app", content)
    return client


def play(
    client: RegistryClient, parts: list[Callable[[Any, Relay], object]], plan: list[tuple[int, int]]
) -> tuple[Relay, list[Any]]:
    relay = Relay(plan)
    storage: Any = SteppedStorage(client.driver, relay)
    results = relay.run([lambda part=part: part(storage, relay) for part in parts])
    for result in results:
        assert not isinstance(result, BaseException), result
    return relay, results


def expire(storage: Any, relay: Relay) -> Expired:
    return Retention(storage, RULES, clock=relay.clock, sleep=relay.sleep).apply()


def asked(action: Action) -> Callable[[Any, Relay], list[int]]:
    return lambda storage, relay: action(RegistryClient(storage, retention=RULES))


def plans(make: Callable[[], RegistryClient], parts: list[Any], seed: str) -> Iterator[list[tuple[int, int]]]:
    """Yield where the second begins, where it stops, and where it goes on; all of them in the long run."""
    firsts = play(make(), parts, [(0, FOREVER)])[0].steps[0]
    seconds = play(make(), parts, [(1, FOREVER)])[0].steps[1]
    every = [
        [(0, begins), (1, stops), (0, pause), (1, FOREVER)]
        for begins in range(firsts + 1)
        for stops in range(seconds + 1)
        for pause in range(1, firsts - begins + 1)
    ]
    yield from random.Random(seed).sample(every, min(len(every), max(150, tried(len(every)))))


@pytest.mark.parametrize("age", [9 * DAY, 10.0], ids=["old", "of this minute"])
@pytest.mark.parametrize(
    ("name", "seed", "reference"),
    [
        ("another image", NEW, "x"),
        ("the same image", OLD, "x"),
        ("with another tag", NEW, f"{Digest.of(manifest(NEW))}?tag=x&tag=other"),
    ],
)
def test_a_push_beside_retention_is_never_lost(name: str, seed: bytes, reference: str, age: float):
    def make() -> RegistryClient:
        return made(age)

    parts = [expire, asked(put(seed, reference))]
    for plan in plans(make, parts, name):
        client = make()
        _, (done, statuses) = play(client, parts, plan)
        assert statuses == [201], plan
        answer = client.get("/v2/app/manifests/x")
        assert answer.headers.get("Docker-Content-Digest") == str(Digest.of(manifest(seed))), (plan, done)


def test_a_delete_beside_retention_is_a_delete():
    for reference in ("x", Digest.of(manifest(OLD))):
        parts = [expire, asked(delete(reference))]
        for plan in plans(lambda: made(9 * DAY), parts, str(reference)):
            client = made(9 * DAY)
            _, (done, statuses) = play(client, parts, plan)
            assert statuses in ([202], [404]), plan
            assert client.get("/v2/app/manifests/x").status_code == 404, plan
            assert client.get("/v2/app/manifests/y").status_code == 200, plan
            assert len(done.deleted) <= 1


def test_two_retentions_at_once_delete_once():
    for plan in plans(lambda: made(9 * DAY), [expire, expire], "two"):
        client = made(9 * DAY)
        _, (first, second) = play(client, [expire, expire], plan)
        assert client.get("/v2/app/tags/list").json["tags"] == ["y"], plan
        assert len(first.deleted) + len(second.deleted) >= 1, plan


def test_of_two_pushes_to_a_new_immutable_tag_one_is_refused():
    parts = [asked(put(OLD, "i1")), asked(put(NEW, "i1"))]
    for plan in plans(lambda: made(9 * DAY), parts, "immutable"):
        client = made(9 * DAY)
        _, (first, second) = play(client, parts, plan)
        assert sorted([*first, *second]) == [201, 403], plan
        winner = OLD if first == [201] else NEW
        assert client.get("/v2/app/manifests/i1").data == manifest(winner), plan


def test_a_push_of_a_protected_tag_beside_a_delete_of_its_manifest_is_never_lost():
    parts = [asked(delete(Digest.of(manifest(OLD)))), asked(put(OLD, "p1"))]

    def make() -> RegistryClient:
        client = made(9 * DAY)
        age_tag(client.driver, "app", "x", 99)
        return client

    refusals = 0
    for plan in plans(make, parts, "protected"):
        client = make()
        _, (deleted, pushed) = play(client, parts, plan)
        assert pushed == [201], plan
        refusals += deleted == [405]
        assert client.get("/v2/app/manifests/p1").data == manifest(OLD), plan
    assert refusals
