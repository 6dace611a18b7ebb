"""A throttle allows something once in each interval."""

from __future__ import annotations

from lab.clock import Clock

from cfmiddleware.process.throttle import Throttle


def test_it_allows_the_first_and_then_one_in_each_interval():
    clock = Clock()
    throttle = Throttle(60, clock)
    allowed = []
    for seconds in (0, 0, 59, 1, 0, 120, 59.9, 0.1):
        clock.now += seconds
        allowed.append(throttle.allows())
    assert allowed == [True, False, False, True, False, True, False, True]
