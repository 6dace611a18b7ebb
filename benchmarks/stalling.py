"""A way to the storage that can be stopped: clients wait there as they wait for a storage that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

_CHUNK = 1 << 16


class Way:
    """A process that hands bytes on.

    :param endpoint: its URL.
    """

    def __init__(self, endpoint: str, pid: int) -> None:
        self.endpoint = endpoint
        self._pid = pid

    def stop(self) -> None:
        """Let nothing pass from now on; the kernel takes connections all the same."""
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let everything pass again."""
        os.kill(self._pid, signal.SIGCONT)


@contextlib.contextmanager
def way_to(endpoint: str) -> Iterator[Way]:
    """Have a way to the server at *endpoint* until the block is left."""
    where = urlsplit(endpoint)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, where.hostname, where.port), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(30):
            raise RuntimeError("the way to the storage did not start")
        yield Way(f"http://127.0.0.1:{receiver.recv()}", process.pid or 0)
    finally:
        process.kill()
        process.join()
        receiver.close()


def _serve(sender: Connection, host: str, port: int) -> None:
    # The loop itself would let go of tasks that nothing but a closed connection refers to.
    under_way: set[asyncio.Task[None]] = set()

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        under_way.add(own)
        own.add_done_callback(under_way.discard)
        with contextlib.suppress(OSError), contextlib.closing(writer):
            behind_reader, behind_writer = await asyncio.open_connection(host, port)
            with contextlib.closing(behind_writer):
                pumps = (_pump(reader, behind_writer), _pump(behind_reader, writer))
                ways = [asyncio.create_task(pump) for pump in pumps]
                # Clients of S3 never close one direction alone.
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def serve() -> None:
        server = await asyncio.start_server(hand_on, "127.0.0.1", 0, backlog=4096)
        sender.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


async def _pump(source: asyncio.StreamReader, destination: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        destination.write(data)
        await destination.drain()
