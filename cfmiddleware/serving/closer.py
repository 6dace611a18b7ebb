"""The one thread of a worker that ends connections whose client still sends."""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import threading
import time

# A client may send for so many seconds, and so many bytes, until its connection is cut. Many clients read the
# response only after they have sent their body. So a refused chunk of three times the 5 MiB of
# ``OCI-Chunk-Min-Length`` is read: without it, the client would not see the 416 that says where the upload
# stands.
_LINGER = 2.0
_MAX_BYTES = 16 << 20

# Connections that linger at the same time; beyond, the next one is cut at once.
_MAX_LINGERING = 1000


class Closer:
    """Ends connections so that the client reads the answer: half-closed first, cut when it is done or late.

    A connection that is closed with bytes unread is reset, and a client that is still sending may then lose
    the answer (RFC 9112, section 9.6).
    """

    def __init__(self) -> None:
        self._new: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="closer", daemon=True).start()

    def take(self, connection: socket.socket) -> None:
        """Take over a connection, without waiting for anything."""
        try:
            connection.setblocking(False)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # the client has gone
            connection.close()
        else:
            self._new.put(connection)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            deadlines: dict[socket.socket, float] = {}
            left: dict[socket.socket, int] = {}
            while True:
                with contextlib.suppress(queue.Empty):
                    while True:
                        connection = self._new.get(block=not deadlines)
                        if len(deadlines) >= _MAX_LINGERING:
                            connection.close()
                            continue
                        selector.register(connection, selectors.EVENT_READ)
                        deadlines[connection] = time.monotonic() + _LINGER
                        left[connection] = _MAX_BYTES
                readable = {key.fileobj for key, _ in selector.select(timeout=0.1)}
                now = time.monotonic()
                for connection in list(deadlines):
                    if connection in readable:
                        left[connection] -= _discard(connection, left[connection])
                    if left[connection] <= 0 or deadlines[connection] <= now:
                        selector.unregister(connection)
                        del deadlines[connection], left[connection]
                        connection.close()


def _discard(connection: socket.socket, limit: int) -> int:
    """Read and forget what has come, and return how much of the limit it used: all of it at the end."""
    try:
        return len(connection.recv(1 << 16)) or limit
    except BlockingIOError:
        return 0
    except OSError:
        return limit
