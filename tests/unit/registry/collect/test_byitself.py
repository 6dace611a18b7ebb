"""When a collection begins by itself, and what is known of the last one."""

from __future__ import annotations

import pytest

from cfmiddleware.registry.collect.byitself import Schedule
from cfmiddleware.registry.collect.journal import Record, read_record
from cfmiddleware.registry.collect.window import Window
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver

HOUR = 3600.0
DAY = 24 * HOUR
MIDNIGHT = 20_000 * DAY


def ended(outcome: str, began: float, seconds: float = 600.0) -> Record:
    """Return the record of a collection after one that was never done."""
    return Record(success=0.0).after(outcome, began + seconds, seconds, None, {})


def test_the_first_begins_at_once() -> None:
    assert Schedule(DAY).is_due(Record(success=MIDNIGHT), MIDNIGHT)


def test_the_next_begins_when_the_interval_is_over_since_the_begin_of_one_that_was_done() -> None:
    last = ended("done", MIDNIGHT)
    assert not Schedule(DAY).is_due(last, MIDNIGHT + DAY - 1)
    assert Schedule(DAY).is_due(last, MIDNIGHT + DAY)


@pytest.mark.parametrize("outcome", ["unfinished", "stopped", "failed"])
def test_one_that_was_not_done_is_followed_by_another_before_long(outcome: str) -> None:
    last = ended(outcome, MIDNIGHT)
    assert not Schedule(DAY).is_due(last, MIDNIGHT + 600 + HOUR - 1)
    assert Schedule(DAY).is_due(last, MIDNIGHT + 600 + HOUR)


def test_within_a_window_it_begins_each_day_however_long_it_takes() -> None:
    schedule = Schedule(DAY, Window.parse("02:00-05:00"))
    now, began = MIDNIGHT, []
    record = Record(success=now)
    for _ in range(10 * 24 * 60):
        if schedule.is_due(record, now):
            began.append(now)
            record = record.after("done", now + 1800, 1800, None, {})
        now += 60
    assert [(time - MIDNIGHT) / HOUR for time in began] == [2 + 24 * day for day in range(10)]


def test_outside_the_window_none_begins() -> None:
    schedule = Schedule(DAY, Window.parse("22:00-04:00"))
    due = [hour for hour in range(24) if schedule.is_due(Record(success=0), MIDNIGHT + hour * HOUR)]
    assert due == [0, 1, 2, 3, 22, 23]
    assert schedule.seconds_left(MIDNIGHT + 3 * HOUR) == HOUR
    assert Schedule(DAY).seconds_left(MIDNIGHT) == float("inf")


def test_success_is_the_end_of_the_last_one_that_was_done() -> None:
    record = Record(success=1.0).after("done", 100.0, 10.0, None, {})
    assert (record.success, record.began) == (100.0, 90.0)
    record = record.after("failed", 200.0, 10.0, None, {"list": 3})
    assert (record.success, record.began, record.ended) == (100.0, 90.0, 200.0)
    assert Record.parse(record.written()) == record


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"success": "x"}', b"\xff", b"[" * 9999])
def test_a_record_that_is_damaged_is_begun_anew(content: bytes) -> None:
    driver = MemoryDriver()
    driver.write(paths.LAST_COLLECTION, content)
    assert read_record(driver, 5.0) == Record(success=5.0)
    assert read_record(driver, 9.0) == Record(success=5.0)
