"""How an object of S3 is read: in small chunks at first and where many are read, in large ones else."""

from __future__ import annotations

import io
from typing import Any, cast

from cfmiddleware.storage.driver import CHUNK, LARGEST_CHUNK
from cfmiddleware.storage.s3.objectreader import FIRST_ANSWER, S3Reader
from cfmiddleware.storage.s3.openbodies import OpenBodies

MIB = 1 << 20
CONTENT = b"".join(b"%08d" % number for number in range(MIB))  # 8 MiB, no two pieces the same


class Bucket:
    """A client of a bucket with one object."""

    def get_object(self, **asked: Any) -> dict[str, Any]:
        first, last = map(int, asked["Range"].removeprefix("bytes=").split("-"))
        return {"Body": io.BytesIO(CONTENT[first : last + 1])}


def reader(bodies: OpenBodies | None, start: int = 0) -> S3Reader:
    length = FIRST_ANSWER if bodies else len(CONTENT)
    body = cast("Any", io.BytesIO(CONTENT[start : start + length]))
    made = S3Reader(
        cast("Any", Bucket()), "bucket", "key", "/path", body, '"etag"', start, len(CONTENT), bodies
    )
    if bodies is not None:
        bodies.make_room()
        bodies.opened(made)
    return made


def test_a_client_that_has_read_4_mib_gets_larger_chunks():
    chunks = list(reader(OpenBodies()))

    assert b"".join(chunks) == CONTENT
    assert [len(chunk) for chunk in chunks[:64]] == [CHUNK] * 64
    assert {len(chunk) for chunk in chunks[64:]} == {LARGEST_CHUNK}


def test_what_counts_is_what_the_client_has_read_and_not_where_it_began():
    chunks = list(reader(OpenBodies(), 6 * MIB))

    assert b"".join(chunks) == CONTENT[6 * MIB :]
    assert {len(chunk) for chunk in chunks} == {CHUNK}


def test_where_many_are_read_chunks_are_small():
    bodies = OpenBodies()
    others = [reader(bodies) for _ in range(16)]

    chunks = list(reader(bodies))

    assert b"".join(chunks) == CONTENT
    assert {len(chunk) for chunk in chunks} == {CHUNK}
    others.pop().close()
    assert LARGEST_CHUNK in {len(chunk) for chunk in reader(bodies)}


def test_what_the_registry_reads_for_itself_comes_in_large_chunks():
    chunks = list(reader(None))

    assert b"".join(chunks) == CONTENT
    assert {len(chunk) for chunk in chunks} == {LARGEST_CHUNK}
