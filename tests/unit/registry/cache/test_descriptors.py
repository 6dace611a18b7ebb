"""Where blobs are, remembered by each worker: what the storage is asked, what is forgotten, and when."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from lab.apps import ask, request, wrap
from lab.auth_material import (
    PULL,
    PUSH,
    basic,
    bearer,
    htpasswd,
    htpasswd_client,
    jwk,
    jwks,
    token,
    token_client,
)
from lab.auth_material import private_key as signing_key
from lab.clock import Clock
from lab.registry_client import ROOT, RegistryClient, error_code, image_manifest
from lab.stepping import Stepped, Turns, orders
from werkzeug.test import Client

from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.process.cache import Cache
from cfmiddleware.registry.app import Registry
from cfmiddleware.registry.cache.descriptors import InMemoryDescriptorCache, Located
from cfmiddleware.storage.memory import MemoryDriver
from cfmiddleware.wsgi.blobplace import BlobPlace

CONTENT = b"0123456789" * 100
DIGEST = Digest.of(CONTENT)
BLOB = f"/v2/team/app/blobs/{DIGEST}"
LINK = f"{ROOT}repositories/team/app/_layers/sha256/{DIGEST.hex}/link"
DATA = f"{ROOT}blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"
HERE = Located.of(DIGEST, len(CONTENT))


class Counting(MemoryDriver):
    """A storage that notes what it is asked, and can lose the answer to a delete."""

    def __init__(self, root: str = "/images") -> None:
        super().__init__(root)
        self.asked: list[str] = []
        self.loses_answers = False

    def stat(self, path: str) -> Any:
        self.asked.append("stat")
        return super().stat(path)

    def read(self, path: str) -> bytes:
        self.asked.append("read")
        return super().read(path)

    def open(self, path: str, offset: int = 0, length: int | None = None) -> Any:
        self.asked.append("open")
        return super().open(path, offset, length)

    def delete(self, paths: Any) -> None:
        super().delete(paths)
        if self.loses_answers:
            raise StorageUnavailable("the answer was lost")

    def asked_by(self, call: Any) -> tuple[Any, list[str]]:
        """Return what *call* returns, and what was asked meanwhile."""
        self.asked.clear()
        return call(), list(self.asked)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage() -> Counting:
    return Counting()


def worker(storage: Any, clock: Any, **options: Any) -> RegistryClient:
    """Return a registry that remembers for a minute, as one worker of several over the same storage."""
    return RegistryClient(storage, descriptors=InMemoryDescriptorCache(10, 60, clock), **options)


@pytest.fixture
def client(storage: Counting, clock: Clock) -> RegistryClient:
    client = worker(storage, clock)
    client.push_blob("team/app", CONTENT)
    return client


def warm(client: Client) -> None:
    assert client.head(BLOB).status_code == 200


# What the storage is asked


def test_the_bytes_of_a_warm_pull_are_those_that_were_asked_for(client: RegistryClient):
    for _ in range(2):
        assert client.get(BLOB).data == CONTENT
        assert client.get(BLOB, headers={"Range": "bytes=5-9"}).data == CONTENT[5:10]


def test_a_warm_redirect_leads_where_a_cold_one_did(client: RegistryClient):
    wrapped = wrap(client.registry, rootdirectory="/images")
    cold, warmed = (ask(wrapped, request(BLOB)).location for _ in range(2))
    assert urlsplit(str(warmed)).path == urlsplit(str(cold)).path == DATA


def test_a_name_in_another_algorithm_leads_to_the_data_that_its_link_names(
    client: RegistryClient, storage: Counting
):
    other = Digest.of(CONTENT, "sha512")
    link = f"{ROOT}repositories/team/app/_layers/sha512/{other.hex}/link"
    MemoryDriver.write(storage, link, str(DIGEST).encode())
    for expected in (["read", "open"], ["open"]):
        answer, asked = storage.asked_by(lambda: client.get(f"/v2/team/app/blobs/{other}"))
        assert (answer.data, answer.headers["Docker-Content-Digest"]) == (CONTENT, str(other))
        assert asked == expected


def test_what_is_not_there_is_never_remembered(storage: Counting, clock: Clock):
    client = worker(storage, clock)
    for _ in range(2):
        answer, asked = storage.asked_by(lambda: client.get(BLOB))
        assert error_code(answer) == "BLOB_UNKNOWN"
        assert asked == ["read"]
    MemoryDriver.write(storage, LINK, str(DIGEST).encode())
    assert client.get(BLOB).status_code == 404  # a link without data
    MemoryDriver.write(storage, DATA, CONTENT)
    assert client.get(BLOB).data == CONTENT


def test_an_outage_of_the_storage_is_not_remembered(client: RegistryClient, storage: Counting):
    def unavailable(path: str) -> Any:
        raise StorageUnavailable("no")

    storage.read = unavailable
    assert client.head(BLOB).status_code == 503
    del storage.read
    warm(client)


# What a stale yes must not do


def test_nothing_new_is_made_of_a_blob_that_is_remembered_and_gone(client: RegistryClient, storage: Counting):
    config = client.push_blob("team/app", b"{}")
    warm(client)
    storage.delete([LINK])
    warm(client)  # still remembered
    manifest = image_manifest(config, [DIGEST])
    assert error_code(client.push_manifest("team/app", "v1", manifest)) == "MANIFEST_BLOB_UNKNOWN"
    mount = client.post(f"/v2/other/app/blobs/uploads/?mount={DIGEST}&from=team/app")
    assert mount.status_code == 202  # an upload instead
    assert client.head(f"/v2/other/app/blobs/{DIGEST}").status_code == 404


def test_a_push_of_a_blob_that_is_remembered_and_gone_brings_it_back(
    client: RegistryClient, storage: Counting, clock: Clock
):
    warm(client)
    storage.delete([LINK, DATA])
    client.push_blob("team/app", CONTENT)
    clock.now += 61
    assert client.get(BLOB).data == CONTENT


def test_a_mount_asks_the_storage_each_time(client: RegistryClient, storage: Counting):
    warm(client)
    url = f"/v2/other/app/blobs/uploads/?mount={DIGEST}&from=team/app"
    for _ in range(2):
        answer, asked = storage.asked_by(lambda: client.post(url))
        assert answer.status_code == 201
        assert asked == ["read", "stat"]


def test_bytes_that_are_gone_are_a_404_and_no_longer_remembered(client: RegistryClient, storage: Counting):
    warm(client)
    storage.delete([DATA])
    assert client.head(BLOB).status_code == 200
    assert error_code(client.get(BLOB)) == "BLOB_UNKNOWN"
    assert client.head(BLOB).status_code == 404


def test_one_repository_says_nothing_of_another(client: RegistryClient):
    warm(client)
    assert client.head(f"/v2/other/app/blobs/{DIGEST}").status_code == 404
    assert client.head(f"/v2/team/blobs/{DIGEST}").status_code == 404


# Deletes


def test_what_a_worker_deletes_it_forgets_at_once(client: RegistryClient):
    client.push_blob("other/app", CONTENT)
    warm(client)
    assert client.delete(BLOB).status_code == 202
    for _ in range(2):
        assert client.get(BLOB).status_code == client.head(BLOB).status_code == 404
    assert client.get(f"/v2/other/app/blobs/{DIGEST}").data == CONTENT
    client.push_blob("team/app", CONTENT)
    assert client.get(BLOB).data == CONTENT


@pytest.mark.parametrize(("later", "status"), [(0, 200), (29.999, 200), (60, 404), (61, 404)])
def test_another_worker_says_yes_until_its_time_is_over(
    storage: Counting, clock: Clock, later: float, status: int
):
    one, other = worker(storage, clock), worker(storage, clock)
    one.push_blob("team/app", CONTENT)
    warm(other)
    assert one.delete(BLOB).status_code == 202
    assert one.head(BLOB).status_code == 404
    clock.now += later
    assert other.head(BLOB).status_code == status


def must_not_be_asked() -> Located:
    raise AssertionError("the storage was asked")


def test_the_time_counts_from_before_the_storage_was_asked(clock: Clock):
    descriptors = InMemoryDescriptorCache(10, 60, clock)

    def slow() -> Located:
        clock.now += 20
        return HERE

    assert descriptors.find("team/app", DIGEST, slow) == HERE
    clock.now += 9.999
    assert descriptors.find("team/app", DIGEST, must_not_be_asked) == HERE
    clock.now += 30.002
    assert descriptors.find("team/app", DIGEST, lambda: None) is None


def test_a_yes_that_is_used_does_not_live_longer(client: RegistryClient, storage: Counting, clock: Clock):
    warm(client)
    storage.delete([LINK])
    for _ in range(29):
        clock.now += 1
        warm(client)
    clock.now += 31
    assert client.head(BLOB).status_code == 404


def test_a_yes_that_is_used_is_looked_up_again_before_its_time_is_over(client: RegistryClient, clock: Clock):
    """Then nobody waits for the storage when it is."""
    warm(client)
    clock.now += 59.999
    warm(client)
    clock.now += 29.999
    warm(client)


def test_a_descriptor_without_a_size_serves_those_that_need_none(clock: Clock):
    descriptors = InMemoryDescriptorCache(10, 60, clock)
    bare = Located.of(DIGEST, None)
    assert descriptors.find("team/app", DIGEST, lambda: bare, sized=False) == bare
    assert descriptors.find("team/app", DIGEST, must_not_be_asked, sized=False) == bare
    assert descriptors.find("team/app", DIGEST, lambda: HERE) == HERE
    assert descriptors.find("team/app", DIGEST, must_not_be_asked, sized=False) == HERE


def test_a_link_whose_data_is_found_gone_is_forgotten(clock: Clock):
    descriptors = InMemoryDescriptorCache(10, 60, clock)
    descriptors.find("team/app", DIGEST, lambda: Located.of(DIGEST, None), sized=False)
    assert descriptors.find("team/app", DIGEST, lambda: None) is None
    assert len(descriptors) == 0


def lent(descriptors: InMemoryDescriptorCache, *, size: int | None = 1) -> BlobPlace:
    """Return what a wrapper is given of a blob that was found."""
    generation = descriptors.generation()
    located = descriptors.find("team/app", DIGEST, lambda: Located.of(DIGEST, size), sized=False)
    assert located is not None
    located.place = BlobPlace("key", True, size)
    located.place.due, located.place.lent = located.due, generation
    return located.place


def test_a_place_holds_until_the_storage_is_to_be_asked_again(clock: Clock):
    descriptors = InMemoryDescriptorCache(10, 60, clock)
    place = lent(descriptors)
    clock.now += 29.999
    assert descriptors.holds(place)
    clock.now += 30
    assert not descriptors.holds(place)
    assert not descriptors.holds(BlobPlace("key", True, 1))


@pytest.mark.parametrize("name", ["team/app", "other"])
def test_no_place_holds_after_a_delete_even_if_its_descriptor_was_pushed_out(clock: Clock, name: str):
    descriptors = InMemoryDescriptorCache(1, 60, clock)
    place = lent(descriptors)
    descriptors.find("other", DIGEST, lambda: HERE)
    assert descriptors.holds(place)
    descriptors.forget(name, DIGEST)
    assert not descriptors.holds(place)


def test_a_delete_while_the_storage_is_asked_for_a_place_is_seen(clock: Clock):
    descriptors = InMemoryDescriptorCache(10, 60, clock)
    generation = descriptors.generation()

    def overtaken() -> Located:
        descriptors.forget("team/app", DIGEST)
        return Located.of(DIGEST, 1)

    located = descriptors.find("team/app", DIGEST, overtaken)
    assert located is not None
    assert not descriptors.holds(BlobPlace("key", True, 1, located.due, generation))


def test_a_place_without_a_size_ends_when_the_size_is_known(clock: Clock):
    descriptors = InMemoryDescriptorCache(10, 60, clock)
    place = lent(descriptors, size=None)
    assert descriptors.holds(place)
    assert descriptors.find("team/app", DIGEST, lambda: HERE) == HERE
    assert not descriptors.holds(place)


def second_half(clock: Clock) -> InMemoryDescriptorCache:
    """Return descriptors with one that is to be looked up again, and counts for an instant yet."""
    descriptors = InMemoryDescriptorCache(10, 60, clock)
    descriptors.find("team/app", DIGEST, lambda: HERE)
    clock.now += 59.999
    return descriptors


def test_one_request_looks_up_again_while_the_others_go_on_with_what_is_known(clock: Clock):
    descriptors = second_half(clock)
    found = []

    def slow() -> Located:
        found.append(descriptors.find("team/app", DIGEST, must_not_be_asked))
        return HERE

    assert descriptors.find("team/app", DIGEST, slow) == HERE
    assert found == [HERE]


def test_what_is_found_gone_when_it_is_looked_up_again_is_forgotten(clock: Clock):
    descriptors = second_half(clock)
    assert descriptors.find("team/app", DIGEST, lambda: None) is None
    assert descriptors.find("team/app", DIGEST, lambda: None) is None
    assert len(descriptors) == 0


def test_a_delete_while_it_is_looked_up_again_is_not_undone(clock: Clock):
    descriptors = second_half(clock)

    def overtaken() -> Located:
        descriptors.forget("team/app", DIGEST)
        return HERE

    descriptors.find("team/app", DIGEST, overtaken)
    assert descriptors.find("team/app", DIGEST, lambda: None) is None


def test_a_storage_that_is_away_when_it_is_looked_up_again_is_no_error_yet(clock: Clock):
    descriptors = second_half(clock)

    def away() -> Located:
        raise StorageUnavailable("it is away")

    assert descriptors.find("team/app", DIGEST, away) == HERE
    clock.now += 0.001
    with pytest.raises(StorageUnavailable):
        descriptors.find("team/app", DIGEST, away)


def test_no_yes_comes_after_its_time_however_long_the_storage_takes_to_fail(clock: Clock):
    descriptors = second_half(clock)

    def slow_to_fail() -> Located:
        clock.now += 30
        raise StorageUnavailable("it did not answer")

    with pytest.raises(StorageUnavailable):
        descriptors.find("team/app", DIGEST, slow_to_fail)


def test_the_whole_time_counts_from_before_the_storage_was_asked(clock: Clock):
    descriptors = InMemoryDescriptorCache(10, 60, clock)

    def slow() -> Located:
        clock.now += 25
        return HERE

    descriptors.find("team/app", DIGEST, slow)
    clock.now += 35

    def away() -> Located:
        raise StorageUnavailable("it is away")

    with pytest.raises(StorageUnavailable):
        descriptors.find("team/app", DIGEST, away)


class Later:
    """What is begun beside requests, and done when the test says so."""

    def __init__(self, clock: Clock) -> None:
        self.begun: list[Callable[[], None]] = []
        self.descriptors = InMemoryDescriptorCache(100, 60, clock, self.begin)

    def begin(self, function: Callable[[], None]) -> bool:
        self.begun.append(function)
        return True

    def find(self, ask: Callable[[], Located | None] = must_not_be_asked, name: str = "team/app") -> Any:
        return self.descriptors.find(name, DIGEST, ask, later=True)


def test_what_is_looked_up_beside_requests_keeps_none_waiting(clock: Clock):
    later = Later(clock)
    asked = []

    def ask() -> Located:
        asked.append(clock.now)
        return Located.of(DIGEST, 1)

    assert later.find(ask) is not None
    assert len(asked) == 1
    clock.now += 59.999
    for _ in range(5):
        assert later.find(ask) is not None
    assert (len(asked), len(later.begun)) == (1, 1)
    later.begun.pop()()
    clock.now += 29.999  # from when the storage was asked
    assert later.find() is not None
    assert (len(asked), later.begun) == (2, [])


@pytest.mark.parametrize("error", [StorageUnavailable("it is away"), ZeroDivisionError()])
def test_what_fails_beside_requests_is_known_to_its_end_and_no_longer(clock: Clock, error: Exception):
    later = Later(clock)
    later.find(lambda: HERE)
    clock.now += 59.999

    def fail() -> Located:
        raise error

    assert later.find(fail) == HERE
    later.begun.pop()()
    assert later.find() == HERE
    clock.now += 0.001
    with pytest.raises(type(error)):
        later.find(fail)
    assert later.begun == []


def test_what_is_found_gone_beside_requests_is_gone_for_the_next_one(clock: Clock):
    later = Later(clock)
    place = lent(later.descriptors)
    clock.now = place.due - 0.001
    assert later.descriptors.holds(place)
    clock.now += 0.002
    assert later.find(lambda: None) is not None
    later.begun.pop()()
    assert later.find(lambda: None) is None
    assert not later.descriptors.holds(place)


def test_a_delete_while_it_is_looked_up_beside_requests_is_not_undone(clock: Clock):
    later = Later(clock)
    later.find(lambda: HERE)
    clock.now += 59.999

    def overtaken() -> Located:
        later.descriptors.forget("team/app", DIGEST)
        return HERE

    assert later.find(overtaken) == HERE
    later.begun.pop()()
    assert later.find(lambda: None) is None


def test_few_look_ups_are_under_way_beside_requests(clock: Clock):
    later = Later(clock)
    asked = []

    def ask(name: str) -> Located:
        asked.append(name)
        return HERE

    names = [f"team/app{number}" for number in range(10)]
    for again in (0, 59.999):
        clock.now += again
        for name in names:
            later.find(partial(ask, name), name)
    assert len(later.begun) == 4
    assert asked == names + names[4:]
    for look in later.begun:
        look()
    assert asked == names + names[4:] + names[:4]


def test_who_needs_the_answer_itself_gets_it(clock: Clock):
    later = Later(clock)
    later.find(lambda: HERE)
    clock.now += 59.999
    other = Located.of(DIGEST, 2)
    assert later.descriptors.find("team/app", DIGEST, lambda: other) is other
    assert later.begun == []


def test_a_delete_between_two_steps_of_a_pull_is_not_undone(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    """Between finding that a blob is to be looked up again and doing so."""
    descriptors = second_half(clock)
    generation = Cache.generation

    def overtaken(remembered: Cache[Any, Any]) -> object:
        monkeypatch.setattr(Cache, "generation", generation)
        descriptors.forget("team/app", DIGEST)
        return remembered.generation()

    monkeypatch.setattr(Cache, "generation", overtaken)

    def away() -> Located:
        raise StorageUnavailable("it is away")

    with pytest.raises(StorageUnavailable):
        descriptors.find("team/app", DIGEST, away)
    assert len(descriptors) == 0


def test_blobs_that_were_pulled_together_are_not_looked_up_together_again(clock: Clock):
    descriptors = InMemoryDescriptorCache(1000, 60, clock)
    digests = [Digest.of(str(number).encode()) for number in range(1000)]
    asked = Counter[float]()

    def ask() -> Located:
        asked[clock.now] += 1
        return HERE

    for _ in range(61):
        for digest in digests:
            descriptors.find("team/app", digest, ask)
        clock.now += 1
    first, *others = asked.values()
    assert first == sum(others) == 1000
    assert max(others) < 100


def test_a_worker_forgets_also_where_its_delete_found_nothing_to_delete(storage: Counting, clock: Clock):
    one, other = worker(storage, clock), worker(storage, clock)
    one.push_blob("team/app", CONTENT)
    warm(other)
    assert one.delete(BLOB).status_code == 202
    assert other.delete(BLOB).status_code == 404
    assert other.head(BLOB).status_code == 404


def test_a_delete_whose_answer_is_lost_is_a_delete(client: RegistryClient, storage: Counting):
    """A pull that comes after the delete has begun, and before the link is gone, is forgotten as well."""
    storage.loses_answers = True
    delete = MemoryDriver.delete

    def pulled_first(paths: Any) -> None:
        warm(client)
        delete(storage, paths)
        raise StorageUnavailable("the answer was lost")

    storage.delete = pulled_first
    assert client.delete(BLOB).status_code == 503
    assert client.head(BLOB).status_code == 404


def status_of(client: Client, method: str) -> int:
    return client.open(BLOB, method=method).status_code


def test_no_order_of_a_pull_and_a_delete_leaves_a_yes(clock: Clock):
    tried = 0
    answers = set()
    for order in orders(4, 4):  # read the link, look at the data; look at the link, delete it
        storage = Stepped(MemoryDriver(), ("read", "stat", "delete"))
        client = worker(storage, clock)
        client.push_blob("team/app", CONTENT)
        storage.turns = turns = Turns(order)
        pulled, deleted = turns.run([partial(status_of, client, method) for method in ("HEAD", "DELETE")])
        storage.turns = None
        assert deleted == 202
        assert len(turns.taken) >= 6
        assert client.head(BLOB).status_code == 404, turns.taken
        answers.add(pulled)
        tried += 1
    assert (tried, answers) == (70, {200, 404})


# Bounds, threads, forks


def test_the_least_recently_used_is_forgotten_first(clock: Clock):
    descriptors = InMemoryDescriptorCache(3, 60, clock)
    asked: list[str] = []

    def find(name: str) -> None:
        def ask() -> Located:
            asked.append(name)
            return HERE

        assert descriptors.find(name, DIGEST, ask) == HERE

    for name in "abcabad":  # c was used before a and b, and d takes its place
        find(name)
    assert (asked, len(descriptors)) == (["a", "b", "c", "d"], 3)
    for name in "abd":
        find(name)
    assert asked == ["a", "b", "c", "d"]
    find("c")
    assert asked == ["a", "b", "c", "d", "c"]


def test_there_are_never_more_than_were_asked_for(clock: Clock):
    descriptors = InMemoryDescriptorCache(100, 60, clock)
    for number in range(5000):
        descriptors.find(f"team/app{number}", DIGEST, lambda: HERE)
        assert len(descriptors) <= 100
    assert len(descriptors) == 100


def test_threads_that_find_and_forget_agree_with_the_storage(clock: Clock):
    """Each name belongs to one thread, which knows whether it is there; all share a crowded memory."""
    descriptors = InMemoryDescriptorCache(20, 60, clock)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(thread: int) -> int:
        wrong = 0
        there: dict[str, bool] = {}
        for turn in range(600):
            name = f"{thread}/{turn % 5}"
            if turn % 3 == 0:
                descriptors.forget(name, DIGEST)
                there[name] = not there.get(name, False)
                descriptors.forget(name, DIGEST)
            found = descriptors.find(name, DIGEST, lambda name=name: HERE if there.get(name) else None)
            wrong += (found is not None) != there.get(name, False)
        return wrong

    try:
        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(work, range(16))) == 0
    finally:
        sys.setswitchinterval(switch)
    assert len(descriptors) <= 20


def test_what_was_looked_up_before_something_was_forgotten_is_not_remembered():
    remembered: Cache[str, int] = Cache(10)
    generation = remembered.generation()
    remembered.forget("another")
    remembered.put("key", 1, generation)
    assert remembered.get("key") is None
    remembered.put("key", 1, remembered.generation())
    assert remembered.get("key") == 1


def in_child(work: Any) -> int:
    """Fork, do *work* in the child, and return its status; a child that hangs is ended by SIGALRM."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        try:
            os._exit(int(not work()))
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_look_up_leaves_no_lock_behind():
    remembered: Cache[Any, int] = Cache(10)
    remembered.put("before", 1, remembered.generation())
    generation = remembered.generation()
    statuses = []

    class Forking:
        """A key that is compared while the memory is locked."""

        def __hash__(self) -> int:
            statuses.append(in_child(self.child))
            return 1

        @staticmethod
        def child() -> bool:
            # The old generation is of another memory: nobody knows what was forgotten since.
            remembered.put("late", 2, generation)
            remembered.put("after", 3, remembered.generation())
            return [remembered.get(key) for key in ("before", "late", "after")] == [None, None, 3]

    remembered.get(Forking())
    assert statuses == [0]
    assert remembered.get("before") == 1


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_finds_out_by_itself_what_its_parent_remembers(client: RegistryClient, storage: Counting):
    warm(client)

    def child() -> bool:
        storage.delete([LINK])
        return client.head(BLOB).status_code == 404

    assert in_child(child) == 0
    assert client.head(BLOB).status_code == 200


def test_threads_look_up_one_blob_at_the_same_time(client: RegistryClient):
    barrier = threading.Barrier(8)

    def pull(number: int) -> int:
        barrier.wait(10)
        return client.head(BLOB).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(pull, range(8))) == {200}


# Who may pull


def test_a_user_who_may_not_pull_is_refused_however_warm_the_blob_is(tmp_path: Any):
    key = signing_key("P-256")
    (tmp_path / "jwks.json").write_bytes(jwks(jwk(key, kid="one")))
    open_door = token_client(jwks=tmp_path / "jwks.json")
    registry = Registry(
        open_door.driver, auth=open_door.registry._auth, descriptors=InMemoryDescriptorCache(), delete=True
    )
    client, wrapped = Client(registry), wrap(registry, rootdirectory="/images")

    def headers(access: Any) -> dict[str, str]:
        return bearer(token(key, "ES256", access=access))

    url = f"/v2/team/app/blobs/uploads/?digest={DIGEST}"
    assert client.post(url, data=CONTENT, headers=headers(PUSH)).status_code == 201
    assert client.head(BLOB, headers=headers(PULL)).status_code == 200
    assert ask(wrapped, request(BLOB, HTTP_AUTHORIZATION=headers(PULL)["Authorization"])).code == 307
    others = [{"type": "repository", "name": "other/app", "actions": ["pull"]}]
    for given in ({}, headers(others), headers([]), {"Authorization": "Bearer x.y.z"}):
        assert client.get(BLOB, headers=given).status_code == 401
        assert client.head(BLOB, headers=given).status_code == 401
        fields = {"HTTP_AUTHORIZATION": given["Authorization"]} if given else {}
        refused = ask(wrapped, request(BLOB, **fields))
        assert (refused.code, refused.location) == (401, None)
    assert client.delete(BLOB, headers=headers(PULL)).status_code == 401
    assert client.head(BLOB, headers=headers(PULL)).status_code == 200


def test_a_wrong_password_is_refused_however_warm_the_blob_is(tmp_path: Any):
    (tmp_path / "users").write_bytes(htpasswd({"alice": "open sesame"}))
    door = htpasswd_client(tmp_path / "users")
    client = RegistryClient(door.driver, auth=door.registry._auth, descriptors=InMemoryDescriptorCache())
    right = basic("alice", "open sesame")
    url = f"/v2/team/app/blobs/uploads/?digest={DIGEST}"
    assert client.post(url, data=CONTENT, headers=right).status_code == 201
    for _ in range(2):
        assert client.get(BLOB, headers=right).status_code == 200
        for wrong in ({}, basic("alice", "open"), basic("bob", "open sesame")):
            assert client.get(BLOB, headers=wrong).status_code == 401
