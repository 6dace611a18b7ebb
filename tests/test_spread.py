"""What every run tries of many combinations."""

from __future__ import annotations

import itertools

import pytest
from lab.spread import chosen, spread

AXES = ("abcdef", (1, 2), (True, False))


@pytest.mark.parametrize("together", [1, 2, 3])
def test_any_so_many_values_meet_in_one_that_is_tried(together: int):
    tried = chosen(*AXES, together=together)

    for axes in itertools.combinations(range(3), together):
        for values in itertools.product(*(AXES[axis] for axis in axes)):
            assert any(tuple(one[axis] for axis in axes) == values for one in tried), values


def test_as_few_are_tried_as_that_takes():
    assert len(chosen(*AXES)) == 6
    assert len(chosen(*AXES, together=2)) == 12


def test_values_are_tried_about_as_often_as_each_other():
    numbers = [one[1] for one in chosen(*AXES)]

    assert numbers.count(1) == numbers.count(2)


def test_the_others_are_marked_and_none_is_dropped():
    params = spread(*AXES)

    assert [param.values for param in params] == list(itertools.product(*AXES))
    by_default = [param.values for param in params if not param.marks]
    assert sorted(by_default) == sorted(chosen(*AXES))
    assert {mark.name for param in params for mark in param.marks} == {"long"}
