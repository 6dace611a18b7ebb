"""How long a redirect's URL lives: never longer than `duration`, nor shorter than `duration - window`.

With a clock that is set to any moment, to the ends of windows and around them, and back.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.apps import wrap
from lab.clock import Clock
from lab.examples import examples
from lab.redirects import end_of, every_blob, listen_to, parameters, policy_of, redirect

from cfmiddleware.digest import HEX_LENGTHS, Digest
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.storage.s3 import S3Options
from cfmiddleware.storage.s3.connection import ClientPerProcess
from cfmiddleware.storage.s3.presign import Presigner

NEAR, FAR = "10.1.2.3", "192.0.2.7"

digests = st.sampled_from(sorted(HEX_LENGTHS)).flatmap(
    lambda name: st.text("0123456789abcdef", min_size=HEX_LENGTHS[name], max_size=HEX_LENGTHS[name]).map(
        lambda text: Digest(name, text)
    )
)

#: Seconds that the clock is moved by: on, or back a little.
strides = st.floats(0, 5000) | st.integers(0, 5000).map(float) | st.floats(-5, 0)
#: Seconds around the end of a window that the clock is moved to.
edges = st.sampled_from([-1.0, -1e-6, -0.0, 1e-6, 0.5, 1.0]) | st.floats(-2, 2)
#: One pull after another: which blob, and how the clock is set before it.
pulls = st.lists(
    st.tuples(st.integers(0, 3), st.tuples(st.just("by"), strides) | st.tuples(st.just("end"), edges)),
    min_size=1,
    max_size=12,
)


#: Pairs of `duration` and `window`. Few, because a key takes its time to be read; the tests of the windows
#: themselves show that all others come out as they should.
LIFETIMES = [
    (2, 1),
    (3, 1),
    (61, 7),
    (61, 30),
    (1200, 1),
    (1200, 300),
    (1200, 600),
    (3599, 899),
    (10**6, 250_000),
]
#: A week is as long as S3 allows, with a quarter of an hour for clocks that differ.
LIFETIMES_IN_S3 = [*LIFETIMES[:-1], (7 * 86400 - 900, 100_000)]

moments = st.floats(1e6, 4e9) | st.integers(10**6, 4 * 10**9).map(float)


class SteppedClock(Clock):
    """A clock that follows the steps of `pulls`."""

    def __init__(self) -> None:
        super().__init__(1_800_000_000.0)

    def set(self, step: tuple[str, float], last_end: int, lead: int) -> None:
        """Go by some seconds, or to where the window of the URL that ends at *last_end* is over.

        :param lead: seconds between the end of a window and the end of its URLs.
        """
        how, seconds = step
        self.now = max(1.0, (self.now if how == "by" else last_end - lead) + seconds)


@functools.cache
def wrapped_for(duration: int, window: int, bound: bool) -> tuple[CloudFrontMiddleware, SteppedClock]:
    clock = SteppedClock()
    return wrap(every_blob, duration=duration, window=window, bindip=bound, clock=clock), clock


@pytest.mark.parametrize("bound", [False, True], ids=["canned", "custom"])
@settings(deadline=None, max_examples=examples(100))
@given(
    lifetime=st.sampled_from(LIFETIMES),
    now=moments,
    blobs=st.lists(digests, min_size=4, max_size=4),
    pulls=pulls,
)
def test_a_url_of_cloudfront_lives_for_the_duration_or_up_to_a_window_less(
    bound: bool,
    lifetime: tuple[int, int],
    now: float,
    blobs: list[Digest],
    pulls: list[tuple[int, tuple[str, float]]],
):
    duration, window = lifetime
    wrapped, clock = wrapped_for(duration, window, bound)
    clock.now = now
    ends = [end_of(redirect(wrapped, blob)) for blob in blobs]
    for blob, step in pulls:
        clock.set(step, ends[blob], duration - window)
        url = redirect(wrapped, blobs[blob])
        ends[blob] = end_of(url)
        # In fractions, because a float's own rounding would blur the bounds.
        left = ends[blob] - Fraction(clock.now)
        assert duration - window < left <= duration
        assert ("Policy" in parameters(url)) == bound
        if bound:
            assert policy_of(url)["Condition"]["IpAddress"] == {"AWS:SourceIp": f"{FAR}/32"}


def test_what_is_remembered_is_used_and_still_lives_long_enough():
    """A wrapper that remembered nothing would pass the test above."""
    clock = SteppedClock()
    wrapped = wrap(every_blob, duration=1200, window=300, clock=clock)
    signed = listen_to(wrapped.keys.current().key)
    blob = Digest("sha512", "f" * 128)
    end = end_of(redirect(wrapped, blob))
    for moment in (end - 1200, end - 1100.5, math.nextafter(end - 900, 0)):
        clock.now = moment
        assert end_of(redirect(wrapped, blob)) == end
    assert len(signed) == 1
    clock.now = end - 900
    assert end_of(redirect(wrapped, blob)) == end + 300


@functools.cache
def wrapped_near_s3(duration: int, window: int, v4auth: bool) -> tuple[CloudFrontMiddleware, SteppedClock]:
    """Return a wrapper that sends near clients to a bucket of Amazon's."""
    clock = SteppedClock()
    keys = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key"}
    built = S3Options(bucket="registry", region="us-west-2", v4auth=v4auth, **keys)
    presign = Presigner(built, ClientPerProcess(built).connection, clock)
    lifetime = {"duration": duration, "window": window}
    return wrap(every_blob, networks=[f"{NEAR}/32"], presign=presign, clock=clock, **lifetime), clock


@pytest.mark.parametrize("v4auth", [True, False], ids=["version4", "version2"])
@settings(deadline=None, max_examples=examples(100))
@given(
    lifetime=st.sampled_from(LIFETIMES_IN_S3),
    now=moments,
    blobs=st.lists(digests, min_size=4, max_size=4),
    pulls=pulls,
)
def test_a_url_of_s3_lives_as_long_as_one_of_cloudfront(
    v4auth: bool,
    lifetime: tuple[int, int],
    now: float,
    blobs: list[Digest],
    pulls: list[tuple[int, tuple[str, float]]],
):
    duration, window = lifetime
    wrapped, clock = wrapped_near_s3(duration, window, v4auth)
    clock.now = now
    ends = [end_of(redirect(wrapped, blob, NEAR)) for blob in blobs]
    for blob, step in pulls:
        clock.set(step, ends[blob], duration - window)
        url = redirect(wrapped, blobs[blob], NEAR)
        assert url.startswith("https://registry.s3.us-west-2.amazonaws.com/")
        ends[blob] = end_of(url)
        left = ends[blob] - Fraction(clock.now)
        assert duration - window < left <= duration
        assert end_of(redirect(wrapped, blobs[blob], FAR)) == ends[blob]
        if v4auth:
            assert int(parameters(url)["X-Amz-Expires"]) <= 7 * 86400


@settings(deadline=None, max_examples=examples(100))
@given(duration=st.sampled_from([7 * 86400 - 899, 7 * 86400, 10**7]), now=moments, pulls=pulls, blob=digests)
def test_a_url_of_s3_lives_no_longer_than_s3_allows(
    duration: int, now: float, pulls: list[tuple[int, tuple[str, float]]], blob: Digest
):
    wrapped, clock = wrapped_near_s3(duration, duration // 4, True)
    clock.now = now
    for _, (_, stride) in pulls:
        clock.now += stride
        url = redirect(wrapped, blob, NEAR)
        assert url.startswith("https://registry.s3.us-west-2.amazonaws.com/")
        assert int(parameters(url)["X-Amz-Expires"]) <= 7 * 86400
        assert 60 <= end_of(url) - Fraction(clock.now) <= duration
