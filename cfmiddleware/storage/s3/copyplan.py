"""How an object is put together from others within S3's limits on parts."""

from __future__ import annotations

from collections.abc import Iterable
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


def plan(sources: Iterable[Source], smallest: int, preferred: int) -> list[Part]:
    """Return the parts that hold the bytes of *sources*, in their order.

    Every part but the last has at least *smallest* bytes. What is too small for a part of its own is read and
    sent together with its neighbours; the rest is copied in parts of about *preferred* bytes, or of more
    where that would be too many parts.

    :param smallest: the smallest part that S3 takes, in bytes.
    :param preferred: how large copied parts should be, in bytes.
    """
    sources = list(sources)
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
