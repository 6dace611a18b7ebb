"""Fingerprints are a set, however many there are."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.registry.collect import fingerprints
from cfmiddleware.registry.collect.fingerprints import Fingerprints

NUMBERS = st.lists(
    st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 50), st.sampled_from([2**63, 2**64 - 1])), max_size=30
)
SETS = st.lists(NUMBERS, max_size=6)


def added(numbers: list[list[int]]) -> Fingerprints:
    found = Fingerprints()
    for part in numbers:
        found.update(part)
    return found


def merged(numbers: list[list[int]]) -> Fingerprints:
    found = Fingerprints()
    for part in numbers:
        found.merge(Fingerprints(part))
    return found


@given(SETS, SETS, NUMBERS, st.sampled_from([added, merged]), st.integers(1, 40))
def test_they_are_what_a_set_would_be(
    ones: list[list[int]],
    others: list[list[int]],
    asked: list[int],
    make: Callable[[list[list[int]]], Fingerprints],
    few: int,
) -> None:
    with patch.object(fingerprints, "_FEW", few):
        one, other = make(ones), make(others)
        wanted, theirs = ({number for part in numbers for number in part} for numbers in (ones, others))
        for number in {*asked, *wanted, *theirs}:
            assert (number in one) == (number in wanted)
        assert (len(one), bool(one)) == (len(wanted), bool(wanted))
        assert sorted(one) == sorted(wanted)
        assert sorted(one.common(other)) == sorted(wanted & theirs)
        one.merge(other)
        one.merge(other)
        one.add(7)
        assert sorted(one) == sorted(wanted | theirs | {7})
        assert sorted(other) == sorted(theirs)


def test_what_comes_again_and_again_takes_no_room() -> None:
    found = Fingerprints()
    for _ in range(20):
        found.merge(Fingerprints(number << 40 for number in range(1 << 15)))
    assert len(found) == 1 << 15
    held = sum(len(part) for part in found._parts.values()) + len(found._few)
    assert held < 3 << 15
