"""What the command serves: an app, where it listens, and how; checked before anything is forked."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cfmiddleware import metrics
from cfmiddleware.config import Config
from cfmiddleware.config.address import DEFAULT_EDGE, Address, SocketPath
from cfmiddleware.config.serveroptions import ServerOptions
from cfmiddleware.errors import ConfigError
from cfmiddleware.health.board import Board
from cfmiddleware.health.debugapp import DebugApp
from cfmiddleware.health.watch import Health
from cfmiddleware.logs import LogOptions
from cfmiddleware.process.waiting import original
from cfmiddleware.storage.driver import Driver
from cfmiddleware.tracing import is_on, traced
from cfmiddleware.wsgi.accesslog import AccessLog

from . import systemd
from .certificates import Certificates, certificates_of
from .storagecheck import check_storage

if TYPE_CHECKING:
    from cfmiddleware.notifications.notifier import Notifier
    from cfmiddleware.process.chores import Chores
    from cfmiddleware.wsgi.types import App

#: The name of the debug listener's service.
DEBUG = "debug listener"

_BACKLOG = 2048

_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (it is what `:5000` means)

# Seconds of silence until the first question, seconds between two, and how many stay unanswered at the end;
# and how many bytes the system takes that it cannot send yet: who does not read would get megabytes.
_TCP_OPTIONS = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4, "TCP_NOTSENT_LOWAT": 1 << 17}


class Served(NamedTuple):
    """What a configuration makes of a service; a configuration that is read again makes a new one.

    :param app: what answers.
    :param options: how it is served.
    :param certificates: what connections are secured with, or None for plain HTTP.
    :param log: how the servers log.
    :param storage: what the app keeps things in.
    :param address: where the configuration has it listen, which takes effect at the start alone.
    :param counts: whether requests are counted for Prometheus.
    :param health: what each worker looks after, or None where nothing is checked.
    :param traces: whether requests are traced.
    :param notifier: what each worker delivers the events of when it is its turn, or None.
    :param chores: what one of the workers does beside requests, or None.
    """

    app: App
    options: ServerOptions
    certificates: Certificates | None
    log: LogOptions
    storage: Driver | None
    address: Address | SocketPath
    health: Health | None = None
    counts: bool = False
    traces: bool = False
    notifier: Notifier | None = None
    chores: Chores | None = None


class Service(NamedTuple):
    """An app, where it listens, and how it is served.

    :param name: for the log and the process list.
    :param socket: where it listens.
    :param served: what the configuration made of it.
    :param reread: reads the configuration again.
    :param is_given: whether somebody else made the socket, and keeps it.
    """

    name: str
    socket: socket.socket
    served: Served
    reread: Callable[[], Served]
    is_given: bool = False

    @property
    def url(self) -> str:
        """The URL that a client on this machine uses; ``unix:`` and the path for a socket."""
        name = self.socket.getsockname()
        if isinstance(name, str):
            return f"unix:{name}"
        host, port = name[:2]
        scheme = "https" if self.served.certificates else "http"
        if host in _EVERY_ADDRESS:
            # No certificate is one of an address of this machine alone.
            own = {"0.0.0.0": "127.0.0.1", "::": "::1"}[host]  # noqa: S104 (it is what listens)
            host = socket.gethostname() if scheme == "https" else own
        return f"{scheme}://{Address((host, port))}"


def registry_service(
    read: Callable[[], Config], config: Config, address: str | None = None, board: Board | None = None
) -> Service:
    """Return the registry of *config*, wrapped, listening on *address* or on ``http.addr``.

    :param read: reads the configuration again.
    :param board: where the workers write how the registry is, for a debug listener. Without it, they have
        one of their own if anything is checked.
    :raises ConfigError: for a configuration that cannot work, a storage that does not, a taken port.
    :raises StorageNotReached: for a storage that does not come while it is waited for.
    """
    served = _registry(config, address, board)
    check_storage(config)
    option = f"{config.source}: http.addr" if address is None else "--addr"
    listener, is_given = _listener("registry", served.address, option)
    return Service("registry", listener, served, lambda: _registry(read(), address, board), is_given)


def debug_service(read: Callable[[], Config], config: Config, board: Board) -> Service:
    """Return the debug listener of *config*, listening on ``http.debug.addr``.

    :param read: reads the configuration again.
    :param board: where the registry's workers write how it is.
    :raises ConfigError: for a configuration that cannot work, a taken port.
    """
    served = _debug(config, board)
    listener, is_given = _listener("debug", served.address, f"{config.source}: http.debug.addr")
    return Service(DEBUG, listener, served, lambda: _debug(read(), board), is_given)


def edge_service(read: Callable[[], Config], config: Config, address: str | None = None) -> Service:
    """Return the edge of *config*, listening on *address* or on ``edge.addr``.

    :param read: reads the configuration again.
    :raises ConfigError: for a configuration that cannot work, a taken port.
    """
    served = _edge(config, address)
    option = "--edge-addr" if address else f"{config.source}: edge.addr"
    listener, is_given = _listener("edge", served.address, option)
    return Service("edge", listener, served, lambda: _edge(read(), address), is_given)


def _registry(config: Config, address: str | None, board: Board | None) -> Served:
    where = config.address() if address is None else Address.parse(address, "--addr")
    # Requests look only where a check could fail; who asks the debug listener is told in any case.
    health = config.health(board)
    app = config.app(health) if config.settings.health.has_checks else config.app()
    log = config.log_options()
    app = traced(app, config.trusted_proxies())
    if log.access:
        app = AccessLog(app, trustedproxies=config.trusted_proxies())
    return Served(
        app,
        config.server_options(),
        certificates_of(config),
        log,
        config.driver(),
        where,
        health,
        config.counts(),
        is_on(),
        config.notifier,
        config.chores,
    )


def _debug(config: Config, board: Board) -> Served:
    where = config.debug_address()
    if where is None:
        raise ConfigError(
            f"{config.source}: http.debug.addr: is gone; the listener goes on until the server ends"
        )
    options = replace(config.server_options(), workers=1)
    prometheus = config.settings.http.debug.prometheus
    apps = {prometheus.path: metrics.app} if prometheus.enabled else {}
    return Served(DebugApp(board.read, apps), options, None, config.log_options(), None, where)


def _edge(config: Config, address: str | None) -> Served:
    where = Address.parse(address, "--edge-addr") if address else config.edge_address()
    app = traced(config.edge())
    if config.edge_is_blind():
        raise ConfigError(
            f"{config.source}: edge: cannot see a storage in the memory of another process; "
            "choose one that processes share"
        )
    storage = config.edge_driver()
    return Served(
        app,
        config.server_options(),
        None,
        config.log_options(),
        storage,
        where or DEFAULT_EDGE,
        traces=is_on(),
    )


def _listener(name: str, address: Address | SocketPath, option: str) -> tuple[socket.socket, bool]:
    """Return a listening socket, and whether systemd has given it."""
    given = systemd.listener(name)
    if given is None:
        return listen(address, option), False
    if given.family != socket.AF_UNIX:
        _prepare(given)
    return given, True


def listen(address: Address | SocketPath, option: str) -> socket.socket:
    """Return a listening socket.

    :param option: what sets the address, for the error.
    :raises ConfigError: for a taken port, one that needs privileges, an address of another machine, and for a
        path where no socket can be.
    """
    if isinstance(address, SocketPath):
        return _listen_at(address, option)
    host, port = address
    try:
        family, kind, protocol, _, name = original("socket", "getaddrinfo")(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _prepare(listener)
            listener.bind(name)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except UnicodeError:  # a name that no host can have, such as a..b
        raise ConfigError(
            f"cannot listen on {address}: {host!r} is not a host's name; see {option}"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"{address} is taken: stop what listens there, or choose another address with {option}"
            ) from None
        raise ConfigError(f"cannot listen on {address}: {error.strerror}; see {option}") from None
    return listener


def _listen_at(path: SocketPath, option: str) -> socket.socket:
    """Return a socket that listens at a path, in the place of one that nobody listens at any more."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_abandoned(path)
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"{path} is taken: stop what listens there, or choose another path with {option}"
            ) from None
        raise ConfigError(f"cannot listen at {path}: {error.strerror}; see {option}") from None
    return listener


def _remove_abandoned(path: str) -> None:
    """Remove the socket at *path* that a server which was killed has left."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            if stat.S_ISSOCK(os.stat(path).st_mode):  # the system refuses for any other file too
                os.unlink(path)
        except OSError:
            pass


def _prepare(listener: socket.socket) -> None:
    """Have the system notice clients that are gone without a word, and keep little for slow readers.

    Accepted connections inherit this.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with contextlib.suppress(OSError):  # where a connection is not TCP
        for option, value in _TCP_OPTIONS.items():
            if hasattr(socket, option):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
