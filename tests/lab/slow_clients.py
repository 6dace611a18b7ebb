"""Clients that cost a server more than they send: connections held open in every way that there is.

One thread with an event loop holds thousands of them. A connection that the server ends is opened again, so
that there are always as many as were asked for.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import http.client
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

#: Connections opened in a second, the first time and when the server has ended them. A refused client that
#: came back at once would be a flood of requests, which is another attack.
_OPENED, _REOPENED = 500, 50

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Targets(NamedTuple):
    """What the clients connect to, and what they ask for.

    :param port: the server's port on 127.0.0.1.
    :param certificate: the server's certificate where it speaks TLS.
    :param manifest: the path of a large manifest.
    :param blob: the path of a large blob that the registry serves itself.
    :param uploads: the paths of uploads that were begun, for those that send bodies.
    """

    port: int
    certificate: Path | None = None
    manifest: str = ""
    blob: str = ""
    uploads: Sequence[str] = ()


class Script(NamedTuple):
    """What a client does once it is connected.

    :param first: what it sends at once.
    :param drip: what it sends again and again after that.
    :param every: seconds between two drips.
    :param reads: whether it reads what comes.
    :param handshake: whether it completes the TLS handshake, where there is one.
    """

    first: bytes = b""
    drip: bytes = b""
    every: float = 0
    reads: bool = True
    handshake: bool = True


def _silence(targets: Targets, number: int) -> Script:
    return Script()


def _one_byte(targets: Targets, number: int) -> Script:
    return Script(b"G")


def _slow_head(targets: Targets, number: int) -> Script:
    return Script(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"x", 5)


def _handshake(targets: Targets, number: int) -> Script:
    return Script(_half_of_a_hello() if number % 2 else b"", handshake=False)


def _stalled_body(targets: Targets, number: int) -> Script:
    return Script(_patch(targets, number) + b"x")


def _slow_body(targets: Targets, number: int) -> Script:
    return Script(_patch(targets, number), b"x", 1)


def _unread_manifest(targets: Targets, number: int) -> Script:
    return Script(_get(targets.manifest), reads=False)


def _unread_blob(targets: Targets, number: int) -> Script:
    return Script(_get(targets.blob), reads=False)


#: Every kind of client, by its name.
KINDS: Mapping[str, Callable[[Targets, int], Script]] = {
    "silence": _silence,
    "one-byte": _one_byte,
    "slow-head": _slow_head,
    "handshake": _handshake,
    "stalled-body": _stalled_body,
    "unread-manifest": _unread_manifest,
    "unread-blob": _unread_blob,
    "slow-body": _slow_body,
}

#: The kinds that need uploads.
SENDERS = ("stalled-body", "slow-body")


def _patch(targets: Targets, number: int) -> bytes:
    path = targets.uploads[number % len(targets.uploads)]
    return f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n".encode()


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {_MANIFEST}\r\n\r\n".encode()


# Made once: the context reads all the system's authorities, which takes longer than a server has for a head.
@cache
def _half_of_a_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="registry")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    return hello[: len(hello) // 2]


def raise_descriptor_limit() -> int:
    """Let this process open as many descriptors as it may, and return how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def begin_uploads(port: int, repository: str, count: int, certificate: Path | None = None) -> list[str]:
    """Begin uploads, eight at a time, and return their paths.

    :raises AssertionError: when the registry refuses one.
    """

    def begin(number: int) -> list[str]:
        connection = _connection(port, certificate)
        with contextlib.closing(connection):
            return [_begin(connection, repository) for _ in range(number, count, 8)]

    with ThreadPoolExecutor(8) as pool:
        return [path for paths in pool.map(begin, range(min(8, count))) for path in paths]


def _connection(port: int, certificate: Path | None) -> http.client.HTTPConnection:
    if certificate is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    context = ssl.create_default_context(cafile=certificate)
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)


def _begin(connection: http.client.HTTPConnection, repository: str) -> str:
    connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 202, (answer.status, body[:200])
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


class Counts(NamedTuple):
    """What has become of the connections.

    :param held: how many are open now. A client that does not read cannot see that the server has ended its
        connection, and counts it as open.
    :param highest: how many were open at once at the most.
    :param opened: how many times one was opened.
    :param ended: how many times the server ended one.
    :param refused: how many times one could not be opened.
    :param answers: the statuses of the answers that came, with their number.
    """

    held: int
    highest: int
    opened: int
    ended: int
    refused: int
    answers: Mapping[int, int]


class SlowClients:
    """Clients of one kind, from the block's begin to its end, when all their connections are closed.

    :param kind: a name of :data:`KINDS`.
    :param count: how many there are.
    """

    def __init__(self, targets: Targets, kind: str, count: int) -> None:
        self._targets = targets
        self._script = KINDS[kind]
        self._count = count
        self._context: ssl.SSLContext | None = None
        if targets.certificate is not None:
            self._context = ssl.create_default_context(cafile=targets.certificate)
        self._held = self._highest = self._opened = self._ended = self._refused = 0
        self._answers: collections.Counter[int] = collections.Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        raise_descriptor_limit()
        self._thread.start()
        self._clients = asyncio.run_coroutine_threadsafe(self._run(), self._loop)
        return self

    def __exit__(self, *error: object) -> None:
        self._clients.cancel()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_until_open(self, seconds: float = 60) -> bool:
        """Return whether all have been opened once, or refused, before *seconds* went by."""
        deadline = time.monotonic() + seconds
        while (tried := self._opened + self._refused) < self._count and time.monotonic() < deadline:
            time.sleep(0.05)
        return tried >= self._count

    def counts(self) -> Counts:
        """Return what has become of them up to now."""
        return Counts(
            self._held, self._highest, self._opened, self._ended, self._refused, dict(self._answers)
        )

    async def _run(self) -> None:
        again = _Pace(_REOPENED)
        first = _Pace(_OPENED)
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._stay(number, first, again))

    async def _close(self) -> None:
        own = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # Transports that were aborted close their sockets in the next turns of the loop.
        await asyncio.sleep(0.05)

    async def _stay(self, number: int, first: _Pace, again: _Pace) -> None:
        script = self._script(self._targets, number)
        await first.turn()
        while True:
            try:
                connection = await self._open(script)
            except OSError:
                self._refused += 1
            else:
                await self._hold(connection, script)
            await again.turn()

    async def _open(self, script: Script) -> _Connection:
        raw = socket.socket()
        if not script.reads:
            # What the kernel takes in for a client that does not read is off the server's hands.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        try:
            await self._loop.sock_connect(raw, ("127.0.0.1", self._targets.port))
            tls = self._context if script.handshake else None
            _, connection = await self._loop.create_connection(
                lambda: _Connection(script.reads),
                sock=raw,
                ssl=tls,
                server_hostname="127.0.0.1" if tls else None,
                ssl_handshake_timeout=60 if tls else None,
            )
        except BaseException:
            raw.close()
            raise
        return connection

    async def _hold(self, connection: _Connection, script: Script) -> None:
        self._opened += 1
        self._held += 1
        self._highest = max(self._highest, self._held)
        try:
            connection.send(script.first)
            while not connection.ended():
                await connection.wait(script.every or (60 if script.reads else 5))
                connection.send(script.drip)
            self._ended += 1
        finally:
            self._held -= 1
            connection.end()
            if (status := connection.status()) is not None:
                self._answers[status] += 1


class _Pace:
    """Gives turns, so many a second."""

    def __init__(self, rate: float) -> None:
        self._pause = 1 / rate
        self._next = 0.0

    async def turn(self) -> None:
        now = time.monotonic()
        self._next = max(self._next, now) + self._pause
        await asyncio.sleep(self._next - now)


class _Connection(asyncio.Protocol):
    """One connection; of what comes it keeps the status."""

    def __init__(self, reads: bool) -> None:
        self._reads = reads
        self._begin = b""
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        if not self._reads:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._begin += data[: 12 - len(self._begin)]

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set()

    def send(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def ended(self) -> bool:
        if self._lost.is_set() or self._transport.is_closing():
            return True
        # Where nothing is read, the kernel alone knows what the server did.
        return not self._reads and self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 1

    async def wait(self, seconds: float) -> None:
        """Return after *seconds*, or when the connection has ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._lost.wait(), seconds)

    def end(self) -> None:
        self._transport.abort()

    def status(self) -> int | None:
        """Return the status of the answer, if one came."""
        words = self._begin.split()
        is_status = len(words) == 2 and words[0].startswith(b"HTTP/") and words[1].isdigit()
        return int(words[1]) if is_status else None
