"""An endpoint of notifications: a real HTTP server that keeps what it gets, and fails as it is told to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

#: What it does with a request: the first five do not take the event, as a sender sees it. The last two take
#: it, and end the connection a moment after the answer, or do not send all of their answer.
Behaviour = Literal["500", "400", "redirect", "hang", "close", "ok", "lost answer", "ok and close", "endless"]


class Received(NamedTuple):
    """An envelope that was taken."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The one event in it."""
        (event,) = json.loads(self.body)["events"]
        found: dict[str, Any] = event
        return found


class Receiver:
    """What tests see of the server.

    :param plan: what it does with the first requests, one after the other, and then with all others `ok`.
    """

    def __init__(self, *plan: Behaviour) -> None:
        self.plan = list(plan)
        #: What it does when there is no plan left.
        self.otherwise: Behaviour = "ok"
        self.taken: list[Received] = []
        self.requests = 0
        self.connections = 0
        #: How many of them have ended.
        self.ended = 0
        self.let_go = threading.Event()
        self.port = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its URL, with a secret in it."""
        return f"http://127.0.0.1:{self.port}/event?token=s3cr3t"

    def events(self) -> list[dict[str, Any]]:
        """Return the events that were taken, in the order in which they came."""
        return [each.event for each in list(self.taken)]

    def next(self) -> Behaviour:
        """Return what is done with the request that has just come."""
        with self._lock:
            self.requests += 1
            return self.plan.pop(0) if self.plan else self.otherwise


@contextlib.contextmanager
def receiving(*plan: Behaviour, port: int = 0) -> Iterator[Receiver]:
    """Run an endpoint until the block is left."""
    receiver = Receiver(*plan)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def setup(self) -> None:
            receiver.connections += 1
            super().setup()

        def finish(self) -> None:
            super().finish()
            self.connection.close()
            receiver.ended += 1

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the sender was killed while it sent
                self.close_connection = True
                return
            behaviour = receiver.next()
            if behaviour in ("ok", "lost answer", "ok and close", "endless"):
                receiver.taken.append(Received(self.path, dict(self.headers.items()), body))
            if behaviour == "hang":
                receiver.let_go.wait(30)
            if behaviour in ("hang", "close", "lost answer"):
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            status = {"500": 500, "400": 400, "redirect": 307}.get(behaviour, 200)
            self.send_response(status)
            if behaviour == "redirect":
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "9" if behaviour == "endless" else "0")
            self.end_headers()
            if behaviour == "ok and close":
                self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *arguments: Any) -> None:
            """Say nothing: the sender may be killed."""

    server = Server(("127.0.0.1", port), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
