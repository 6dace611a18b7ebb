"""A push and a delete at the same time: whatever the order of their steps, the push wins.

A driver stops before each of its operations, so that two requests can be run step by step in every order. A
request may also finish before the other begins to change anything; then the later one wins, as it should.

What a push does side by side is done one after the other here, in either order: that is all that the other
request can see of it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from itertools import combinations

import pytest
from lab.examples import tried
from lab.registry_client import OCI_MANIFEST, ROOT, RegistryClient, descriptor, image_manifest

from cfmiddleware.digest import Digest
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.storage.memory import MemoryDriver

pytestmark = pytest.mark.interleaved

SUBJECT = Digest.of(b"a manifest that nobody pushed")

_CHANGES = ("write", "create", "delete")
_OPERATIONS = ("stat", "read", "list", "walk", *_CHANGES)


@pytest.fixture(autouse=True, params=["as they stand", "the other way round"])
def order_of_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what may be done side by side in this order."""
    backwards = request.param != "as they stand"
    monkeypatch.setattr(
        SideBySide, "all", lambda self, *parts: in_turn(*(reversed(parts) if backwards else parts))
    )


class Turns:
    """Lets two threads make one step at a time, in an order that is given beforehand."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self._condition = threading.Condition()
        self._order = list(order)
        self._running = {0, 1}
        self.steps: list[tuple[int, str, str]] = []

    def step(self, who: int, operation: str, what: str) -> None:
        """Wait for the turn of *who*."""
        with self._condition:
            assert self._condition.wait_for(lambda: self._next() == who, timeout=10)
            self.steps.append((who, operation, what))
            if self._order:
                self._order.pop(0)
            self._condition.notify_all()

    def end(self, who: int) -> None:
        with self._condition:
            self._running.discard(who)
            self._condition.notify_all()

    def _next(self) -> int:
        while self._order and self._order[0] not in self._running:
            self._order.pop(0)
        return self._order[0] if self._order else min(self._running)


class SteppedDriver:
    """A driver that waits for its turn before each operation of one of the two threads.

    What was there before them is half a minute old.

    :param clock: whether the times of objects tell which is older; those of S3 are whole seconds.
    """

    remote = True

    def __init__(self, inner: MemoryDriver, clock: bool = True) -> None:
        self._inner = inner
        self._clock = clock
        self.turns: Turns | None = None
        self.began = 0.0
        self.me = threading.local()

    def __getattr__(self, name: str):
        attribute = getattr(self._inner, name)
        if name not in _OPERATIONS:
            return attribute

        def operation(first, *rest):
            who = getattr(self.me, "number", None)
            if self.turns is None or who is None:
                return attribute(first, *rest)
            if not isinstance(first, str):
                first = list(first)
            what = first if isinstance(first, str) else " ".join(first)
            # Blobs and the bytes of manifests stay: what both do to them is not what they race for.
            if "/_manifests/" in what or "/_referrers/" in what or operation_on_layers(name, what):
                self.turns.step(who, name, what)
            result = attribute(first, *rest)
            if name != "walk":
                return result
            return [(path, stat._replace(modified=self._time(stat.modified))) for path, stat in result]

        return operation

    def _time(self, modified: float) -> float:
        if not self._clock:
            return 0
        return modified if modified >= self.began else modified - 30


def operation_on_layers(name: str, what: str) -> bool:
    return name in _CHANGES and "/_layers/" in what


def run(client, requests, order):
    """Run two requests in threads, their steps in *order* while both have some."""
    turns = Turns(order)
    answers = [0, 0]

    def work(number):
        client.driver.me.number = number
        try:
            answers[number] = requests[number]().status_code
        finally:
            turns.end(number)

    client.driver.turns, client.driver.began = turns, time.time()
    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    client.driver.turns = None
    return answers, turns.steps


PUSH, DELETE = 0, 1


def orders(client_of, requests_of) -> Iterator[tuple[int, ...]]:
    """Yield every order of the two requests' steps, as many of each as it has when run by itself."""
    client = client_of()
    _, steps = run(client, requests_of(client), (PUSH,) * 100)
    pushes = sum(who == PUSH for who, _, _ in steps)
    client = client_of()
    _, steps = run(client, requests_of(client), (DELETE,) * 100)
    deletes = sum(who == DELETE for who, _, _ in steps)
    for places in combinations(range(pushes + deletes), deletes):
        order = [PUSH] * (pushes + deletes)
        for place in places:
            order[place] = DELETE
        yield tuple(order)


def manifest_of(client, **more):
    return json.dumps(image_manifest(client.push_blob("app", b"{}"), [], **more)).encode()


def fresh(clock=True):
    return RegistryClient(SteppedDriver(MemoryDriver(), clock))


def first_change(steps, who, part):
    """Return when a request first changed a path with *part* in it, or None."""
    found = (
        number
        for number, (owner, operation, what) in enumerate(steps)
        if owner == who and operation in _CHANGES and part in what
    )
    return next(found, None)


def last_step(steps, who):
    return max(number for number, (owner, _, _) in enumerate(steps) if owner == who)


ABOUT = {"subject": descriptor(SUBJECT, OCI_MANIFEST)}


@pytest.mark.parametrize(
    ("more", "clock"),
    [({}, True), ({}, False), (ABOUT, True)],
    ids=["image", "image, all in one second", "referrer"],
)
def test_a_manifest_pushed_while_it_is_deleted_is_there_with_its_tag(more, clock):
    state = {}

    def prepared():
        client = fresh(clock)
        state["content"] = manifest_of(client, **more)
        state["digest"] = Digest.of(state["content"])
        assert client.push_manifest("app", "v1", state["content"]).status_code == 201
        return client

    def requests(client):
        url = f"/v2/app/manifests/{state['digest']}"
        return lambda: client.push_manifest("app", "v1", state["content"]), lambda: client.delete(url)

    tried = won = 0
    for order in sample(orders(prepared, requests)):
        client = prepared()
        answers, steps = run(client, requests(client), order)
        assert answers[PUSH] == 201
        tried += 1
        removed = first_change(steps, DELETE, "/revisions/")
        if removed is None or removed > last_step(steps, PUSH):
            continue  # the delete began when the push was over
        won += 1
        listed = client.get("/v2/app/tags/list").json["tags"]
        assert (client.get("/v2/app/manifests/v1").data, listed) == (state["content"], ["v1"]), steps
        referring = client.get(f"/v2/app/referrers/{SUBJECT}").json["manifests"]
        assert len(referring) == len(more), steps
    assert 0 < won < tried


def test_a_tag_that_a_push_moves_while_its_old_manifest_is_deleted_is_not_lost():
    state = {}

    def prepared():
        client = fresh()
        old = manifest_of(client, annotations={"a": "old"})
        state["new"] = manifest_of(client, annotations={"a": "new"})
        client.push_manifest("app", "v1", old)
        state["old"] = Digest.of(old)
        return client

    def requests(client):
        url = f"/v2/app/manifests/{state['old']}"
        return lambda: client.push_manifest("app", "v1", state["new"]), lambda: client.delete(url)

    for order in sample(orders(prepared, requests)):
        client = prepared()
        answers, steps = run(client, requests(client), order)
        assert answers == [201, 202]
        assert client.get("/v2/app/manifests/v1").data == state["new"], steps
        assert client.get(f"/v2/app/manifests/{state['old']}").status_code == 404
        assert is_entered(client, state["new"]), steps


def test_a_tag_that_a_push_makes_while_it_is_deleted_is_there_or_wholly_gone():
    state = {}

    def prepared():
        client = fresh()
        client.push_manifest("app", "v1", manifest_of(client, annotations={"a": "old"}))
        state["new"] = manifest_of(client, annotations={"a": "new"})
        return client

    def requests(client):
        return (
            lambda: client.push_manifest("app", "v1", state["new"]),
            lambda: client.delete("/v2/app/manifests/v1"),
        )

    for order in sample(orders(prepared, requests)):
        client = prepared()
        answers, steps = run(client, requests(client), order)
        assert answers[PUSH] == 201
        pointed, removed = (first_change(steps, who, "/current/") for who in (PUSH, DELETE))
        looked = next(n for n, (who, op, what) in enumerate(steps) if (who, op) == (DELETE, "walk"))
        answer = client.get("/v2/app/manifests/v1")
        if looked > pointed:  # the delete saw the tag where the push had moved it, and took it away
            assert (answers[DELETE], answer.status_code) == (202, 404), steps
            assert client.get("/v2/app/tags/list").json["tags"] == []
        else:
            assert removed is not None
            assert answer.data == state["new"], steps
            assert client.get("/v2/app/tags/list").json["tags"] == ["v1"]
            assert is_entered(client, state["new"]), steps


def test_a_blob_pushed_while_it_is_deleted_is_whole_or_gone():
    content = b"a blob"
    digest = Digest.of(content)

    def prepared():
        client = fresh()
        client.push_blob("app", content)
        return client

    def requests(client):
        return (
            lambda: client.post(f"/v2/app/blobs/uploads/?digest={digest}", data=content),
            lambda: client.delete(f"/v2/app/blobs/{digest}"),
        )

    for order in sample(orders(prepared, requests)):
        client = prepared()
        answers, steps = run(client, requests(client), order)
        assert answers == [201, 202]
        removed, linked = (first_change(steps, who, "/_layers/") for who in (DELETE, PUSH))
        answer = client.get(f"/v2/app/blobs/{digest}")
        assert answer.status_code == (200 if linked > removed else 404), steps


def is_entered(client, content):
    """Return whether the index of the tag v1 has a manifest."""
    index = client.driver.list(f"{ROOT}repositories/app/_manifests/tags/v1/index/sha256/")
    return Digest.of(content).hex + "/" in index


def sample(found: Iterator[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return all orders, or evenly chosen ones where there are very many: 700 with the profile `thorough`."""
    everything, most = list(found), tried(700)
    step = max(1, len(everything) // most)
    return everything[::step]
