"""The spool in a bucket: the order of all machines, one that delivers, and nothing lost between them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from lab.clock import Clock

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.notifications import bucketturn
from cfmiddleware.notifications.bucketqueue import BucketQueue
from cfmiddleware.notifications.bucketspool import BucketSpool
from cfmiddleware.notifications.bucketturn import BucketTurn
from cfmiddleware.notifications.entries import Entry, SpoolError, Waiting
from cfmiddleware.storage.memory import MemoryDriver

PREFIX = "/docker/registry/v2/_cfmiddleware/events/"


class Storage(MemoryDriver):
    """A storage that counts what it is asked, and fails if a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.fails = False

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("read", "write", "create", "stat", "list", "walk", "delete"):
            self.asked[name] += 1
            if self.fails:
                raise StorageUnavailable("no answer")
        return found


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture(autouse=True)
def nobody_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucketturn, "has_ended", lambda owner: False)


def spool_of(storage: Storage, clock: Clock, maxbytes: int = 1 << 30) -> BucketSpool:
    """Return the spool as another process sees it."""
    return BucketSpool(storage, PREFIX, maxbytes, clock=clock)


def entry(body: object, repository: str = "app", endpoint: str = "a", action: str = "push") -> Entry:
    return Entry(endpoint, repository, action, str(body))


def bodies(spool: BucketSpool, endpoint: str = "a", *held: str) -> list[str]:
    return [each.body for each in spool.waiting(endpoint, held)]


def objects(storage: Storage, folder: str) -> list[str]:
    return storage.list(f"{PREFIX}{folder}/")


def read_all(spool: BucketSpool, endpoint: str = "a") -> list[Waiting]:
    """Return what waits; what waits behind an event is read when it is needed."""
    spool.waiting(endpoint, ["app"])
    return spool.waiting(endpoint)


def pass_time(clock: Clock, turn: BucketQueue | None, seconds: int = 62) -> None:
    """Let time pass in which the turn is renewed."""
    assert turn is not None
    for _ in range(seconds):
        clock.now += 1
        turn.renew()


def deliver(spool: BucketSpool, endpoint: str = "a") -> list[str]:
    """Take all that waits."""
    taken = []
    while found := spool.waiting(endpoint):
        for event in found:
            taken.append(event.body)
            spool.delivered(event.seq)
    return taken


def test_events_of_all_processes_have_one_order_and_are_gone_when_all_have_them(storage, clock):
    spools = [spool_of(storage, clock) for _ in range(3)]
    for number in range(12):
        assert spools[number % 3].add([entry(number), entry(number, endpoint="b")]) == []
    turn = spools[0].turn(["a", "b"])
    assert deliver(spools[0]) == [str(number) for number in range(12)]
    assert len(objects(storage, "queue")) == 12
    assert deliver(spools[0], "b") == [str(number) for number in range(12)]
    assert spools[0].counts() == {}
    assert objects(storage, "queue") == []
    spools[1].add([entry("late")])
    clock.now += 10
    assert deliver(spools[0]) == ["late"]
    turn.give_up()


def test_who_was_long_idle_puts_nothing_where_everything_was_delivered(storage, clock):
    """Its number is free again, and what came after it is delivered already or waits."""
    idle, busy = spool_of(storage, clock), spool_of(storage, clock)
    idle.add([entry(1)])
    for number in range(2, 6):
        busy.add([entry(number)])
    busy.turn(["a"])
    assert deliver(busy) == ["1", "2", "3", "4", "5"]
    assert objects(storage, "queue") == []
    busy.add([entry(6)])
    idle.add([entry(7)])
    assert [int(name) for name in objects(storage, "queue")] == [6, 7]
    clock.now += 1
    assert deliver(busy) == ["6", "7"]


def test_what_lies_there_without_being_expected_is_taken_all_the_same(storage, clock):
    spool = spool_of(storage, clock)
    spool.add([entry(1)])
    turn = spool.turn(["a"])
    assert deliver(spool) == ["1"]
    late = spool_of(storage, clock)
    late.state = lambda: type(spool.state())()  # type: ignore[method-assign]
    late.add([entry("late")])
    assert [int(name) for name in objects(storage, "queue")] == [1]
    pass_time(clock, turn)
    assert deliver(spool) == ["late"]
    assert objects(storage, "queue") == []


def test_a_new_process_finds_the_end_of_a_long_queue_in_a_few_steps(storage, clock):
    spool = spool_of(storage, clock)
    for number in range(300):
        spool.add([entry(number)])
    storage.asked.clear()
    spool_of(storage, clock).add([entry("last")])
    assert sum(storage.asked.values()) < 30
    assert int(objects(storage, "queue")[-1]) == 301


def test_what_many_add_at_a_time_is_two_requests(storage, clock):
    spool = spool_of(storage, clock)
    spool.add([entry("first")])
    go_on, begun = threading.Event(), threading.Event()
    create = storage.create

    def slow(path: str, content: bytes) -> None:
        begun.set()
        assert go_on.wait(10)
        create(path, content)

    storage.create = slow  # type: ignore[method-assign]
    threads = [threading.Thread(target=spool.add, args=([entry(0)],))]
    threads[0].start()
    assert begun.wait(10)
    threads += [threading.Thread(target=spool.add, args=([entry(number)],)) for number in range(1, 9)]
    for thread in threads[1:]:
        thread.start()
    while len(spool._adder().batches._open.items) < 8:
        pass
    storage.asked.clear()
    go_on.set()
    for thread in threads:
        thread.join()
    assert storage.asked["create"] == 1  # the other one has begun before
    assert sum(storage.asked.values()) <= 3
    assert len(objects(storage, "queue")) == 3


def test_another_process_goes_on_where_one_was_killed(storage, clock):
    first, second = spool_of(storage, clock), spool_of(storage, clock)
    for number in range(6):
        first.add([entry(number, repository=f"r{number % 2}")])
    assert first.turn(["a"]) is not None
    assert second.turn(["a"]) is None
    event, *_ = first.waiting("a")
    first.failed(event.seq, "it answered 500")
    for body in ("1", "3", "5"):
        (event,) = first.waiting("a", ["r0"])
        assert event.body == body
        clock.now += 2  # each is noted
        first.delivered(event.seq)
    assert bodies(first, "a", "r0") == []
    clock.now += 46
    assert second.turn(["a"]) is not None
    assert bodies(second) == ["0", "2", "4"]  # which are those that were read
    assert (second.waiting("a")[0].attempts, second.waiting("a")[0].error) == (1, "it answered 500")
    with pytest.raises(SpoolError, match="another process"):
        first.waiting("a")


def test_a_process_that_was_stopped_for_long_learns_that_another_one_delivers(storage, clock):
    first, second = (BucketTurn(storage, f"{PREFIX}lease/", clock) for _ in range(2))
    assert first.take()
    clock.now += 29
    first.renew()
    assert first.is_held()
    assert not second.take()
    clock.now += 31
    assert not first.is_held()
    clock.now += 30
    assert second.take()
    first.renew()
    first.give_up()
    assert not first.is_held()
    assert second.is_held()
    assert len(objects(storage, "lease")) == 1
    second.give_up()
    assert first.take()


def test_of_two_that_take_over_at_the_same_time_one_wins(storage, clock):
    turns = [BucketTurn(storage, f"{PREFIX}lease/", clock) for _ in range(3)]
    assert turns[0].take()
    assert [turn.take() for turn in turns[1:]] == [False, False]
    turns[0].give_up()
    look = turns[1]._look

    def overtaken() -> bytes | None:
        found = look()
        assert turns[2].take()
        return found

    turns[1]._look = overtaken  # type: ignore[method-assign]
    assert not turns[1].take()


def test_the_turn_of_a_process_that_has_certainly_ended_is_free_at_once(storage, clock, monkeypatch):
    assert BucketTurn(storage, PREFIX, clock).take()
    second = BucketTurn(storage, PREFIX, clock)
    assert not second.take()
    monkeypatch.setattr(bucketturn, "has_ended", lambda owner: "process" in owner)
    assert second.take()


def test_dead_letters_are_kept_sent_again_and_removed(storage, clock):
    spool = spool_of(storage, clock)
    spool.add([entry(number) for number in range(3)])
    turn = spool.turn(["a"])
    for event in read_all(spool)[:2]:
        assert spool.bury(event.seq, "it answered 400") == 0
    assert spool.counts() == {"a": (1, 2)}
    assert deliver(spool) == ["2"]
    operator = spool_of(storage, clock)
    first, second = operator.all("a")
    assert (first.body, first.is_dead, first.attempts, first.error) == ("0", True, 1, "it answered 400")
    assert operator.counts() == {"a": (0, 2)}
    assert operator.resend(first.seq)
    assert not operator.resend(first.seq)
    assert operator.drop(second.seq)
    assert not operator.drop(second.seq)
    assert [(each.body, each.is_dead) for each in operator.all()] == [("0", False)]
    pass_time(clock, turn)
    assert deliver(spool) == ["0"]
    assert spool.counts() == {}


def test_what_waits_for_an_endpoint_that_is_gone_becomes_dead_letters(storage, clock):
    spool = spool_of(storage, clock)
    spool.add([entry(1), entry(1, endpoint="gone")])
    spool.add([entry(2), entry(2, endpoint="gone")])
    spool.turn(["a"])
    for _ in range(5):
        deliver(spool)
        clock.now += 2
    assert spool.counts() == {"gone": (0, 2)}
    assert objects(storage, "queue") == []
    assert {each.endpoint for each in spool.all()} == {"gone"}


def test_a_full_spool_keeps_the_last_tenth_for_what_changes_something(storage, clock):
    spool = spool_of(storage, clock, maxbytes=11_000)
    spool.turn(["a"])
    for _ in range(9):
        assert spool.add([entry("x" * 1000)]) == []
    clock.now += 2
    assert len(spool.add([entry("x" * 1000, action="pull")])) == 1
    assert not spool.is_full()
    assert spool.add([entry("y" * 400)]) == []
    clock.now += 2
    assert len(spool.add([entry("z" * 1000)])) == 1
    assert len(deliver(spool)) == 10
    clock.now += 2
    assert spool.add([entry("x" * 1000, action="pull")]) == []


def test_a_storage_that_fails_is_an_error_of_the_spool_and_loses_nothing(storage, clock):
    spool = spool_of(storage, clock)
    spool.add([entry(1)])
    spool.turn(["a"])
    storage.fails = True
    with pytest.raises(SpoolError, match="no answer"):
        spool.add([entry(2)])
    with pytest.raises(SpoolError):
        spool.waiting("a")
    storage.fails = False
    spool.add([entry(3)])
    assert deliver(spool) == ["1", "3"]


def test_a_repository_that_fails_does_not_keep_what_is_read_from_being_bounded(storage, clock):
    spool = spool_of(storage, clock)
    for _ in range(3):
        spool.add([entry(number) for number in range(600)])
    spool.turn(["a"])
    assert spool.waiting("a", ["app"]) == []
    assert len(spool._held()._lines["a"].waits) <= 1600
    assert len(deliver(spool)) == 1800


def test_of_large_events_fewer_are_read_ahead(storage, clock):
    spool = spool_of(storage, clock)
    for number in range(40):
        spool.add([entry(str(number % 10) * (1 << 20))])
    spool.turn(["a"])
    assert spool.waiting("a", ["app"]) == []
    queue = spool._held()
    assert 16 <= len(queue._lines["a"].waits) <= 18
    assert len(queue._steps) == 0
    assert [body[0] for body in deliver(spool)] == [str(number % 10) for number in range(40)]


def test_a_process_that_cannot_begin_to_deliver_leaves_the_turn_to_others(storage, clock, monkeypatch):
    spool = spool_of(storage, clock)
    spool.add([entry(1)])
    with monkeypatch.context() as patched:
        patched.setattr(BucketQueue, "_count", lambda self: (_ for _ in ()).throw(StorageUnavailable("no")))
        with pytest.raises(SpoolError):
            spool.turn(["a"])
    other = spool_of(storage, clock)
    assert other.turn(["a"]) is not None
    assert deliver(other) == ["1"]


def test_objects_of_somebody_else_are_one_line(storage, clock):
    storage.write(f"{PREFIX}state", b"{}")
    with pytest.raises(SpoolError, match="'state' is not of this spool"):
        spool_of(storage, clock).add([entry(1)])
