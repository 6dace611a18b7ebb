"""Pulls begin in turns, and a storage that takes long ends the turns."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from lab.signing_material import in_a_fork

from cfmiddleware.registry.reading import Reading

# Seconds after which a pull that has no turn is taken for one that gets none. Turns last longer.
SOON = 5


def all_had_turns(reading: Reading, pulls: int, each: Callable[[], None] = lambda: None) -> bool:
    """Return whether as many pulls had a turn, one after the other.

    They have a thread of their own, because one that gets no turn waits for ever.
    """

    def pull() -> None:
        for _ in range(pulls):
            with contextlib.suppress(RuntimeError), reading.turn():
                each()

    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    thread.join(SOON)
    return not thread.is_alive()


def had_turn_within(reading: Reading, seconds: float) -> bool:
    """Return whether a pull has its turn in this time. Otherwise it has one later."""
    began = threading.Event()

    def pull() -> None:
        with reading.turn():
            began.set()

    threading.Thread(target=pull, daemon=True).start()
    return began.wait(seconds)


def test_a_pull_beyond_the_number_waits_until_another_has_its_first_bytes():
    reading, began, first = Reading(at_once=1, turn=1000), threading.Event(), []

    def pull() -> None:
        with reading.turn():
            began.set()

    with reading.turn():
        second = threading.Thread(target=pull, daemon=True)
        second.start()
        first.append(began.wait(0.1))
    second.join(SOON)
    assert first == [False]
    assert began.is_set()


def test_as_many_as_there_are_turns_begin_at_once():
    reading = Reading(at_once=3, turn=1000)
    with reading.turn(), reading.turn(), reading.turn():
        pass


def test_a_turn_that_lasts_long_keeps_nobody_waiting():
    reading = Reading(at_once=1, turn=0.01)
    with reading.turn(), reading.turn():
        assert all_had_turns(reading, 1)


def test_fewer_begin_while_somebody_pushes_and_as_many_as_before_soon_after():
    now = [0.0]
    reading = Reading(at_once=3, turn=1000, clock=lambda: now[0], beside=2, crowd=0)
    reading.pushed()
    with reading.turn():
        assert all_had_turns(reading, 1)
        with reading.turn():
            assert not had_turn_within(reading, 0.1)
            now[0] = 1.5
            assert all_had_turns(reading, 1)


def test_a_few_pulls_beside_a_push_have_all_turns():
    reading = Reading(at_once=3, turn=1000, beside=1, crowd=1)
    reading.pushed()
    with reading.turn(), reading.turn():
        assert had_turn_within(reading, 5)


def test_a_push_in_one_process_leaves_room_in_the_others():
    reading = Reading(at_once=2, turn=1000, beside=1, crowd=0)

    def push() -> None:
        reading.pushed()

    in_a_fork(push)
    with reading.turn():
        assert not had_turn_within(reading, 0.1)


def test_a_push_that_begins_beside_many_pulls_waits_for_some_of_them_to_end():
    reading = Reading(at_once=3, turn=1000, beside=2, crowd=0)
    with contextlib.ExitStack() as pulls:
        for _ in range(3):
            pulls.enter_context(reading.turn())
        reading.pushed()
        assert not had_turn_within(reading, 0.1)
    assert all_had_turns(reading, 3)


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
        third = threading.Thread(target=pull, daemon=True)
        third.start()
        assert not began.wait(0.1)
    third.join(SOON)
    assert began.is_set()


def test_a_pull_that_fails_ends_its_turn():
    def fail() -> None:
        raise RuntimeError("the storage failed")

    assert all_had_turns(Reading(at_once=1, turn=1000), 3, fail)


def test_all_of_many_come_to_their_turn():
    reading, done = Reading(at_once=2, turn=1000), []

    def pull(number: int) -> None:
        with reading.turn():
            done.append(number)

    pulls = [threading.Thread(target=pull, args=(number,), daemon=True) for number in range(100)]
    for each in pulls:
        each.start()
    end = time.monotonic() + 2 * SOON
    for each in pulls:
        each.join(max(0, end - time.monotonic()))
    assert sorted(done) == list(range(100))


class Pieces:
    """An object that is read in two pieces."""

    size = 2

    def __init__(self) -> None:
        self.closed = 0
        self._left = iter((b"1", b"2"))

    def __iter__(self) -> Iterator[bytes]:
        return self._left

    def __next__(self) -> bytes:
        return next(self._left)

    def close(self) -> None:
        self.closed += 1


def test_pulls_under_way_are_a_part_of_the_crowd_until_they_are_closed():
    reading = Reading(at_once=3, turn=1000, beside=1, crowd=1)
    bodies = [reading.body(Pieces()) for _ in range(2)]
    reading.pushed()
    assert not reading.is_crowded()
    for body in bodies:
        next(body)
    with reading.turn():
        assert not had_turn_within(reading, 0.1)
        for _ in range(2):  # closed twice, counted once
            bodies[0].close()
        assert had_turn_within(reading, SOON)
    bodies[1].close()
    assert not reading.is_crowded()


def test_beside_a_push_a_crowd_reads_each_piece_in_a_turn():
    reading, pieces = Reading(at_once=2, turn=1000, beside=1, crowd=0), []
    body = reading.body(Pieces())
    reader = threading.Thread(target=lambda: pieces.extend(body), daemon=True)
    next(body)
    reading.pushed()
    with reading.turn():
        reader.start()
        reader.join(0.1)
        assert pieces == []
    reader.join(SOON)
    assert pieces == [b"2"]


def test_without_a_push_pieces_are_read_while_others_have_their_turns():
    reading = Reading(at_once=1, turn=1000, beside=1, crowd=0)
    with reading.turn():
        assert list(reading.body(Pieces())) == [b"1", b"2"]


def test_the_object_is_closed_with_the_pull():
    pieces = Pieces()
    body = Reading().body(pieces)
    assert body.size == 2
    body.close()
    assert pieces.closed == 1
