"""What of an object a client wants to read, on which condition (RFC 9110, 13 and 14), or what it sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from werkzeug.http import http_date, parse_date, parse_etags

# No number of a real range has more than 18 digits. A longer one means "to the end", or lies beyond it.
_WANTED = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_MAX_DIGITS = 18
_SENT = re.compile(r"(?:bytes[ =])?[ \t]*([0-9]{1,18})-([0-9]{1,18})(?:/(?:\*|[0-9]{1,18}))?")


class Span(NamedTuple):
    """Bytes of an object: from *offset*, *length* many."""

    offset: int
    length: int


class Unsatisfiable(Exception):
    """No byte of the range exists.

    :param size: the object's size in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


def parse_wanted(header: str, size: int) -> Span | None:
    """Read a ``Range`` header for an object of *size* bytes.

    Return None for a header that is ignored: one of another unit, one that breaks the grammar, and one of
    several ranges, which a server may always answer with the whole (RFC 9110, 14.2).

    :raises Unsatisfiable: if no byte of it exists, also because it ends before it begins. A server may ignore
        or reject such a range, and the OCI conformance tests take the whole for a missing feature.
    """
    match = _WANTED.fullmatch(header)
    if match is None or match[0].strip().endswith("=-"):
        return None
    first, last = match[1], match[2]
    if not first:
        length = min(_number(last), size)
        if length == 0:
            raise Unsatisfiable(size)
        return Span(size - length, length)
    begin, end = _number(first), _number(last) if last else size
    if begin >= size or end < begin:
        raise Unsatisfiable(size)
    return Span(begin, min(end + 1, size) - begin)


class Selection(NamedTuple):
    """What of an object answers a GET or HEAD.

    :param status: 200 for the whole, 206 for a range, 304 if the client has the object already.
    :param span: the bytes.
    :param headers: ``Content-Range`` and ``Content-Length``; neither with a 304.
    """

    status: int
    span: Span
    headers: list[tuple[str, str]]


def select(
    environ: Mapping[str, Any],
    size: int,
    etag: str,
    modified: float | None = None,
    *,
    ranges_of_head: bool = False,
) -> Selection:
    """Return what a GET or HEAD asks for, by its conditions and its range.

    :param environ: the request; it is only read.
    :param size: the object's size in bytes.
    :param etag: its strong entity tag, without quotes.
    :param modified: when it last changed, in Unix seconds; None if it never changes.
    :param ranges_of_head: whether a HEAD may ask for a range, as S3 has it. RFC 9110, 14.2, defines ranges
        for GET alone.
    :raises Unsatisfiable: when the object has no byte of the range.
    """
    if _is_known(environ, etag, modified):
        return Selection(304, Span(0, 0), [])
    span = None
    wanted = environ.get("HTTP_RANGE")
    if wanted and (ranges_of_head or environ["REQUEST_METHOD"] == "GET"):
        validators = ("", f'"{etag}"', *([] if modified is None else [http_date(modified)]))
        if environ.get("HTTP_IF_RANGE", "").strip() in validators:
            span = parse_wanted(wanted, size)
    if span is None:
        return Selection(200, Span(0, size), [("Content-Length", str(size))])
    last = span.offset + span.length - 1
    content_range = ("Content-Range", f"bytes {span.offset}-{last}/{size}")
    return Selection(206, span, [content_range, ("Content-Length", str(span.length))])


def has_etag(header: str | None, etag: str) -> bool:
    """Return whether an ``If-None-Match`` header names *etag*, which has no quotes (RFC 9110, 13.1.2)."""
    # An older werkzeug's parser never ends where the last character is a newline.
    return header is not None and parse_etags(header.strip()).contains_weak(etag)


def _is_known(environ: Mapping[str, Any], etag: str, modified: float | None) -> bool:
    """Return whether the client has the object, as it is now (RFC 9110, 13.2.2)."""
    named = environ.get("HTTP_IF_NONE_MATCH")
    if named:
        return has_etag(named, etag)
    since = environ.get("HTTP_IF_MODIFIED_SINCE")
    date = parse_date(since) if since and modified is not None else None
    return date is not None and modified is not None and int(modified) <= date.timestamp()


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def parse_sent(header: str) -> Span | None:
    """Read the ``Content-Range`` of an upload's chunk: ``0-99``, or RFC 9110's ``bytes 0-99/*``.

    Return None for one that cannot be read.
    """
    match = _SENT.fullmatch(header.strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    return Span(first, last + 1 - first) if last >= first else None
