"""When URLs expire."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.windows import ExpiryWindow

digests = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)
clocks = st.floats(min_value=1, max_value=4e9) | st.integers(1, 4_000_000_000).map(float)


@st.composite
def windows(draw):
    duration = draw(st.integers(2, 1_000_000))
    return ExpiryWindow(duration, draw(st.none() | st.integers(1, duration // 2)))


@given(windows(), digests, clocks)
def test_a_url_lives_neither_longer_nor_much_shorter_than_the_duration(window, digest, now):
    # In fractions, because a float's own rounding would blur the bounds.
    left = window.expires(digest, now) - Fraction(now)
    assert window.duration - window.window < left <= window.duration


@given(windows(), digests, clocks)
def test_expiry_times_lie_on_a_grid_that_the_digest_shifts(window, digest, now):
    assert (window.expires(digest, now) - int(digest[:8], 16)) % window.window == 0


@given(windows(), digests, st.integers(1, 4_000_000_000))
def test_the_expiry_time_stays_for_a_whole_window_and_then_moves_on_by_one(window, digest, now):
    first = window.expires(digest, now)
    start = first - window.duration
    assert window.expires(digest, start) == first
    assert window.expires(digest, start + window.window - 1 + 0.999) == first
    assert window.expires(digest, start + window.window) == first + window.window


def test_different_digests_roll_over_in_different_seconds():
    window = ExpiryWindow(1200, 300)
    rollovers = {window.expires(f"{number:08x}" + "0" * 56, 1_800_000_000) % 300 for number in range(300)}
    assert rollovers == set(range(300))


def test_sha512_digests_have_a_grid_too():
    assert ExpiryWindow(1200).expires("f" * 128, 0) in range(901, 1201)


@pytest.mark.parametrize(("duration", "window"), [(1200, 300), (2, 1), (3, 1), (7, 1), (8, 2)])
def test_the_window_is_a_quarter_of_the_duration_and_at_least_a_second(duration, window):
    assert ExpiryWindow(duration).window == window


@pytest.mark.parametrize("window", [0, -1, 601])
def test_a_window_out_of_its_bounds_is_an_error(window):
    with pytest.raises(ConfigError, match=f"^window: .* 600, not {window}$"):
        ExpiryWindow(1200, window)


def test_half_of_the_duration_is_the_longest_window():
    assert ExpiryWindow(1200, 600).window == 600


@pytest.mark.parametrize("duration", [1, 0, -5])
def test_a_duration_below_two_seconds_is_an_error(duration):
    with pytest.raises(ConfigError, match=f"^duration: .* not {duration}$"):
        ExpiryWindow(duration)
