"""Where a long listing may be cut, so that its parts are listed at the same time.

S3 gives a page at a time, and the next one only to those who have the page before. But a listing may begin
after any key, there or not. Keys with digests in them are spread evenly, so that a few pages tell how many
keys come after them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# A digest as a segment, perhaps in a folder that is called by its first two digits.
_DIGEST = re.compile(
    r"(?P<base>.*?/)(?:(?P<folder>[0-9a-f]{2})/(?=(?P=folder)))?(?P<hex>[0-9a-f]{32,128})/.*"
)

# How many of its digits count, and how many parts there are at the most.
_DIGITS = 8
_MOST = 1024

# So much of a page is a part that shall fit into one: what is on a page tells how many keys there are to 3 %.
_FILLED = 0.9


class KeyRange(NamedTuple):
    """Keys that come after one key and not after another one; an empty text stands for no bound."""

    after: str
    until: str


def ranges(
    first: str, last: str, until: str = "", *, pages: int = 1, at_once: int = 1, longest: int = 1
) -> Iterator[KeyRange]:
    """Yield parts of what comes after *last*, or nothing where nobody can tell how much that is. Together
    they are all of it, whatever the keys are.

    :param first: the first key that was listed.
    :param last: the last one.
    :param until: where the listing ends.
    :param pages: how many pages that was.
    :param at_once: how many parts are listed at a time: a short rest is cut into as many, of a page at least.
    :param longest: how many pages a part has at the most.
    """
    begins, ends = _DIGEST.fullmatch(first), _DIGEST.fullmatch(last)
    if begins is None or ends is None or begins["base"] != ends["base"]:
        return
    if (begins["folder"] is None) != (ends["folder"] is None):
        return
    start = int(ends["hex"][:_DIGITS], 16)
    top = 16**_DIGITS
    page = (start - int(begins["hex"][:_DIGITS], 16)) * _FILLED / pages
    if page < 1:
        return
    width = max(int(page * min(max((top - start) / page / at_once, 1), longest)), (top - start) // _MOST, 1)
    after = last
    for number in range(start + width, top, width):
        digits = f"{number:0{_DIGITS}x}"
        folder = "" if ends["folder"] is None else f"{digits[:2]}/"
        bound = f"{ends['base']}{folder}{digits}"
        if until and bound >= until:
            break
        yield KeyRange(after, bound)
        after = bound
    yield KeyRange(after, until)
