"""Ranges: of what a client wants to read (RFC 9110, 14), and of what it says that it sends."""

from __future__ import annotations

import re
from typing import NamedTuple

# No number of a real range has more than 18 digits; longer ones mean "to the end", or lie beyond it.
_WANTED = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_MAX_DIGITS = 18
_SENT = re.compile(r"(?:bytes[ =])?[ \t]*([0-9]{1,18})-([0-9]{1,18})(?:/(?:\*|[0-9]{1,18}))?")


class Span(NamedTuple):
    """Bytes of an object: from *offset*, *length* many."""

    offset: int
    length: int


class Unsatisfiable(Exception):
    """No byte of the range exists."""


def parse_wanted(header: str, size: int) -> Span | None:
    """Read a ``Range`` header for an object of *size* bytes.

    Returns None for a header that is to be ignored: one of another unit, one that breaks the grammar, and one
    of several ranges, which a server may always answer with the whole (RFC 9110, 14.2).

    :raises Unsatisfiable: when no byte of it exists, also because it ends before it begins: a server may
        ignore such a range or reject it, and the OCI conformance tests take the whole for a missing feature.
    """
    match = _WANTED.fullmatch(header)
    if match is None or match[0].strip().endswith("=-"):
        return None
    first, last = match[1], match[2]
    if not first:
        length = min(_number(last), size)
        if length == 0:
            raise Unsatisfiable
        return Span(size - length, length)
    begin, end = _number(first), _number(last) if last else size
    if begin >= size or end < begin:
        raise Unsatisfiable
    return Span(begin, min(end + 1, size) - begin)


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def parse_sent(header: str) -> Span | None:
    """Read the ``Content-Range`` of an upload's chunk: ``0-99``, or RFC 9110's ``bytes 0-99/*``.

    Returns None for one that cannot be read.
    """
    match = _SENT.fullmatch(header.strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    return Span(first, last + 1 - first) if last >= first else None
