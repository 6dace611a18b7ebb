"""Two faults at once: `check` names both, and nothing that is neither.

Some pairs are marked `long`. All of them are tried by `.ci/fault-pairs`, which takes twenty minutes.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from lab.cloudfront_faults import FAULTS
from lab.cloudfront_play import Play, Stage, crosses

NAMES = list(FAULTS)

#: Pairs of which one undoes the other.
UNDONE = {
    frozenset(("this machine's clock is an hour behind", "this machine's clock is an hour ahead")),
    frozenset(("nothing is cached", "cached for a minute")),
}

#: What takes the place of the other: both change the same setting, and the last one counts.
SAME = (
    (
        "the Origin Path is blank",
        "the Origin Path is one directory too deep",
        "the Origin Path is another registry's",
    ),
    ("the origin is the website endpoint", "the origin's host has no region", "the origin is another bucket"),
    ("viewer access is not restricted", "the key group lacks the key"),
    (
        "no bucket policy",
        "the bucket policy is for another distribution",
        "the bucket policy is for another directory",
        "the bucket policy is for every distribution",
    ),
    ("an older blob has another KMS key", "an error is in the cache"),
    ("no origin access control", "origin access control signs nothing"),
    (
        "the alias's DNS leads elsewhere",
        "the certificate is for another name",
        "the host is not a distribution",
    ),
)


#: With one of these and an origin that is another bucket, nothing leads to the distribution any more.
NAMELESS = {"the host is not a distribution", "the alias is not the distribution's"}


def pairs() -> list[object]:
    found: list[object] = []
    for (i, first), (j, second) in itertools.combinations(enumerate(NAMES), 2):
        if second == "the origin is another bucket" and first in NAMELESS:
            continue
        if frozenset((first, second)) in UNDONE or any({first, second} <= set(group) for group in SAME):
            continue
        marks = [pytest.mark.long if (i * 7 + j) % 39 == 0 else pytest.mark.pairs]
        found.append(pytest.param(first, second, marks=marks, id=f"{first}, {second}"))
    return found


@pytest.mark.parametrize(("first", "second"), pairs())
def test_both_are_named_and_nothing_else_is(stage: Stage, tmp_path: Path, first: str, second: str):
    play = Play(stage, tmp_path)
    for name in (first, second):
        FAULTS[name].make(play)

    found = crosses(play.check())

    one, other = FAULTS[first], FAULTS[second]
    for fault, beside in ((one, other), (other, one)):
        if fault.read or not beside.hides:
            assert found & fault.named_by, found
    allowed = one.client | one.read | other.client | other.read
    assert found <= allowed, (found, allowed)
