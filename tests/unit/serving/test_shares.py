"""How many connections each worker has, as they tell each other."""

from __future__ import annotations

import os

import pytest

from cfmiddleware.serving.shares import Shares


@pytest.fixture
def shares() -> Shares:
    return Shares()


def test_a_worker_that_is_alone_leaves_nothing_to_others(shares: Shares):
    shares.has(1, 1000)
    assert not shares.exceeds_another(1)


@pytest.mark.parametrize(("own", "other"), [(0, 0), (1, 0), (1, 2), (9, 7), (100, 80)])
def test_a_few_more_are_as_many(shares: Shares, own: int, other: int):
    shares.has(1, own)
    shares.has(2, other)
    assert not shares.exceeds_another(1)


@pytest.mark.parametrize(("own", "other"), [(3, 0), (10, 6), (100, 70), (1000, 700)])
def test_one_that_has_clearly_more_leaves_the_next_to_another(shares: Shares, own: int, other: int):
    shares.has(1, own)
    shares.has(2, other)
    assert shares.exceeds_another(1)
    assert not shares.exceeds_another(2)


def test_one_that_takes_none_does_not_count(shares: Shares):
    shares.has(1, 5)
    shares.has(2, 0)
    shares.takes_none(2)
    assert not shares.exceeds_another(1)


def test_processes_see_each_others(shares: Shares):
    shares.has(1, 5)
    pid = os.fork()
    if pid == 0:
        shares.has(2, 0)
        os._exit(0 if not shares.exceeds_another(2) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert shares.exceeds_another(1)


def test_there_may_be_any_number_of_workers(shares: Shares):
    for worker in range(1000):
        shares.has(worker, 3)
    assert not shares.exceeds_another(12345)
