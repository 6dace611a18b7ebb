"""A chunked body whose many small chunks cost no more than their bytes.

gunicorn's reader copies what it has received for each chunk. A client that sends chunks of one byte would
keep a worker busy with a megabyte a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import ChunkMissingTerminator, NoMoreData

# A line without extensions. All others, and the last chunk with its trailers, are gunicorn's to read.
_SIZE = re.compile(rb"0*([1-9A-Fa-f][0-9A-Fa-f]{0,15})\r\n")

_LINE_END = b"\r\n"


class ChunkedBody(ChunkedReader):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's reader, which finds the chunks that are here already where they lie."""

    def parse_chunked(self, unreader: Any) -> Iterator[bytes]:
        """Yield what the chunks hold, and give back what follows the last one.

        :raises ParseException: for what is not chunked, and for an end before the last chunk.
        """
        data, at = b"", 0
        while True:
            plain = _SIZE.match(data, at)
            if plain is not None:
                size, at = int(plain[1], 16), plain.end()
            else:
                size, rest = self.parse_chunk_size(unreader, data[at:])
                if size == 0:
                    return
                data, at = rest, 0
            end = at + size
            if end + len(_LINE_END) <= len(data):
                yield data[at:end]
                if not data.startswith(_LINE_END, end):
                    raise ChunkMissingTerminator(data[end : end + 2])
                at = end + len(_LINE_END)
            else:
                data, at = (yield from self._rest_of_chunk(unreader, data[at:], size)), 0

    def _rest_of_chunk(self, unreader: Any, data: bytes, size: int) -> Any:
        """Yield a chunk of *size* bytes that is not all here, and return what was received behind it."""
        while size > len(data):
            size -= len(data)
            yield data
            data = unreader.read(None, read_ahead=size)  # in one piece, and nothing behind the chunk
            if not data:
                raise NoMoreData
        yield data[:size]
        behind = data[size:]
        while len(behind) < len(_LINE_END):
            more = unreader.read()
            if not more:
                break
            behind += more
        if not behind.startswith(_LINE_END):
            raise ChunkMissingTerminator(behind[:2])
        return behind[len(_LINE_END) :]
