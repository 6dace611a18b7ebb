"""Pulls begin in turns, and a storage that takes long ends the turns."""

from __future__ import annotations

import contextlib
import threading

import pytest

from cfmiddleware.registry.reading import Reading


def test_a_pull_beyond_the_number_waits_until_another_has_its_first_bytes():
    reading, began, first = Reading(at_once=1, turn=1000), threading.Event(), []

    def pull() -> None:
        with reading.turn():
            began.set()

    with reading.turn():
        second = threading.Thread(target=pull)
        second.start()
        first.append(began.wait(0.1))
    second.join(10)
    assert first == [False]
    assert began.is_set()


def test_as_many_as_there_are_turns_begin_at_once():
    reading = Reading(at_once=3, turn=1000)
    with reading.turn(), reading.turn(), reading.turn():
        pass


def test_a_turn_that_lasts_long_keeps_nobody_waiting():
    reading = Reading(at_once=1, turn=0.01)
    with reading.turn(), reading.turn(), reading.turn():
        pass


def test_a_turn_that_others_did_not_wait_for_gives_back_no_other_turn():
    now = [0.0]
    reading = Reading(at_once=1, turn=1000, clock=lambda: now[0])
    began = threading.Event()

    def pull() -> None:
        with reading.turn():
            began.set()

    with contextlib.ExitStack() as second:
        with reading.turn():
            now[0] += 1000
            second.enter_context(reading.turn())
        # The first one is over; the second one's turn is not.
        third = threading.Thread(target=pull)
        third.start()
        assert not began.wait(0.1)
    third.join(10)
    assert began.is_set()


def test_a_pull_that_fails_ends_its_turn():
    reading = Reading(at_once=1, turn=1000)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="failed"), reading.turn():
            raise RuntimeError("the storage failed")


def test_all_of_many_come_to_their_turn():
    reading, done = Reading(at_once=2, turn=1000), []

    def pull(number: int) -> None:
        with reading.turn():
            done.append(number)

    pulls = [threading.Thread(target=pull, args=(number,)) for number in range(100)]
    for each in pulls:
        each.start()
    for each in pulls:
        each.join(30)
    assert sorted(done) == list(range(100))
