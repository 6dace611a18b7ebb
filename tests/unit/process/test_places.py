from __future__ import annotations

import threading
import time

import pytest

from cfmiddleware.process.places import Places


def waiting(places: Places, order: list[int], number: int, seconds: float = 10) -> threading.Thread:
    """Return a thread that waits for a place, when it is in the line."""

    def wait() -> None:
        if places.enter(seconds):
            order.append(number)

    before = places.waiting
    thread = threading.Thread(target=wait)
    thread.start()
    while places.waiting == before:
        time.sleep(0.001)
    return thread


def test_those_who_wait_come_in_their_order_and_before_anybody_else():
    places, order = Places(1), []
    assert places.enter(0)
    threads = [waiting(places, order, number) for number in range(3)]
    for number, thread in enumerate(threads):
        places.leave()
        assert not places.enter(0)  # who comes now is not faster than the line
        thread.join(10)
        assert order == list(range(number + 1))
    places.leave()
    assert places.enter(0)


def test_who_has_waited_long_enough_is_sent_away_and_leaves_no_trace():
    places = Places(1)
    assert places.enter(0)
    assert not places.enter(0.01)
    assert places.waiting == 0
    places.leave()
    assert places.enter(0)
    assert not places.enter(0)


def test_the_line_can_be_bounded():
    places, order = Places(1, line=2), []
    assert places.enter(0)
    threads = [waiting(places, order, number) for number in range(2)]
    assert not places.enter(10)  # at once
    for thread in threads:
        places.leave()
        thread.join(10)
    assert order == [0, 1]


class Ended(BaseException):
    """A request is ended from outside, as gevent does it."""


@pytest.mark.parametrize("handed_over", [True, False])
def test_a_request_that_is_ended_while_it_waits_takes_no_place_with_it(monkeypatch, handed_over):
    places = Places(1)
    assert places.enter(0)

    class Turn:
        def __init__(self):
            self.taken = False

        def acquire(self, timeout=None):
            if timeout is None:
                return True
            if handed_over:
                places.leave()
            raise Ended

        def release(self):
            pass

    monkeypatch.setattr("cfmiddleware.process.places.threading.Lock", Turn)
    with pytest.raises(Ended):
        places.enter(10)
    monkeypatch.undo()
    assert places.waiting == 0
    if not handed_over:
        places.leave()
    assert places.enter(0)
