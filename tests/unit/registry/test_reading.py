"""Pulls begin in turns, and a storage that hangs ends the turns."""

from __future__ import annotations

import threading

from cfmiddleware.registry.reading import Reading


def test_a_pull_beyond_the_number_waits_until_another_has_its_first_bytes():
    reading, began, first = Reading(at_once=1), threading.Event(), []

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


def test_a_pull_that_waited_long_enough_begins_and_takes_nobodys_turn():
    reading = Reading(at_once=1, patience=0.01)
    with reading.turn():
        with reading.turn():
            pass
        with reading.turn():
            pass
    with reading.turn():
        pass


def test_a_pull_that_fails_gives_its_turn_back():
    reading = Reading(at_once=1, patience=1000)
    for _ in range(3):
        try:
            with reading.turn():
                raise OSError
        except OSError:
            pass
