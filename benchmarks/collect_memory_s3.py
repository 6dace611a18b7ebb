"""An S3 server in memory whose bucket holds a registry of any size: what it answers is computed, not stored.

The bucket is a sorted list of keys of which each has a number, and every key, digest and manifest follows
from its number. Only the digests of the manifests are kept, because they must be true. What is written is
kept, and what is deleted is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import multiprocessing
import re
import time
from array import array
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import unescape

#: The bucket's name.
BUCKET = "million"

_ROOT = "docker/registry/v2/"
_OLD = 1_700_000_000
_LAYERS = 5
_LAYER_SIZE = 5_000_000
_LINK_SIZE = 71
# Comes after every key.
_LAST = "\U0010ffff"


class Contents(NamedTuple):
    """What the bucket holds.

    :param manifests: how many images, each with a tag.
    :param repositories: in how many repositories; a repository has as many images as every other one.
    :param lost: how many images of each repository have lost their manifest: their blobs are garbage.
    """

    manifests: int
    repositories: int
    lost: int = 1


def blob_paths(contents: Contents, count: int) -> list[str]:
    """Return the paths of some blobs for clients of the registry."""
    images = contents.manifests // contents.repositories
    blobs = _LAYERS * (images + contents.lost) * contents.repositories
    step = max(1, blobs // count)
    return [
        f"/v2/team/app{number % contents.repositories:06}/blobs/sha256:{_blob_digest(number, blobs)}"
        for number in range(0, blobs, step)
    ][:count]


def _blob_digest(number: int, blobs: int) -> str:
    """Return the digest of a blob in hex; a greater number has a greater one."""
    return f"{number * ((1 << 32) // blobs):08x}{number ^ 0x5A5A5A5A:08x}" * 4


class Bucket:
    """A bucket, with five blobs of its own for each image and one that all of a repository share."""

    def __init__(self, contents: Contents) -> None:
        self.repositories = contents.repositories
        self.images = contents.manifests // contents.repositories
        self.links = _LAYERS * (self.images + contents.lost)
        self.blobs = self.links * self.repositories
        self._step = (1 << 32) // self.blobs
        total = self.images * self.repositories
        digests = [hashlib.sha256(self.manifest(number)).digest() for number in range(total)]
        order = sorted(range(total), key=digests.__getitem__)
        # Of all manifests, by digest: the digest, the number, and the place among all that lies in blobs/.
        self._digests = b"".join(map(digests.__getitem__, order))
        self._numbers = array("I", order)
        self._places = array(
            "I", (place + self._blobs_before(digests[number]) for place, number in enumerate(order))
        )
        self._of_repository = [
            array("I", sorted(range(r * self.images, (r + 1) * self.images), key=digests.__getitem__))
            for r in range(self.repositories)
        ]
        self._by_number = b"".join(digests)
        self._data = self.blobs + total
        self._per_repository = self.links + 3 * self.images
        #: How many objects it had in the beginning.
        self.count = self._data + self.repositories * self._per_repository
        self._written: dict[str, tuple[bytes, float]] = {}
        self._written_keys: list[str] = []
        self._deleted: set[str] = set()

    # What follows from numbers

    def manifest(self, number: int) -> bytes:
        """Return the manifest of an image."""
        repository, image = divmod(number, self.images)
        first = _LAYERS * image
        layers = [0, *range(first + 1, first + _LAYERS)]
        entries = ",".join(
            f'{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":{_LAYER_SIZE},'
            f'"digest":"sha256:{self._blob(repository + place * self.repositories)}"}}'
            for place in layers
        )
        config = self._blob(repository + first * self.repositories)
        return (
            '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":'
            '{"mediaType":"application/vnd.oci.image.config.v1+json","size":2000,'
            f'"digest":"sha256:{config}"}},"layers":[{entries}]}}'
        ).encode()

    def _blob(self, number: int) -> str:
        return _blob_digest(number, self.blobs)

    def _blobs_before(self, digest: bytes) -> int:
        place = min(int.from_bytes(digest[:4], "big") // self._step + 1, self.blobs)
        while place and self._blob(place - 1) > digest.hex():
            place -= 1
        return place

    def _digest(self, number: int) -> str:
        return self._by_number[32 * number : 32 * (number + 1)].hex()

    def _key(self, place: int) -> tuple[str, int]:
        """Return a key by its place, and the object's size."""
        if place < self._data:
            before = bisect_right(self._places, place)
            if before and self._places[before - 1] == place:
                digest, size = self._digests[32 * (before - 1) : 32 * before].hex(), 1000
            else:
                digest, size = self._blob(place - before), _LAYER_SIZE
            return f"{_ROOT}blobs/sha256/{digest[:2]}/{digest}/data", size
        repository, place = divmod(place - self._data, self._per_repository)
        folder = f"{_ROOT}repositories/team/app{repository:06}/"
        if place < self.links:
            digest = self._blob(repository + place * self.repositories)
            return f"{folder}_layers/sha256/{digest}/link", _LINK_SIZE
        place -= self.links
        if place < self.images:
            digest = self._digest(self._of_repository[repository][place])
            return f"{folder}_manifests/revisions/sha256/{digest}/link", _LINK_SIZE
        image, part = divmod(place - self.images, 2)
        if part == 0:
            return f"{folder}_manifests/tags/v{image:07}/current/link", _LINK_SIZE
        digest = self._digest(repository * self.images + image)
        return f"{folder}_manifests/tags/v{image:07}/index/sha256/{digest}/link", _LINK_SIZE

    def _place_after(self, key: str) -> int:
        """Return the place of the first key after *key*."""
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self._key(middle)[0] > key:
                high = middle
            else:
                low = middle + 1
        return low

    # Requests

    def listed(self, after: str, until: str) -> Iterator[tuple[str, int, float]]:
        """Yield keys after one and before another one, with size and time."""
        place = self._place_after(after)
        written = bisect_right(self._written_keys, after)
        computed = self._key(place) if place < self.count else None
        while True:
            extra = self._written_keys[written] if written < len(self._written_keys) else None
            if computed is None and extra is None:
                return
            if extra is not None and (computed is None or extra <= computed[0]):
                if extra >= until:
                    return
                content, modified = self._written[extra]
                yield extra, len(content), modified
                written += 1
                if computed is None or extra != computed[0]:
                    continue
            else:
                assert computed is not None
                if computed[0] >= until:
                    return
                if computed[0] not in self._deleted:
                    yield *computed, _OLD
            place += 1
            computed = self._key(place) if place < self.count else None

    def get(self, key: str) -> tuple[bytes, float] | None:
        """Return an object."""
        if key in self._written:
            return self._written[key]
        if key in self._deleted:
            return None
        place = self._place_after(key) - 1
        if place < 0 or self._key(place)[0] != key:
            return None
        if place < self._data:
            before = bisect_right(self._places, place)
            if before and self._places[before - 1] == place:
                return self.manifest(self._numbers[before - 1]), _OLD
            return bytes(100), _OLD
        if "/current/" in key:
            repository, place = divmod(place - self._data, self._per_repository)
            image = (place - self.links - self.images) // 2
            return f"sha256:{self._digest(repository * self.images + image)}".encode(), _OLD
        return f"sha256:{key.split('/')[-2]}".encode(), _OLD

    def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        if key not in self._written:
            insort(self._written_keys, key)
        self._written[key] = content, time.time()

    def delete(self, key: str) -> None:
        """Delete an object."""
        if self._written.pop(key, None) is not None:
            del self._written_keys[bisect_left(self._written_keys, key)]
        self._deleted.add(key)


class MillionS3:
    """A server that runs.

    :param endpoint: its URL.
    """

    def __init__(self, endpoint: str, ask: Callable[[], Counter[str]]) -> None:
        self.endpoint = endpoint
        #: Returns the requests since it was last asked, by operation.
        self.counts = ask


@contextlib.contextmanager
def running(contents: Contents) -> Iterator[MillionS3]:
    """Run it until the block is left."""
    # Not forked: this process may have threads.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(contents, there), daemon=True)
    process.start()
    there.close()

    def counts() -> Counter[str]:
        here.send("counts")
        found: Counter[str] = here.recv()
        return found

    try:
        if not here.poll(900):
            raise RuntimeError("the S3 server in memory did not start")
        yield MillionS3(f"http://127.0.0.1:{here.recv()}", counts)
    finally:
        process.terminate()
        process.join()


def _serve(contents: Contents, there: multiprocessing.connection.Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        bucket, count = Bucket(contents), Counter[str]()

        def tell() -> None:
            there.recv()
            there.send(Counter(count))
            count.clear()

        server = await loop.create_server(lambda: _Connection(bucket, count), "127.0.0.1", 0, backlog=512)
        loop.add_reader(there.fileno(), tell)
        there.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt, EOFError):
        asyncio.run(serve())


_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_KEY = re.compile(r"<Key>([^<]*)</Key>")


class _Connection(asyncio.Protocol):
    def __init__(self, bucket: Bucket, count: Counter[str]) -> None:
        self._bucket = bucket
        self._count = count
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                if b"100-continue" in head.lower() and len(self._received) == end + 4:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            self._transport.write(self._answer(head, body))

    def _answer(self, head: bytes, body: bytes) -> bytes:
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        path, _, query = target.partition("?")
        key = unquote(path).removeprefix(f"/{BUCKET}").removeprefix("/")
        bucket = self._bucket
        if not key:
            fields = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
            if "delete" in fields:
                self._count["DeleteObjects"] += 1
                for deleted in _KEY.findall(body.decode()):
                    bucket.delete(unescape(deleted))
                return _response("200 OK", b"<DeleteResult/>")
            if "uploads" in fields:
                return _response("200 OK", b"<ListMultipartUploadsResult/>")
            self._count["ListObjectsV2"] += 1
            return _response("200 OK", _listing(bucket, fields))
        self._count[f"{method.title()}Object"] += 1
        if method == "PUT":
            if b"if-none-match" in head.lower() and bucket.get(key) is not None:
                return _response("412 Precondition Failed", _error("PreconditionFailed"))
            bucket.put(key, body)
            return _response("200 OK", b"", {"ETag": '"0"'})
        if method == "DELETE":
            bucket.delete(key)
            return _response("204 No Content", b"")
        found = bucket.get(key)
        if found is None:
            return _response("404 Not Found", b"" if method == "HEAD" else _error("NoSuchKey"))
        content, modified = found
        headers = {"Last-Modified": formatdate(modified, usegmt=True), "ETag": '"0"'}
        return _response("200 OK", content, headers, bodiless=method == "HEAD")


def _listing(bucket: Bucket, fields: dict[str, str]) -> bytes:
    prefix, delimiter = fields.get("prefix", ""), fields.get("delimiter", "")
    most = int(fields.get("max-keys", 1000))
    start = prefix[:-1] + chr(ord(prefix[-1]) - 1) + _LAST if prefix else ""
    at = max(unquote(fields.get("continuation-token", "")) or fields.get("start-after", ""), start)
    until = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else _LAST
    entries: list[str] = []
    truncated, goes_on = False, True
    while goes_on:
        goes_on = False
        for key, size, modified in bucket.listed(at, until):
            if len(entries) == most:
                truncated = True
                break
            if delimiter and delimiter in key[len(prefix) :]:
                name = prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter
                entries.append(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")
                # All that is below counts as one.
                at, goes_on = name + _LAST, True
                break
            entries.append(
                f"<Contents><Key>{key}</Key><LastModified>{_stamp(modified)}</LastModified>"
                f"<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>{size}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
            at = key
    token = f"<NextContinuationToken>{quote(at)}</NextContinuationToken>" if truncated else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
        f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{BUCKET}</Name><Prefix>{prefix}</Prefix>'
        f"<KeyCount>{len(entries)}</KeyCount><MaxKeys>{most}</MaxKeys><EncodingType>url</EncodingType>"
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{token}{''.join(entries)}</ListBucketResult>"
    ).encode()


@lru_cache(maxsize=64)
def _stamp(modified: float) -> str:
    return datetime.fromtimestamp(modified, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message/></Error>".encode()


def _response(
    status: str, body: bytes, headers: Mapping[str, str] = MappingProxyType({}), *, bodiless: bool = False
) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode()
    return head if bodiless else head + body
