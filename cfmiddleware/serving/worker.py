"""gunicorn's gevent worker, which waits for no client longer than it is told to.

A connection is a greenlet, so that thousands that are slow cost memory and nothing else. What a client may
keep waiting, and for how long, stands in the section ``server``; :mod:`~cfmiddleware.serving.patience` ends
what takes longer.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, ClassVar

import gevent
import gevent.socket
from gevent.event import Event
from gevent.lock import Semaphore
from gunicorn.http.wsgi import base_environ
from gunicorn.workers.ggevent import GeventWorker

from cfmiddleware import tracing
from cfmiddleware.config.serveroptions import ServerOptions
from cfmiddleware.metrics.cells import STATE
from cfmiddleware.process.throttle import Throttle

from .certificates import Certificates
from .filelimit import connections_within, raise_limit
from .httpconnection import HTTPConnection
from .patience import Patience, Wait
from .refusals import Refusal
from .shares import Shares

if TYPE_CHECKING:
    from cfmiddleware.health.watch import Health
    from cfmiddleware.notifications.notifier import Notifier
    from cfmiddleware.process.chores import Chores
    from cfmiddleware.storage.driver import Driver
    from cfmiddleware.wsgi.types import App

_log = logging.getLogger("cfmiddleware")

# Seconds in which an idle connection may still bring a request when the worker is to stop: its client may
# have sent one before it could learn that the connection ends.
_LAST_REQUESTS = 2.0

# Seconds until the next try when the system has no descriptor or no memory for a connection.
_PAUSE = 0.1
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# A worker that has more connections than another waits so many times so many seconds for the other to take a
# connection. Where that was in vain, the other is busy, and this one takes what comes for a while.
_POLITE = 5
_MOMENT = 0.0005
_IMPATIENT = 0.05

# What waits for its client's first byte or the end of a head may be ended to make room.
_NOTHING_LOST = (Wait.IDLE, Wait.HANDSHAKE, Wait.HEAD)


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """The worker of ``cfmiddleware serve``. A subclass for each service has its options.

    :param options: what clients are given time and room for.
    :param certificates: what connections are secured with, or None for plain HTTP.
    :param storage: what the app keeps things in, which is made ready before the first request;
        None if it keeps nothing.
    :param health: what is looked after in the background, or None.
    :param counts: whether requests are counted for Prometheus.
    :param traces: whether requests are traced.
    :param notifier: whose events are delivered in the background, or None.
    :param chores: what is done beside requests, or None.
    :param shares: how many connections each worker of the service has.
    :param stopping: until when idle connections stay, on the clock of ``time.monotonic``, if the worker is to
        stop; 0 while it is not.
    :param bulk: held by the connection whose turn it is to move much.
    """

    options: ClassVar[ServerOptions]
    certificates: ClassVar[Certificates | None] = None
    storage: ClassVar[Driver | None] = None
    health: ClassVar[Health | None] = None
    counts: ClassVar[bool] = False
    traces: ClassVar[bool] = False
    notifier: ClassVar[Notifier | None] = None
    chores: ClassVar[Chores | None] = None
    shares: ClassVar[Shares]
    wsgi: App
    sockets: list[Any]
    stopping: float = 0.0
    bulk: Semaphore

    def patch(self) -> None:
        """Take over the listening sockets; the command has patched the libraries already."""
        os.environ.pop("SCRIPT_NAME", None)  # gunicorn would have the app mounted there
        self.sockets = [
            gevent.socket.socket(each.FAMILY, socket.SOCK_STREAM, fileno=each.sock.detach())
            for each in self.sockets
        ]

    def init_signals(self) -> None:
        """Set the handlers, and let in the signals that were held since before the fork."""
        self._wake = Event()
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop."""
        super().handle_exit(sig, frame)
        self._wake.set()

    def run(self) -> None:
        """Serve until the worker is to stop, let requests under way end, and send what is known of them."""
        if not self.traces:
            return self._run()
        tracing.begin()
        try:
            return self._run()
        finally:
            tracing.end()

    def _run(self) -> None:
        self._connections: dict[HTTPConnection, None] = {}
        self._refusals = Throttle()
        self._full = Throttle()
        self.bulk = Semaphore()
        self._limit = self.options.connections or connections_within(raise_limit())
        # What was made before the fork stays. To look for garbage in it takes a tenth of a second, in which
        # nobody is answered, and copies the memory that the processes share.
        gc.freeze()
        if self.counts:
            STATE.begin()
        self._prepare()
        if self.health is not None:
            self.health.start()
        if self.notifier is not None:
            self.notifier.start()
        if self.chores is not None:
            self.chores.start()
        gevent.spawn(Patience(self._connections).run)
        gevent.spawn(self._watch_signals)
        self._note_share()
        accepting = [gevent.spawn(self._accept, each, self._base(each)) for each in self.sockets]
        while self.alive:
            self.notify()
            self._wake.wait(1.0)
        self._stop(accepting)

    def _prepare(self) -> None:
        """Have the storage make what its first request would wait for."""
        if self.storage is None:
            return
        try:
            self.storage.prepare()
        except Exception as error:  # noqa: BLE001 (the requests that meet it say what it is)
            _log.debug("the storage is not ready yet: %s", error)

    def refused(self, refusal: Refusal) -> None:
        """Log what the server refused by itself; seldom, because anybody can cause it."""
        if self._refusals.allows():
            _log.warning("a request was refused with %d: %s", refusal.status, refusal.message)

    def _base(self, listener: Any) -> dict[str, Any]:
        """Return what the environs of all connections that *listener* accepts have (PEP 3333)."""
        name = listener.getsockname()
        return {
            **base_environ(self.cfg),
            "wsgi.multithread": True,
            "wsgi.url_scheme": "https" if self.certificates else "http",
            "SERVER_PROTOCOL": "HTTP/1.1",
            # As gunicorn has it for a socket in the file system.
            "SERVER_NAME": name if isinstance(name, str) else name[0],
            "SERVER_PORT": "80" if isinstance(name, str) else str(name[1]),
            "SCRIPT_NAME": "",
            "cfmiddleware.server": name,
        }

    def _accept(self, listener: Any, base: dict[str, Any]) -> None:
        """Accept connections, for ever."""
        listener.settimeout(0)
        impatient = 0.0
        while True:
            if len(self._connections) >= self._limit and not self._make_room():
                gevent.sleep(_PAUSE)
                continue
            try:
                gevent.socket.wait_read(listener.fileno())
                if time.monotonic() >= impatient and not self._leaves_it_to_others():
                    impatient = time.monotonic() + _IMPATIENT
                client, address = listener.accept()
            except BlockingIOError:  # another worker has taken it
                impatient = 0.0
                continue
            except OSError as error:
                if listener.closed:
                    return
                if error.errno in _NO_ROOM and not self._make_room():
                    gevent.sleep(_PAUSE)
                continue
            client.settimeout(None)
            self._begin(client, address, base)
            gevent.sleep(0)  # another worker may take the next one

    def _leaves_it_to_others(self) -> bool:
        """Wait while another worker has fewer connections, and return whether that was short."""
        for _ in range(_POLITE):
            if not self.shares.exceeds_another(self.age):
                return True
            gevent.sleep(_MOMENT)
        return False

    def _begin(self, client: Any, address: Any, base: dict[str, Any]) -> None:
        if not isinstance(address, tuple):  # at a socket in the file system, it is a path of the client's own
            address = ("", "")
        host, port = address[:2]
        own = {**base, "REMOTE_ADDR": host, "REMOTE_PORT": str(port)}
        connection = HTTPConnection(self, client, address, own)
        self._connections[connection] = None
        self._note_share()
        gevent.spawn(self._serve, connection)

    def _serve(self, connection: HTTPConnection) -> None:
        try:
            connection.serve()
        except gevent.GreenletExit:
            raise
        except Exception:  # noqa: BLE001 (no caller is left that could handle it)
            _log.exception("a connection failed")
        finally:
            self._connections.pop(connection, None)
            self._note_share()

    def _note_share(self) -> None:
        if not self.stopping:
            self.shares.has(self.age, len(self._connections))

    def _make_room(self) -> bool:
        """End connections on which nothing is under way, oldest first, and return whether there were any."""
        if self._full.allows():
            _log.warning(
                "%d connections are open, as many as there are descriptors for (ulimit -n, "
                "server.connections): idle ones are ended, and further ones wait",
                len(self._connections),
            )
        waiting = [each for each in self._connections if each.wait in _NOTHING_LOST and not each.expired]
        waiting.sort(key=lambda each: (each.requests > 0, each.since))
        ended = waiting[: max(1, len(waiting) // 50)]
        for connection in ended:
            connection.expire()
        gevent.sleep(0)  # they close now
        return bool(ended)

    def _watch_signals(self) -> None:
        """Let Python handle a signal at once: gunicorn has each written into a pipe."""
        while True:
            gevent.socket.wait_read(self.PIPE[0])
            os.read(self.PIPE[0], 4096)

    def _stop(self, accepting: list[Any]) -> None:
        """Close the listeners, let requests under way end, and then the connections."""
        self.stopping = time.monotonic() + _LAST_REQUESTS
        self.shares.takes_none(self.age)
        if self.health is not None:
            self.health.stop()
        if self.notifier is not None:
            self.notifier.stop()
        if self.chores is not None:
            self.chores.stop()
        gevent.killall(accepting)
        for listener in self.sockets:
            self._accept_what_waits(listener)
            listener.close()
        for connection in self._connections:
            if connection.wait in (Wait.IDLE, Wait.HANDSHAKE):
                connection.expires = min(connection.expires, self.stopping)
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while self._connections and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)
        if self._connections:
            _log.warning(
                "%d connections were cut: their requests did not end within %d s (server.gracefultimeout)",
                len(self._connections),
                self.cfg.graceful_timeout,
            )

    def _accept_what_waits(self, listener: Any) -> None:
        """Accept the connections whose clients think that they are open; closing the listener resets them."""
        base = self._base(listener)
        listener.settimeout(0)
        while True:
            try:
                client, address = listener.accept()
            except OSError:
                return
            client.settimeout(None)
            self._begin(client, address, base)
