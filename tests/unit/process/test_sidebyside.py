"""Many small waits at a time."""

from __future__ import annotations

import contextlib
import os
import threading

import pytest

from cfmiddleware.process.sidebyside import SideBySide, in_turn


def test_results_come_in_the_order_of_the_values():
    assert list(SideBySide(3).map(str, range(50))) == [str(number) for number in range(50)]
    assert list(SideBySide(3).map(str, ())) == []


def test_waits_are_side_by_side_and_never_more_than_allowed_in_a_process():
    together = threading.Barrier(4)
    names = set()

    def wait(number):
        names.add(threading.current_thread().name)
        together.wait(5)
        return number

    looks = SideBySide(4)
    callers = [threading.Thread(target=lambda: list(looks.map(wait, range(8)))) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert len(names) == 4


def test_a_caller_that_stops_begins_little_more():
    begun = []
    with contextlib.closing(SideBySide(2).map(begun.append, range(1000))) as found:
        next(found)
    assert len(begun) <= 1 + 4


def test_a_failure_reaches_the_caller():
    def fail(number):
        raise ZeroDivisionError(number)

    with pytest.raises(ZeroDivisionError):
        list(SideBySide(2).map(fail, range(10)))


def test_a_process_that_was_forked_has_threads_of_its_own():
    looks = SideBySide(2)
    assert list(looks.map(abs, [-1])) == [1]
    child = os.fork()
    if child == 0:
        os._exit(list(looks.map(abs, [-7])) != [7])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_thread_is_started_before_the_first_value():
    before = threading.active_count()
    list(SideBySide(2).map(abs, ()))
    assert threading.active_count() == before


def test_parts_run_at_the_same_time():
    together = threading.Barrier(3)
    SideBySide(2).all(*[lambda: together.wait(5)] * 3)
    SideBySide(2).all()


def test_parts_do_not_wait_for_threads_that_others_keep_busy():
    done, released = [], threading.Event()
    looks = SideBySide(1)
    begun = threading.Event()
    busy = threading.Thread(target=lambda: looks.all(released.wait, lambda: (begun.set(), released.wait())))
    busy.start()
    assert begun.wait(10)
    looks.all(lambda: done.append(1), lambda: done.append(2), lambda: done.append(3))
    released.set()
    busy.join(10)
    assert done == [1, 2, 3]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_part_that_fails_is_known_when_the_others_have_ended(failing):
    begun, ended = threading.Barrier(2), []

    def part(number):
        begun.wait(5)
        if number == failing:
            raise ZeroDivisionError(number)
        ended.append(number)

    with pytest.raises(ZeroDivisionError):
        SideBySide(2).all(lambda: part(0), lambda: part(1))
    assert ended == [1 - failing]


def test_of_two_failures_the_first_in_their_order_counts():
    begun = threading.Barrier(2)

    def fail(error):
        begun.wait(5)
        raise error

    with pytest.raises(KeyError):
        SideBySide(2).all(lambda: fail(KeyError()), lambda: fail(ValueError()))


def test_in_turn_ends_with_the_first_failure():
    done = []
    with pytest.raises(IndexError):
        in_turn(lambda: done.append(1), lambda: [].pop(), lambda: done.append(3))
    assert done == [1]
