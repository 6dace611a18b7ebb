"""How an object is put together from others within S3's limits on parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .options import LARGEST_PART, MOST_PARTS


class Source(NamedTuple):
    """An object to take bytes from, and its size in bytes."""

    path: str
    size: int


class Span(NamedTuple):
    """The bytes of *source* from *start*, *length* of them."""

    source: Source
    start: int
    length: int

    @property
    def whole(self) -> bool:
        """Return whether these are all bytes of the source."""
        return self.length == self.source.size


class Part(NamedTuple):
    """One part of the new object: spans that are read and sent, or a single one that S3 copies by itself."""

    spans: tuple[Span, ...]
    copied: bool


def plan(sources: Iterable[Source], smallest: int, preferred: int, *, equal: bool = False) -> list[Part]:
    """Return the parts that hold the bytes of *sources*, in their order.

    Every part but the last has at least *smallest* bytes. What is too small for a part of its own is read and
    sent together with its neighbours; the rest is copied in parts of about *preferred* bytes, or of more
    where that would be too many parts. The parts of a single source are all of one length but the last.

    :param smallest: the smallest part that S3 takes, in bytes.
    :param preferred: how large copied parts should be, in bytes.
    :param equal: whether all parts but the last have one length, as some servers want it. Where the sources'
        lengths do not allow for it, parts are short, and each that lies in two sources is read and sent.
    """
    sources = [source for source in sources if source.size]
    if sources and (equal or len(sources) == 1):
        return _cut(sources, _length_for(sources, smallest, preferred), smallest)
    # Each source may end in one part more than its share.
    room = max(1, MOST_PARTS - 2 * len(sources))
    preferred = min(
        LARGEST_PART, max(preferred, smallest, -(-sum(source.size for source in sources) // room))
    )
    parts: list[Part] = []
    joined: list[Span] = []
    for source in sources:
        start = 0
        if joined:
            start = min(source.size, smallest - _length(joined))
            joined.append(Span(source, 0, start))
            if _length(joined) < smallest:
                continue
            parts.append(_part(joined, smallest))
            joined = []
        rest = source.size - start
        if rest >= smallest:
            parts += [Part((span,), copied=True) for span in _split(source, start, smallest, preferred)]
        elif rest:
            joined = [Span(source, start, rest)]
    if joined:
        parts.append(_part(joined, smallest))
    return parts


def _length_for(sources: Sequence[Source], smallest: int, preferred: int) -> int:
    """Return the length of parts that are all of one length but the last."""
    least = max(smallest, -(-sum(source.size for source in sources) // MOST_PARTS))
    if len(sources) == 1:
        return min(LARGEST_PART, max(preferred, least))
    # What is in all sources but the last a whole number of times: parts of that length are copied.
    common = math.gcd(*(source.size for source in sources[:-1]))
    for number in (-(-common // max(preferred, least)), 1):
        if common % number == 0 and least <= common // number <= LARGEST_PART:
            return common // number
    return least


def _cut(sources: Sequence[Source], length: int, smallest: int) -> list[Part]:
    """Return parts of *length*, and a last one of what remains."""
    parts: list[Part] = []
    spans: list[Span] = []
    for source in sources:
        start = 0
        while start < source.size:
            taken = min(source.size - start, length - _length(spans))
            spans.append(Span(source, start, taken))
            start += taken
            if _length(spans) == length:
                parts.append(_part(spans, smallest))
                spans = []
    if spans:
        parts.append(_part(spans, smallest))
    return parts


def _length(spans: Iterable[Span]) -> int:
    return sum(span.length for span in spans)


def _part(spans: list[Span], smallest: int) -> Part:
    spans = [span for span in spans if span.length]
    # S3 copies ranges only of objects that are larger than its smallest part; whole objects always.
    copied = len(spans) == 1 and (spans[0].whole or spans[0].source.size > smallest)
    return Part(tuple(spans), copied)


def _split(source: Source, start: int, smallest: int, preferred: int) -> list[Span]:
    """Return the rest of *source* in spans of nearly the same length, none too small for a part."""
    rest = source.size - start
    number = min(-(-rest // preferred), rest // smallest)
    spans = []
    for left in range(number, 0, -1):
        length = -(-(source.size - start) // left)
        spans.append(Span(source, start, length))
        start += length
    return spans
