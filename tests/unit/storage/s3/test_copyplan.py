"""How S3 objects are put together from others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.storage.s3.copyplan import Source, plan
from cfmiddleware.storage.s3.options import LARGEST_PART, MOST_PARTS, SMALLEST_PART

MIB = 1 << 20

sizes = st.one_of(
    st.integers(0, 20 * MIB),
    st.sampled_from([0, 1, SMALLEST_PART - 1, SMALLEST_PART, SMALLEST_PART + 1, 32 * MIB, 5 << 30, 1 << 40]),
)


def sources(lengths):
    return [Source(f"/{number}", size) for number, size in enumerate(lengths)]


@given(
    lengths=st.lists(sizes, max_size=8),
    preferred=st.integers(SMALLEST_PART, LARGEST_PART),
    equal=st.booleans(),
)
def test_any_objects_can_be_joined_within_the_limits_of_s3(lengths, preferred, equal):
    parts = plan(sources(lengths), SMALLEST_PART, preferred, equal=equal)
    spans = [span for part in parts for span in part.spans]

    # Every byte once and in order.
    position = dict.fromkeys(sources(lengths), 0)
    for span in spans:
        assert span.start == position[span.source]
        assert span.length > 0
        position[span.source] += span.length
    assert all(position[source] == source.size for source in position)
    assert [span.source.path for span in spans] == sorted(span.source.path for span in spans)

    totals = [sum(span.length for span in part.spans) for part in parts]
    assert all(total >= SMALLEST_PART for total in totals[:-1])
    assert all(total <= LARGEST_PART for total in totals)
    assert len(parts) <= MOST_PARTS
    if equal or len([size for size in lengths if size]) == 1:
        assert len(set(totals[:-1])) < 2
        assert totals[-1:] <= totals[:1]

    for part in parts:
        if part.copied:
            (span,) = part.spans
            assert span.whole or span.source.size > SMALLEST_PART
        else:
            # What passes through us is small, but for parts that are larger so that there are not too many.
            needed = -(-sum(lengths) // MOST_PARTS) if equal else 0
            assert sum(span.length for span in part.spans) <= max(SMALLEST_PART, needed)


def test_large_objects_are_only_copied():
    parts = plan(sources([100 * MIB, 7 * MIB, 1]), SMALLEST_PART, 32 * MIB)

    assert [part.copied for part in parts] == [True] * 6
    assert [part.spans[0].length for part in parts] == [25 * MIB] * 4 + [7 * MIB, 1]


def test_a_small_object_between_large_ones_is_sent_with_the_start_of_the_next():
    before, small, after = sources([6 * MIB, 1 * MIB, 20 * MIB])
    parts = plan([before, small, after], SMALLEST_PART, 32 * MIB)

    assert [part.copied for part in parts] == [True, False, True]
    assert [tuple(span) for span in parts[1].spans] == [(small, 0, 1 * MIB), (after, 0, 4 * MIB)]


def test_nothing_makes_no_parts():
    assert plan([], SMALLEST_PART, 32 * MIB) == []
    assert plan(sources([0, 0]), SMALLEST_PART, 32 * MIB) == []
