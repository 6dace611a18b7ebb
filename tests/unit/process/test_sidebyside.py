"""Many small waits at a time."""

from __future__ import annotations

import contextlib
import os
import threading

import pytest

from cfmiddleware.process.sidebyside import SideBySide


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
