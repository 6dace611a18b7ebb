"""What requests make of announcements: those that end, those that do not, and those of the dead."""

from __future__ import annotations

import os

import pytest
from lab.collecting import VirtualClock

from cfmiddleware.digest import Digest
from cfmiddleware.errors import BeingCollected
from cfmiddleware.process import owner
from cfmiddleware.registry.collect.condemned import Condemned, of_data, of_repository
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver

DIGEST = Digest.of(b"a blob")
LINE = of_repository("app", DIGEST)


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


def condemned(driver: MemoryDriver) -> Condemned:
    clock = VirtualClock()
    return Condemned(driver, clock, clock.sleep)


def test_where_nothing_is_announced_what_was_seen_just_now_stands(driver: MemoryDriver) -> None:
    ours = condemned(driver)
    ours.sleep(100)

    assert ours.settled([LINE], ours.clock())
    assert not ours.settled([LINE], 0.0)  # nobody looked then


def test_what_was_seen_long_ago_stands_as_long_as_no_collection_has_ended(driver: MemoryDriver) -> None:
    theirs, ours = condemned(driver), condemned(driver)
    ours.look_ahead()
    since = ours.clock()

    ours.sleep(100)
    assert ours.settled([LINE], since)
    theirs.withdraw(theirs.announce([LINE]))
    ours.sleep(100)
    assert not ours.settled([LINE], since)
    assert ours.settled([LINE], ours.clock())


def test_a_process_that_looks_all_the_time_meets_what_is_announced_and_withdrawn(
    driver: MemoryDriver,
) -> None:
    theirs, ours = condemned(driver), condemned(driver)
    ours.look_ahead()
    since = ours.clock()

    ours.sleep(1)
    announced = theirs.announce([LINE])
    ours.look_ahead()
    theirs.withdraw(announced)
    ours.sleep(5)
    assert not ours.settled([LINE], since)
    assert ours.settled([of_repository("app", Digest.of(b"another"))], since)
    assert ours.settled([LINE], ours.clock())


def test_what_is_mended_is_finished_when_no_collection_came_between(driver: MemoryDriver) -> None:
    ours = condemned(driver)
    made: list[int] = []

    def make() -> int:
        if len(made) < 2:  # two collections, one after the other
            ours.withdraw(ours.announce([LINE]))
        made.append(1)
        return len(made)

    assert ours.mend([LINE], make) == 3


def test_collections_that_come_between_again_and_again_are_an_error(driver: MemoryDriver) -> None:
    ours = condemned(driver)

    def make() -> None:
        ours.withdraw(ours.announce([LINE]))

    with pytest.raises(BeingCollected):
        ours.mend([LINE], make)


def test_a_collector_that_was_stopped_deletes_nothing_any_more(driver: MemoryDriver) -> None:
    theirs = condemned(driver)
    announced = theirs.announce([LINE])
    assert theirs.stands(announced)

    theirs.sleep(700)
    assert not theirs.stands(announced)

    announced = theirs.announce([LINE])
    driver.delete(announced.paths)  # by those that took it for dead
    assert not theirs.stands(announced)


def test_an_announcement_of_something_else_keeps_nobody(driver: MemoryDriver) -> None:
    condemned(driver).announce([of_data(DIGEST), of_repository("other", DIGEST)])
    ours = condemned(driver)

    assert ours.settled([LINE], ours.clock())


def test_a_request_waits_until_the_announcement_is_withdrawn_and_looks_again(driver: MemoryDriver) -> None:
    theirs, ours = condemned(driver), condemned(driver)
    announced = theirs.announce([LINE])
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            theirs.withdraw(announced)

    ours.sleep = sleep
    assert not ours.settled([LINE], ours.clock())
    assert len(slept) == 3


def test_an_announcement_that_does_not_end_is_an_error_after_half_a_minute(driver: MemoryDriver) -> None:
    condemned(driver).announce([LINE])
    ours = condemned(driver)

    with pytest.raises(BeingCollected):
        ours.settled([LINE], ours.clock())
    assert 30 <= ours.clock() < 40


def test_the_announcement_of_a_process_that_was_killed_ends_with_the_first_who_meets_it(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        condemned(driver).announce([LINE])
    ours = condemned(driver)

    assert not ours.settled([LINE], ours.clock())

    assert 30 <= ours.clock() < 40
    assert [name.partition("-")[0] for name in driver.list(paths.CONDEMNED)] == ["withdrawn"]


def test_only_where_its_number_means_the_same_a_process_is_known_to_have_ended() -> None:
    alive = owner.this_process()
    dead = alive.replace(f"process {os.getpid()} ", "process 4999999 ")

    assert not owner.has_ended(alive)
    assert owner.has_ended(dead) == ("unknown place" not in dead)
    assert not owner.has_ended(dead.replace(" (", " (other"))
    assert not owner.has_ended("")
