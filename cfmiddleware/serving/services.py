"""What the command serves: an app, where it listens, and how; checked before anything is forked."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, NamedTuple

from cfmiddleware.config import Config
from cfmiddleware.config.address import DEFAULT_EDGE, Address
from cfmiddleware.config.serveroptions import ServerOptions
from cfmiddleware.errors import ConfigError
from cfmiddleware.wsgi.accesslog import AccessLog

from .certificates import Certificates, certificates_of
from .storagecheck import check_storage

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import App

_BACKLOG = 2048


class Service(NamedTuple):
    """An app, where it listens, and how it is served.

    :param name: for the log and the process list.
    :param certificates: what connections are secured with, or None for plain HTTP.
    """

    name: str
    app: App
    socket: socket.socket
    options: ServerOptions
    certificates: Certificates | None = None

    @property
    def url(self) -> str:
        """The URL that a client on this machine uses."""
        host, port = self.socket.getsockname()[:2]
        return f"{'https' if self.certificates else 'http'}://{Address((host, port))}"


def registry_service(config: Config, address: str | None = None) -> Service:
    """Return the registry of *config*, wrapped, listening on *address* or on ``http.addr``.

    :raises ConfigError: for a configuration that cannot work, a storage that does not, a taken port.
    :raises StorageNotReached: for a storage that does not come while it is waited for.
    """
    where = config.address() if address is None else Address.parse(address, "--addr")
    app = config.app()
    if config.log_options().access:
        app = AccessLog(app, trustedproxies=config.trusted_proxies())
    certificates = certificates_of(config)
    check_storage(config)
    option = f"{config.source}: http.addr" if address is None else "--addr"
    return Service("registry", app, listen(where, option), config.server_options(), certificates)


def edge_service(config: Config, address: str | None = None) -> Service:
    """Return the edge of *config*, listening on *address* or on ``edge.addr``.

    :raises ConfigError: for a configuration that cannot work, a taken port.
    """
    where = Address.parse(address, "--edge-addr") if address else config.edge_address()
    app = config.edge()
    if config.edge_is_blind():
        raise ConfigError(
            f"{config.source}: edge: cannot see a storage in the memory of another process; "
            "choose one that processes share"
        )
    option = "--edge-addr" if address else f"{config.source}: edge.addr"
    return Service("edge", app, listen(where or DEFAULT_EDGE, option), config.server_options())


def listen(address: Address, option: str) -> socket.socket:
    """Return a listening socket.

    :param option: what sets the address, for the error.
    :raises ConfigError: for a taken port, one that needs privileges, an address of another machine.
    """
    host, port = address
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
