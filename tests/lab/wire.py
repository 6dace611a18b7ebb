"""The wire between a proxy and a server, with what goes to the server noted."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Wire:
    """Takes connections on a port of its own and hands their bytes on.

    :param port: the server's, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._sent: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        """Begin anew to note."""
        self._sent.clear()

    @property
    def sent(self) -> bytes:
        """What was sent to the server since then, of all connections."""
        return b"".join(self._sent)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for ends in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._hand_on, args=(*ends, ends[0] is client), daemon=True
                    ).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, noted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if noted:
                    self._sent.append(data)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def running_wire(port: int) -> Iterator[Wire]:
    """Have a wire to the server on *port* until the block is left."""
    with contextlib.closing(Wire(port)) as wire:
        yield wire
