"""Answers of S3 that nobody reads are closed when there are many, and those that are read are not."""

from __future__ import annotations

import pytest

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.storage.s3.openbodies import OpenBodies


class Reader:
    """A reader that counts how often its answer was closed."""

    def __init__(self) -> None:
        self.pauses = 0

    def pause(self) -> None:
        self.pauses += 1


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def bodies(time: Time, limit: int = 2) -> OpenBodies:
    return OpenBodies(limit, 0.5, 5.0, lambda: time.now, time.sleep)


def opened(open_bodies: OpenBodies) -> Reader:
    reader = Reader()
    open_bodies.make_room()
    open_bodies.opened(reader)
    return reader


def test_as_many_as_there_is_room_for_stay_open():
    time = Time()
    open_bodies = bodies(time)
    readers = [opened(open_bodies) for _ in range(2)]
    time.now = 100

    assert all(open_bodies.begin(reader) for reader in readers)


def test_one_more_closes_those_that_nobody_reads():
    time = Time()
    open_bodies = bodies(time)
    first, second = opened(open_bodies), opened(open_bodies)
    time.now = 1
    open_bodies.begin(second)
    open_bodies.end(second)

    opened(open_bodies)

    assert (first.pauses, second.pauses) == (1, 0)
    assert not open_bodies.begin(first)
    assert open_bodies.begin(second)


def test_one_that_is_being_read_is_not_closed_however_long_that_takes():
    time = Time()
    open_bodies = bodies(time, 1)
    busy = opened(open_bodies)
    open_bodies.begin(busy)

    with pytest.raises(StorageUnavailable, match="are being read already"):
        opened(open_bodies)

    assert busy.pauses == 0
    assert 5 <= time.now < 6  # it was waited for
    open_bodies.end(busy)
    time.now += 1
    opened(open_bodies)
    assert busy.pauses == 1


def test_what_is_gone_or_could_not_be_opened_takes_no_room():
    time = Time()
    open_bodies = bodies(time, 1)
    for _ in range(3):
        open_bodies.make_room()
        open_bodies.failed()
        open_bodies.gone(opened(open_bodies))

    assert time.now == 0
