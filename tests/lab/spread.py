"""Which of all combinations of parameters every run tries, and which are left to `pytest -m long`.

No combination is dropped. A run without `-m` tries each value of a parameter, or each two values together, at
least once; the others try code that a test of that run has tried already.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest


def chosen(*axes: Iterable[Any], together: int = 1) -> list[tuple[Any, ...]]:
    """Return some combinations, in which every value of each axis is found.

    :param axes: the values of each parameter, which must be hashable.
    :param together: of how many axes any values meet in one of the combinations.
    """
    every = list(itertools.product(*axes))
    missing = {meeting for one in every for meeting in _meetings(one, together)}
    uses: Counter[tuple[int, Any]] = Counter()
    found = []
    while missing:
        # Of those that show most, one whose values were used least: each is used about as often as others.
        best = max(
            every,
            key=lambda one: (
                len(missing & _meetings(one, together)),
                -sum(uses[value] for value in enumerate(one)),
            ),
        )
        missing -= _meetings(best, together)
        uses.update(enumerate(best))
        found.append(best)
    return found


def spread(*axes: Iterable[Any], together: int = 1) -> list[Any]:
    """Return all combinations for `parametrize`; those that are not `chosen` are marked `long`."""
    axes = tuple(map(tuple, axes))
    tried = set(chosen(*axes, together=together))
    return [
        pytest.param(*one, marks=[] if one in tried else [pytest.mark.long])
        for one in itertools.product(*axes)
    ]


def _meetings(one: tuple[Any, ...], together: int) -> set[tuple[tuple[int, Any], ...]]:
    return set(itertools.combinations(enumerate(one), together))
