"""gunicorn's gthread worker, with the ends of connections taken off its threads and its main loop.

When an app answers before it has read a request's body (503: too many uploads), gunicorn's thread goes on
reading that body for seconds, and then its main loop, which accepts every connection, waits for seconds until
the client has closed. A few dozen slow pushes beyond the limit would so keep every pull waiting. Here the
connection goes to one thread that waits for all of them together.
"""

from __future__ import annotations

import contextlib
import queue
import selectors
import signal
import socket
import ssl
import threading
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

# Seconds in which a body that is on its way already may come in, so that the connection can be kept.
_DRAIN = 0.05

# A client gets so many seconds, and so many bytes of what it still sends, until its connection is cut. Many
# clients read no answer before they have sent their body, so a refused chunk of three times the 5 MiB of
# ``OCI-Chunk-Min-Length`` is let in: cut, the client would see no 416 and not learn where the upload stands.
_LINGER = 2.0
_MAX_BYTES = 16 << 20

# A body of which more bytes are unread at the answer is not waited for, and the answer says so: a client that
# believes that the connection stays would send its next request there, and get no answer.
_DRAINED = 1 << 16

# Connections that linger at the same time; beyond, the next one is cut at once.
_MAX_LINGERING = 1000


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The worker of ``cfmiddleware serve``.

    The methods are gunicorn 27's; where another version does not call them, it does as it always does.
    """

    wsgi: Any
    _closer: Closer | None = None

    def init_signals(self) -> None:
        """Set the handlers, and let in the signals that were held since before the fork."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def load_wsgi(self) -> None:
        """Load the app."""
        super().load_wsgi()
        self.wsgi = _announcing_ends(self.wsgi)

    def handle(self, conn: Any) -> Any:
        """Handle a request, in one of the threads, and take over a connection that is to end."""
        result = super().handle(conn)
        connection = _without_tls(conn.sock) if result is False else None
        if connection is not None:
            conn.sock = _Ended()
            self._linger(connection)
        return result

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Whether the connection can be used again: its body has been read, or is here already."""
        deadline = time.monotonic() + _DRAIN
        return keepalive and bool(conn.parser.finish_body(deadline=deadline, max_bytes=_DRAINED + 1))

    def _linger(self, connection: socket.socket) -> None:
        # Made here, after the fork; of two threads that come first, the loser's one has nothing to do.
        closer = self._closer
        if closer is None:
            closer = self._closer = Closer()
        closer.take(connection)


def _announcing_ends(app: Any) -> Any:
    """Return the app with ``Connection: close`` on answers after which its connection cannot stay."""

    def announcing(environ: dict[str, Any], start_response: Any) -> Any:
        # What gunicorn reads the body from, and the response that it will write.
        reader: Any = getattr(environ["wsgi.input"], "reader", None)
        response: Any = getattr(start_response, "__self__", None)
        if not _much_is_unread(reader) or not hasattr(response, "force_close"):
            return app(environ, start_response)

        def start(*arguments: Any) -> Any:
            if _much_is_unread(reader):
                response.force_close()
            return start_response(*arguments)

        return app(environ, start)

    return announcing


def _much_is_unread(reader: Any) -> bool:
    """Whether so much of a body may be unread that its connection cannot stay.

    Nobody knows how much a chunked body has yet to come; gunicorn drops its parser where that has ended.
    """
    return bool(getattr(reader, "length", 0) > _DRAINED or getattr(reader, "parser", None))


def _without_tls(connection: Any) -> socket.socket | None:
    """Return the connection below TLS, once its end has been said there, or None if it is closed already.

    Without that word a client cannot tell an answer's end from a cut connection (RFC 8446, section 6.1).
    """
    if connection.fileno() == -1:
        return None
    if isinstance(connection, ssl.SSLSocket):
        connection.setblocking(False)
        # It waits for the client's own word as well, which is not here yet; and there may be no TLS yet.
        with contextlib.suppress(OSError, ValueError):
            connection.unwrap()
        return socket.socket(fileno=connection.detach())
    return connection if isinstance(connection, socket.socket) else None


class _Ended:
    """What the main loop finds to close where the connection was taken over."""

    def setblocking(self, flag: bool) -> None:
        """Do nothing."""

    def shutdown(self, how: int) -> None:
        """Say that there is nothing to wait for."""
        raise OSError("the connection has been taken over")

    def close(self) -> None:
        """Do nothing."""


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
