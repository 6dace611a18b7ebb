"""gunicorn's gthread worker, but one thread ends all connections whose client still sends.

An app may answer before it has read a request's body, as with a 503 for too many uploads. gunicorn's thread
then reads that body for seconds, and its main loop, which accepts every connection, waits for seconds until
the client has closed. A few dozen slow pushes beyond the limit would keep every pull waiting. Here such a
connection goes to :class:`~cfmiddleware.serving.closer.Closer`.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from .closer import Closer

# Seconds that the rest of a body gets to arrive, so that the connection can be kept.
_DRAIN = 0.05

# If more bytes of a body are unread at the answer, the answer says that the connection ends. A client that
# expects it to stay would send its next request there, and get no answer.
_DRAINED = 1 << 16


#: The methods of gunicorn's that are replaced here. What a version does not have, it never calls.
REPLACED = ("init_signals", "load_wsgi", "handle", "_keepalive_after")


def missing_methods(worker: type = ThreadWorker) -> list[str]:
    """Return those of :data:`REPLACED` that *worker*, by default that of the installed gunicorn, lacks."""
    return [name for name in REPLACED if not hasattr(worker, name)]


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The worker of ``cfmiddleware serve``."""

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
        """Return whether the connection can be used again: its body has been read, or is here already."""
        deadline = time.monotonic() + _DRAIN
        return keepalive and bool(conn.parser.finish_body(deadline=deadline, max_bytes=_DRAINED + 1))

    def _linger(self, connection: socket.socket) -> None:
        # It is made here, after the fork. If two threads make one, one of them stays idle.
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
    """Return whether so much of a body may be unread that its connection cannot stay.

    The rest of a chunked body is not known. gunicorn drops its parser when the body has ended.
    """
    return bool(getattr(reader, "length", 0) > _DRAINED or getattr(reader, "parser", None))


def _without_tls(connection: Any) -> socket.socket | None:
    """End TLS on a connection and return the connection below it, or None if it is closed already.

    Without a close_notify a client cannot tell the end of a response from a cut connection (RFC 8446, 6.1).
    """
    if connection.fileno() == -1:
        return None
    if isinstance(connection, ssl.SSLSocket):
        connection.setblocking(False)
        # It would wait for the client's close_notify as well, and TLS may not have begun.
        with contextlib.suppress(OSError, ValueError):
            connection.unwrap()
        return socket.socket(fileno=connection.detach())
    return connection if isinstance(connection, socket.socket) else None


class _Ended:
    """What the main loop closes in place of a connection that was taken over."""

    def setblocking(self, flag: bool) -> None:
        """Do nothing."""

    def shutdown(self, how: int) -> None:
        """Say that there is nothing to wait for."""
        raise OSError("the connection has been taken over")

    def close(self) -> None:
        """Do nothing."""
