"""The part buffers of a process."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.storage.s3.partbudget import PartBudget


def test_an_upload_alone_has_all_buffers_there_are():
    share = PartBudget(3).share()
    assert [share.take() for _ in range(5)] == [True, True, True, False, False]


def test_each_upload_is_sure_of_one_even_if_there_are_more_uploads_than_buffers():
    budget = PartBudget(2)
    shares = [budget.share() for _ in range(5)]
    assert all(share.take() for share in shares)
    assert not any(share.take() for share in shares)
    assert budget.taken == 5


def test_a_buffer_that_is_given_back_is_there_for_another_upload():
    budget = PartBudget(3)
    first, second = budget.share(), budget.share()
    assert first.take()
    assert second.take()
    assert second.take()
    assert not first.take()
    second.give_back()
    assert first.take()


def test_a_new_upload_waits_only_for_what_others_borrowed():
    budget = PartBudget(2)
    greedy, late = budget.share(), budget.share()
    greedy.take()
    greedy.take()
    taken = threading.Event()

    def begin():
        late.take()
        taken.set()

    thread = threading.Thread(target=begin)
    thread.start()
    try:
        # The borrowed one has to come back; the one that the other is sure of stays.
        assert not taken.wait(0.05)
        greedy.give_back()
        assert taken.wait(10)
        assert budget.taken == 2
    finally:
        greedy.give_back()
        thread.join()


@given(
    buffers=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60),
)
def test_there_are_never_more_buffers_than_allowed_or_uploads(buffers, steps):
    budget = PartBudget(buffers)
    shares = [budget.share() for _ in range(6)]
    for number, take in steps:
        share = shares[number]
        borrowed = sum(max(0, other.held - 1) for other in shares)
        if take and not share.held and budget.taken >= buffers and borrowed:
            continue  # it would wait
        if take:
            share.take()
        elif share.held:
            share.give_back()
        assert budget.taken == sum(other.held for other in shares)
        assert budget.taken <= max(buffers, sum(other.held > 0 for other in shares))


@pytest.mark.parametrize("buffers", [1, 2, 3, 8])
def test_uploads_that_share_too_few_buffers_all_come_to_their_end(buffers):
    budget = PartBudget(buffers)
    most = [0]

    def upload():
        share = budget.share()
        for _ in range(200):
            held = 0
            while held < 3 and share.take():
                held += 1
            most[0] = max(most[0], budget.taken)
            for _ in range(held):
                share.give_back()

    threads = [threading.Thread(target=upload) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert budget.taken == 0
    assert most[0] <= max(buffers, 6)
