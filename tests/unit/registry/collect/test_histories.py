"""Random histories: what was acknowledged is whole whatever happens meanwhile, and no garbage stays.

Hypothesis draws a number for each history, which :func:`lab.histories.random_history` makes actors of.
"""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.examples import tried
from lab.histories import play, random_history

pytestmark = pytest.mark.interleaved

# Read before the tests' own environment is cleaned.
HISTORIES = int(os.environ.get("CFMIDDLEWARE_HISTORIES", "10000"))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Leave out what the registry logs of the thousands of requests that it refuses."""
    caplog.set_level(logging.CRITICAL)


def check(seed: int) -> None:
    """Play a history, and see that everything that was promised is whole, and that nothing else is left."""
    with pytest.MonkeyPatch.context() as patch:
        play(random_history(seed), patch).check()


@settings(max_examples=tried(300))
@given(st.integers(0, 1 << 40))
def test_what_was_acknowledged_is_whole_in_a_random_history(seed: int) -> None:
    check(seed)


@pytest.mark.orders
def test_what_was_acknowledged_is_whole_in_ten_thousand_histories() -> None:
    for seed in range(HISTORIES):
        try:
            check(seed)
        except AssertionError as error:
            raise AssertionError(f"history {seed}: {error}") from None
