"""A way to an S3 server that lets every answer wait, as a network does; requests pass at once.

It only hands bytes on, each after the same time, in a process of its own: it costs the machine little, and no
request waits for another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection
from urllib.parse import urlsplit


@contextlib.contextmanager
def slow_way_to(endpoint: str, seconds: float) -> Iterator[str]:
    """Give the URL of a way to the server at *endpoint*, until the block is left.

    :param seconds: how long each byte of an answer takes.
    """
    where = urlsplit(endpoint)
    # Not forked: this process has threads.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, where.hostname, where.port, seconds), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(30):
            raise RuntimeError("the slow way to the storage did not start")
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.kill()
        process.join()
        receiver.close()


def _serve(sender: Connection, host: str, port: int, seconds: float) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Asking(host, port, seconds), "127.0.0.1", 0, backlog=512)
        sender.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


class _Asking(asyncio.Protocol):
    """A client's end of the way."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._answering = _Answering(self, seconds)
        self._to = host, port
        self._waiting = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self._answering, *self._to)
        except OSError:
            assert self.transport is not None
            self.transport.close()

    def reached(self, server: asyncio.Transport) -> None:
        """Send what came before the server was reached, and be done with it before more comes."""
        server.write(bytes(self._waiting))
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        if self._answering.transport is None:
            self._waiting += data
        else:
            self._answering.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answering.transport is not None:
            self._answering.transport.close()


class _Answering(asyncio.Protocol):
    """The server's end of the way."""

    def __init__(self, asking: _Asking, seconds: float) -> None:
        self._asking = asking
        self._seconds = seconds
        # In their order: two timers of the same moment have none.
        self._underway: deque[bytes] = deque()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._asking.reached(transport)

    def data_received(self, data: bytes) -> None:
        self._underway.append(data)
        asyncio.get_running_loop().call_later(self._seconds, self._arrive)

    def connection_lost(self, error: Exception | None) -> None:
        self._underway.append(b"")
        asyncio.get_running_loop().call_later(self._seconds, self._arrive)

    def _arrive(self) -> None:
        to = self._asking.transport
        assert to is not None
        data = self._underway.popleft()
        if not data:
            to.close()
        elif not to.is_closing():
            to.write(data)
