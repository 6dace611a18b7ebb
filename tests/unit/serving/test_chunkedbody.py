"""Chunked bodies are read as gunicorn reads them, and small chunks are not copied for each other."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("gunicorn", minversion="27.0")

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.unreader import IterUnreader

from cfmiddleware.serving.chunkedbody import ChunkedBody


def read(reader: type[ChunkedReader], pieces: list[bytes], size: int) -> tuple[bytes, str, bytes, list[Any]]:
    """Return the body, how it ended, what is left behind it, and the trailers."""
    request = SimpleNamespace(
        trailers=[], limit_request_field_size=40, max_buffer_headers=60, parse_headers=parse_headers
    )
    unreader = IterUnreader([piece for piece in pieces if piece])
    body, chunks = b"", reader(request, unreader)
    try:
        while data := chunks.read(size):
            body += data
    except (ParseException, NoMoreData) as error:
        # What was read before the error may be in memory still.
        return b"", type(error).__name__, b"", []
    left = unreader.take_buffered() + b"".join(unreader.iter or ())
    return body, "", left, request.trailers


def parse_headers(data: bytes, from_trailer: bool) -> list[bytes]:
    return data.split(b"\r\n")


SIZES = st.sampled_from([b"1", b"3", b"01", b"000000000000000000003", b"A", b"a", b"0", b"00"])
ODD = st.sampled_from(
    [
        b"1;a=b",
        b"3 ;x",
        b"3;\n",
        b"-1",
        b"+1",
        b"0x1",
        b"",
        b" 1",
        b"1 ",
        b"1_0",
        b"g",
        b"f" * 17,
        b"1\n",
        b"1\r",
    ]
)
CHUNKS = st.tuples(
    st.one_of(SIZES, SIZES, ODD),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""]),
    st.binary(max_size=12),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""]),
).map(b"".join)
VALID = st.binary(min_size=1, max_size=30).map(lambda data: b"%x\r\n%s\r\n" % (len(data), data))
ENDS = st.sampled_from([b"0\r\n\r\n", b"0;x\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\n", b"", b"0\n\n"])


@given(
    chunks=st.lists(st.one_of(VALID, VALID, CHUNKS), max_size=8),
    end=ENDS,
    behind=st.sampled_from([b"", b"GET / HTTP/1.1\r\n\r\n"]),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    size=st.sampled_from([1, 7, 1000]),
)
def test_any_bytes_are_read_as_gunicorn_reads_them(
    chunks: list[bytes], end: bytes, behind: bytes, cuts: list[int], size: int
):
    sent = b"".join(chunks) + end + behind
    places = [0, *sorted(cuts), len(sent)]
    pieces = [sent[start:stop] for start, stop in pairwise(places)]

    assert read(ChunkedBody, pieces, size) == read(ChunkedReader, pieces, size)


def test_what_is_here_is_not_copied_for_each_chunk():
    lines = 0

    class Counting(ChunkedBody):
        """Counts the lines that gunicorn reads, with a copy of all that has been received."""

        def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> Any:
            nonlocal lines
            lines += 1
            return super().parse_chunk_size(unreader, data)

    sent = b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"

    assert read(Counting, [sent], 1000)[0] == b"x" * 5000
    assert lines == 2  # the first, for which nothing is here yet, and the last
