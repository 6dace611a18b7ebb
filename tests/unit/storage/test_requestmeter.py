"""How a meter holds requests back, counted and with a clock of its own."""

from __future__ import annotations

import threading

import pytest
from lab.servers import eventually

from cfmiddleware.storage.requestmeter import KINDS, RequestMeter


def succeed(meter: RequestMeter, times: int) -> None:
    for _ in range(times):
        meter.end(meter.begin("get"), 200)


@pytest.mark.parametrize("status", [503, 429])
def test_an_answer_that_the_storage_is_busy_halves_what_may_be_under_way(status: int) -> None:
    meter = RequestMeter(16)
    limits = []
    for _ in range(6):
        meter.end(meter.begin("get"), status)
        limits.append(meter.limit)
    assert limits == [8, 4, 2, 1, 1, 1]
    assert meter.slowdowns == 6


def test_requests_that_were_under_way_together_halve_it_once() -> None:
    meter = RequestMeter(16)
    begun = [meter.begin("get") for _ in range(10)]
    for number in begun:
        meter.end(number, 503)
    assert meter.limit == 8
    meter.end(meter.begin("get"), 503)
    assert meter.limit == 4


def test_it_grows_by_one_whenever_as_many_have_succeeded_as_may_be_under_way_and_not_beyond() -> None:
    meter = RequestMeter(16)
    meter.busy()
    needed = []
    while meter.limit < 16:
        before, count = meter.limit, 0
        while meter.limit == before:
            succeed(meter, 1)
            count += 1
        needed.append(count)
    assert needed == pytest.approx(range(8, 16), abs=1)
    succeed(meter, 100)
    assert meter.limit == 16


@pytest.mark.parametrize("status", [0, 404, 412, 500])
def test_other_answers_hold_nothing_back(status: int) -> None:
    meter = RequestMeter(4)
    meter.end(meter.begin("get"), status)
    assert meter.limit == 4


def test_no_more_are_under_way_than_may_be() -> None:
    meter = RequestMeter(2)
    first, second = meter.begin("get"), meter.begin("get")
    third: list[int] = []
    waiting = threading.Thread(target=lambda: third.append(meter.begin("list")), daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert not third
    meter.end(first, 200)
    assert eventually(lambda: bool(third))
    assert meter.counts() == {**dict.fromkeys(KINDS, 0), "get": 2, "list": 1}
    meter.end(second, 200)


def test_requests_begin_at_equal_distances() -> None:
    now = [100.0]
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    meter = RequestMeter(16, 4, lambda: now[0], sleep)
    succeed(meter, 5)
    assert waited == pytest.approx([0.25] * 4)
    assert now[0] == pytest.approx(101)
    now[0] += 60  # what was not used is not saved up
    succeed(meter, 3)
    assert now[0] == pytest.approx(161.5)
