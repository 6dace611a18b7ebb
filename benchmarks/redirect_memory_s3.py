"""An S3 server that has every blob there could be, and answers from no store at all.

Descriptors of 100,000 blobs are asked for in minutes here; the gateway would take half an hour. It is used
where everything that is measured is remembered already: it counts its requests, so that the benchmark can
see that a measured run makes none.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import re
from collections.abc import Iterator
from urllib.parse import unquote

_LINK = re.compile(r"/[^/]+/docker/registry/v2/repositories/.+/_layers/sha256/([0-9a-f]{64})/link")
_DATA = re.compile(r"/[^/]+/docker/registry/v2/blobs/sha256/[0-9a-f]{2}/[0-9a-f]{64}/data")
_PREFIX = re.compile(r"[?&]prefix=([^&]*)")

_MODIFIED = "Mon, 23 Nov 2026 00:00:00 GMT"
_SIZE = 24

_LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>benchmark</Name>'
    "<Prefix>{key}</Prefix><KeyCount>1</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated>"
    "<Contents><Key>{key}</Key><LastModified>2026-11-23T00:00:00.000Z</LastModified>"
    '<ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass>'
    "</Contents></ListBucketResult>"
)


class MemoryS3:
    """A server that runs.

    :param endpoint: its URL.
    """

    def __init__(self, endpoint: str, count: multiprocessing.sharedctypes.Synchronized[int]) -> None:
        self.endpoint = endpoint
        self._count = count

    @property
    def requests(self) -> int:
        """How many requests it has answered."""
        return self._count.value


@contextlib.contextmanager
def running(port: int) -> Iterator[MemoryS3]:
    """Run it until the block is left.

    :param port: where it listens on 127.0.0.1.
    """
    # Not forked: this process has threads.
    context = multiprocessing.get_context("spawn")
    count, ready = context.Value("L", 0, lock=False), context.Event()
    process = context.Process(target=_serve, args=(port, count, ready), daemon=True)
    process.start()
    try:
        if not ready.wait(30):
            raise RuntimeError("the S3 server in memory did not start")
        yield MemoryS3(f"http://127.0.0.1:{port}", count)
    finally:
        process.terminate()
        process.join()


def _serve(port: int, count: multiprocessing.sharedctypes.Synchronized[int], ready: object) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(count), "127.0.0.1", port)
        ready.set()
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


class _Connection(asyncio.Protocol):
    """A connection whose requests have no bodies."""

    def __init__(self, count: multiprocessing.sharedctypes.Synchronized[int]) -> None:
        self._count = count
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._count.value += 1
            method, target = head.decode("latin-1").split(" ", 2)[:2]
            self._transport.write(_answer(method, target))


def _answer(method: str, target: str) -> bytes:
    path, _, query = target.partition("?")
    path = unquote(path)
    if link := _LINK.fullmatch(path):
        return _response(method, f"sha256:{link[1]}".encode())
    if _DATA.fullmatch(path):
        return _response(method, bytes(_SIZE))
    if prefix := _PREFIX.search("?" + query):
        key = unquote(prefix[1])
        return _response(method, _LISTING.format(key=key, size=_SIZE).encode(), "application/xml")
    return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def _response(method: str, body: bytes, kind: str = "application/octet-stream") -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: {kind}\r\n"
        f'Last-Modified: {_MODIFIED}\r\nETag: "d41d8cd98f00b204e9800998ecf8427e"\r\n\r\n'
    ).encode()
    return head if method == "HEAD" else head + body
