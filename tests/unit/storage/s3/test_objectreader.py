"""How an object of S3 is read: in small chunks at first and where many are read, in large ones else."""

from __future__ import annotations

import io
from typing import Any

from cfmiddleware.storage.driver import CHUNK, LARGEST_CHUNK
from cfmiddleware.storage.s3.objectreader import S3Reader, first_answer
from cfmiddleware.storage.s3.openbodies import OpenBodies

MIB = 1 << 20
CONTENT = b"".join(b"%08d" % number for number in range(MIB))  # 8 MiB, no two pieces the same


class Bucket:
    """A client of a bucket with one object; it notes how many bytes each request asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def get_object(self, **asked: Any) -> dict[str, Any]:
        first, last = map(int, asked["Range"].removeprefix("bytes=").split("-"))
        self.asked.append(last + 1 - first)
        return {"Body": io.BytesIO(CONTENT[first : last + 1])}


def reader(bodies: OpenBodies | None, start: int = 0, bucket: Bucket | None = None) -> S3Reader:
    client: Any = bucket or Bucket()
    first = first_answer(bodies)
    end = len(CONTENT) if first is None else min(len(CONTENT), start + first)
    body = client.get_object(Range=f"bytes={start}-{end - 1}")["Body"]
    made = S3Reader(client, "bucket", "key", "/path", body, '"etag"', start, len(CONTENT), first, bodies)
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


def test_a_client_is_asked_for_more_the_more_it_has_read():
    bucket = Bucket()
    assert b"".join(reader(OpenBodies(), bucket=bucket)) == CONTENT
    assert bucket.asked == [MIB, 7 * MIB]


def test_where_many_are_read_one_that_does_not_read_on_costs_little():
    bodies, bucket = OpenBodies(), Bucket()
    others = [reader(bodies) for _ in range(17)]

    one = reader(bodies, bucket=bucket)

    next(one)
    assert bucket.asked == [MIB // 4]
    assert len(b"".join(one)) == len(CONTENT) - CHUNK
    assert bucket.asked == [MIB // 4, 2 * MIB, 6 * MIB - MIB // 4]
    assert len(others) == 17


def test_what_was_closed_unread_begins_with_little_again():
    bodies, bucket, clock = OpenBodies(limit=2, clock=lambda: clock[0]), Bucket(), [0.0]
    one = reader(bodies, bucket=bucket)
    read = [next(one) for _ in range(MIB // CHUNK + 1)]
    assert bucket.asked == [MIB, 7 * MIB]

    clock[0] += 60
    others = [reader(bodies) for _ in range(2)]
    others.pop().close()

    assert b"".join([*read, *one]) == CONTENT
    assert bucket.asked[2] == MIB
    assert len(others) == 1
