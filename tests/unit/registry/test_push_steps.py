"""The steps of a push over a storage far away: which of them are side by side, and what a failure leaves."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

import pytest
from lab.registry_client import RegistryClient, image_manifest

from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.registry.store.paths import CONDEMNED
from cfmiddleware.storage.memory import MemoryDriver

_OPERATIONS = ("stat", "read", "open", "write", "create", "compose", "list", "walk", "delete")
_KINDS = ("/_uploads/", "/_layers/", "/revisions/", "/index/", "/current/", "/_referrers/", "/data")


class FarDriver:
    """A driver that does nothing by itself side by side, with a hook before and after each operation."""

    remote = True

    def __init__(self) -> None:
        self._inner = MemoryDriver()
        self.before: Callable[[str], None] | None = None
        self.after: Callable[[str], None] | None = None

    def __getattr__(self, name: str):
        attribute = getattr(self._inner, name)
        if name not in _OPERATIONS:
            return attribute

        def operation(first, *rest):
            first = first if isinstance(first, str) else list(first)
            path = first if isinstance(first, str) else first[0]
            step = f"{name} {next((kind for kind in _KINDS if kind in path), path).strip('/')}"
            if self.before:
                self.before(step)
            result = attribute(first, *rest)
            if self.after:
                self.after(step)
            return result

        return operation


class Rounds:
    """Lets operations go on only when as many are waiting as their round has: one at a time would hang.

    :param sizes: of the rounds.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._condition = threading.Condition()
        self.begun: list[set[str]] = [set()]

    def __call__(self, step: str) -> None:
        with self._condition:
            number = len(self.begun)
            self.begun[-1].add(step)
            if len(self.begun[-1]) == self._sizes[number - 1]:
                self.begun.append(set())
                self._condition.notify_all()
            else:
                assert self._condition.wait_for(lambda: len(self.begun) > number, 10), self.begun


def looked(driver: FarDriver) -> Condemned:
    """Return what has just been looked at: no garbage collection is about to delete anything."""
    condemned = Condemned(driver, clock=lambda: 0.0)
    condemned.look_ahead()
    return condemned


def registry_far_away() -> RegistryClient:
    driver = FarDriver()
    return RegistryClient(driver, condemned=looked(driver))


def test_the_push_of_a_small_image_waits_seven_times():
    client = registry_far_away()
    client.start("app")  # which makes the secret that signs uploads
    content, waits = b"a blob", 0
    digest = Digest.of(content)

    def step(sizes, send):
        client.driver.before = rounds = Rounds(sizes)
        answer = send()
        assert answer.status_code in (201, 202), answer.text
        return answer, rounds.begun[:-1]

    answer, found = step([], lambda: client.post("/v2/app/blobs/uploads/"))
    url = answer.headers["Location"]
    answer, found = step([2], lambda: client.patch(url, data=content))
    waits += len(found)
    assert found == [{"stat _uploads", "write data"}]
    url = answer.headers["Location"]
    _, found = step([2, 1], lambda: client.put(f"{url}?digest={digest}"))
    waits += len(found)
    assert found == [{"stat _uploads", "stat data"}, {"write _layers"}]
    image = image_manifest(digest, [digest])
    _, found = step([2, 2, 1, 1], lambda: client.push_manifest("app", "v1", image))
    waits += len(found)
    assert found == [
        {"stat _layers", "write data"},
        {"write revisions", "write index"},
        {"write current"},
        {"stat revisions"},
    ]
    assert waits == 7


def test_a_referrer_is_listed_beside_its_tag_and_after_its_revision():
    client = registry_far_away()
    blob = client.push_blob("app", b"{}")
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "digest": str(blob)}
    client.driver.before = rounds = Rounds([2, 2, 2, 1])
    client.push_manifest("app", "v1", image_manifest(blob, [], subject=subject))
    assert rounds.begun[2] == {"write _referrers", "write current"}


def test_a_storage_that_is_near_is_asked_in_turn():
    client = registry_far_away()
    blob = client.push_blob("app", b"{}")
    client.driver.remote = False
    near = RegistryClient(client.driver, condemned=looked(client.driver))
    client.driver.before = rounds = Rounds([1] * 6)
    assert near.push_manifest("app", "v1", image_manifest(blob, [])).status_code == 201
    assert len(rounds.begun[:-1]) == 6


def test_collections_are_looked_for_once_a_second_and_beside_other_looks():
    driver, now = FarDriver(), 0.0
    client = RegistryClient(driver, condemned=Condemned(driver, clock=lambda: now))
    looks = []
    driver.before = lambda step: looks.append(step) if step.startswith("list") else None

    for second in range(3):
        now = float(second)
        for number in range(5):
            client.push_blob("app", b"%d" % number)
    assert len(looks) == 3

    look = f"list {CONDEMNED.strip('/')}"
    digest = Digest.of(b"one more")
    url = client.patch(client.start("app"), data=b"one more").headers["Location"]
    driver.before = rounds = Rounds([3, 1])
    now = 10.0
    assert client.put(f"{url}?digest={digest}").status_code == 201
    assert rounds.begun[:2] == [{"stat _uploads", "stat data", look}, {"write _layers"}]
    driver.before = rounds = Rounds([3, 2, 1, 1])
    now = 20.0
    assert client.push_manifest("app", "v1", image_manifest(digest, [])).status_code == 201
    assert rounds.begun[:2] == [{"stat _layers", "write data", look}, {"write revisions", "write index"}]


def test_a_slow_push_of_what_is_there_loses_nothing_when_the_storage_fails():
    driver = FarDriver()
    client = RegistryClient(driver, condemned=Condemned(driver, clock=itertools.count(step=10).__next__))
    blob = client.push_blob("app", b"{}")
    assert client.push_manifest("app", "v1", image_manifest(blob, [])).status_code == 201
    driver.write(CONDEMNED + "withdrawn-1", b"")  # a collection has ended meanwhile
    looks = []

    def fail(step):
        looks.append(step)
        if step == "read _layers":  # at the second look
            raise StorageUnavailable("no answer")

    driver.before = fail
    assert client.push_manifest("app", "v1", image_manifest(blob, [])).status_code == 503
    driver.before = None
    assert "read _layers" in looks
    assert client.get("/v2/app/manifests/v1").status_code == 200


STEPS = [
    "stat _layers",
    "write data",
    "write revisions",
    "write index",
    "write _referrers",
    "write current",
    "stat revisions",
]

ORDERS: dict[str, Callable[..., None] | None] = {
    "side by side": None,
    "in turn": lambda self, *parts: in_turn(*parts),
    "the other way round": lambda self, *parts: in_turn(*reversed(parts)),
}


@pytest.mark.parametrize("killed", [False, True], ids=["failure", "kill"])
@pytest.mark.parametrize("done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("struck", STEPS)
@pytest.mark.parametrize("order", ORDERS)
def test_whatever_fails_a_tag_names_a_whole_manifest_and_a_push_again_succeeds(
    monkeypatch, order, struck, done, killed
):
    """A step fails, or all from it on, as after a kill; it may have been done all the same."""
    if ORDERS[order] is not None:
        monkeypatch.setattr(SideBySide, "all", ORDERS[order])
    client = registry_far_away()
    blob = client.push_blob("app", b"{}")
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "digest": str(blob)}
    old = image_manifest(blob, [], annotations={"is": "old"})
    new = image_manifest(blob, [], annotations={"is": "new"}, subject=subject)
    assert client.push_manifest("app", "v1", old).status_code == 201
    failed = threading.Event()

    def fail(step):
        if step == struck or (killed and failed.is_set()):
            failed.set()
            raise StorageUnavailable("no answer")

    if done:
        client.driver.after = fail
    else:
        client.driver.before = fail
    assert client.push_manifest("app", "v1", new).status_code == 503
    assert failed.is_set()
    client.driver.before = client.driver.after = None

    named = client.get("/v2/app/manifests/v1")
    assert named.status_code == 200
    may_be_new = struck == "stat revisions" or (struck == "write current" and done)
    beside = struck in ("write current", "write _referrers")
    assert named.json == old or ((may_be_new or beside) and named.json == new)
    for name in client.get("/v2/app/tags/list").json["tags"]:
        assert client.get(f"/v2/app/manifests/{name}").status_code == 200
    revisions = [path for path in client.objects() if "/revisions/" in path]
    for path in revisions:
        assert client.get(f"/v2/app/manifests/sha256:{path.split('/')[-2]}").status_code == 200

    assert client.push_manifest("app", "v1", new).status_code == 201
    assert client.get("/v2/app/manifests/v1").json == new
    assert len(client.get(f"/v2/app/referrers/{blob}").json["manifests"]) == 1


def test_a_manifest_whose_blobs_are_missing_stays_unknown_though_its_bytes_are_stored():
    client = registry_far_away()
    absent = Digest.of(b"absent")
    # The look waits until the bytes are stored; then comes what collections have set aside.
    client.driver.before = Rounds([2, 1])
    answer = client.push_manifest("app", "v1", image_manifest(absent, []))
    assert answer.status_code == 404
    client.driver.before = None
    assert {path.split("/")[2] for path in client.objects()} == {"blobs"}
    assert client.get("/v2/app/tags/list").status_code == 404
