"""A client that holds what others want has to send at a least rate."""

from __future__ import annotations

import pytest

from cfmiddleware.serving.pace import Pace

RATE = 1000


def pace(*, wanted: bool = True) -> Pace:
    return Pace(RATE, lambda: wanted)


def test_a_client_has_a_moment_before_it_is_judged():
    assert not pace().is_too_slow(1.9)
    assert pace().is_too_slow(2)


def test_nobody_is_too_slow_while_nobody_waits():
    assert not pace(wanted=False).is_too_slow(1000)


@pytest.mark.parametrize(("sent", "slow"), [(1999, True), (2000, False)])
def test_the_least_rate_is_that_of_the_time_spent_waiting(sent: int, slow: bool):
    client = pace()
    client.received(sent, 1)
    assert client.is_too_slow(1) == slow


def test_a_fast_beginning_buys_no_more_than_a_window():
    client = pace()
    client.received(1_000_000, 2)
    assert not client.is_too_slow(1)
    assert client.is_too_slow(2)


def test_bytes_that_were_here_already_cost_no_patience():
    client = pace()
    for _ in range(100):
        client.received(10, 0)
    assert not client.is_too_slow(1.9)
