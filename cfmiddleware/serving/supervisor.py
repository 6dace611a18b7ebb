"""Several apps served by one command: a gunicorn for each, started together, ended together.

The command's own process binds the ports, so that a taken one is told in one line before anything starts,
forks a gunicorn for each app, and waits. It has no threads and no connections when it forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cfmiddleware import logs
from cfmiddleware.config import Config
from cfmiddleware.config.address import DEFAULT_EDGE, Address
from cfmiddleware.config.serveroptions import ServerOptions
from cfmiddleware.errors import ConfigError
from cfmiddleware.logs import LogOptions
from cfmiddleware.wsgi.accesslog import AccessLog

from .allocator import give_back_large_blocks
from .certificates import Certificates, certificates_of

if TYPE_CHECKING:
    from types import FrameType

    from cfmiddleware.wsgi.types import App

_PR_SET_PDEATHSIG = 1
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
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
        """The address as a client of this machine would write it."""
        host, port = self.socket.getsockname()[:2]
        return f"{'https' if self.certificates else 'http'}://{Address((host, port))}"


def check_gunicorn() -> None:
    """See that there is a gunicorn to serve with.

    :raises ConfigError: where it is not installed.
    """
    try:
        import gunicorn  # noqa: F401
    except ImportError:
        raise ConfigError("gunicorn is not installed; install cfmiddleware[server]") from None


def registry_service(config: Config, address: str | None = None) -> Service:
    """Return the registry of *config*, wrapped, listening on *address* or on ``http.addr``.

    :raises ConfigError: for a configuration that cannot work, a storage that does not, a taken port.
    """
    where = config.address() if address is None else Address.parse(address, "--addr")
    app = config.app()
    if config.log_options().access:
        app = AccessLog(app, trustedproxies=config.trusted_proxies())
    certificates = certificates_of(config)
    _check_storage(config)
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
            "choose filesystem or s3"
        )
    option = "--edge-addr" if address else f"{config.source}: edge.addr"
    return Service("edge", app, listen(where or DEFAULT_EDGE, option), config.server_options())


def _check_storage(config: Config) -> None:
    """See that the storage can be used, in a process of its own: no connection is to be there at the fork.

    :raises ConfigError: with what that process found.
    """
    driver, command = config.driver(), os.getpid()
    source, sink = os.pipe()
    with _signals_held():
        pid = os.fork()
    if pid == 0:
        _let_signals_end_this()
        message = ""
        try:
            _die_with_parent(command)
            driver.check()
        except ConfigError as error:
            message = str(error)
        except Exception as error:  # noqa: BLE001 (there is nobody above to raise it to)
            message = f"the storage cannot be used: {error}"
        finally:
            with contextlib.suppress(OSError):  # there is nobody to be told
                os.write(sink, message.encode()[:4096])  # less than a pipe holds
            os._exit(0)
    os.close(sink)
    with open(source, encoding="utf-8", errors="replace") as stream:
        message = stream.read()
    _, outcome = os.waitpid(pid, 0)
    if not message and os.WIFSIGNALED(outcome):
        message = f"the storage's check was ended by signal {os.WTERMSIG(outcome)}"
    if message:
        raise ConfigError(f"{config.source}: {message}")


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
    except UnicodeError:  # a host's name that cannot be one, such as a..b
        raise ConfigError(f"cannot listen on {address}: {host!r} is no host's name; see {option}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"{address} is taken: stop what listens there, or choose another address with {option}"
            ) from None
        raise ConfigError(f"cannot listen on {address}: {error.strerror}; see {option}") from None
    return listener


def ending_well(serve: Callable[[], int]) -> int:
    """Do what starts servers and calls :func:`run`, and return the exit status.

    A signal that comes before the servers run ends the command as one that comes later does.
    """
    for number in _ending():
        signal.signal(number, signal.default_int_handler)
    try:
        return serve()
    except KeyboardInterrupt:
        return 0


def run(services: Sequence[Service], log: LogOptions) -> int:
    """Serve until a signal comes or one of the services ends, and return the exit status.

    :param log: how the servers log.
    """
    children: dict[int, str] = {}
    told: list[int] = []

    def tell(number: int, frame: FrameType | None) -> None:
        told.append(number)
        # The first signal lets requests under way end; who is in a hurry sends another.
        _signal_all(children, signal.SIGTERM if len(told) == 1 else signal.SIGINT)

    command = os.getpid()
    with _signals_held():
        for service in services:
            pid = os.fork()
            if pid == 0:
                others = [other for other in services if other is not service]
                _serve_in_child(service, others, log, command)
            children[pid] = service.name
        for number in _ending():
            signal.signal(number, tell)
    for service in services:
        service.socket.close()

    status = 0
    while children:
        pid, outcome = os.wait()
        name = children.pop(pid, None)
        if name is not None and not told:
            print(f"cfmiddleware: the {name} has stopped by itself; stopping the rest", file=sys.stderr)
            status = os.waitstatus_to_exitcode(outcome) or 1
            told.append(0)
            _signal_all(children, signal.SIGTERM)
    return 0 if status == 0 else 1


def _ending() -> list[signal.Signals]:
    """Return the signals that end the command: not a SIGHUP that ``nohup`` has it ignore."""
    return [
        number
        for number in _ENDING
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Keep the signals that end a process until the block is left.

    A signal that comes while a process forks is dealt with in one of the functions that Python calls around
    the fork, where the exception that it raises is told and forgotten: the Ctrl-C would be lost.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _let_signals_end_this() -> None:
    """End :func:`_signals_held` in a child, where a signal ends the process at once."""
    for number in _ending():
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _signal_all(children: Mapping[int, str], number: int) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):  # waited for, but not yet taken off the list
            os.kill(pid, number)


def _serve_in_child(service: Service, others: Sequence[Service], log: LogOptions, command: int) -> None:
    """Be the gunicorn of one service; never returns.

    :param command: the process of the command.
    """
    status = 1
    try:
        # A process group of its own, so that Ctrl-C reaches the command alone, which then ends its children
        # in order; and no life without the command, even if that is killed.
        os.setpgid(0, 0)
        # One that came before that was the command's, which sends a SIGTERM for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _let_signals_end_this()
        _die_with_parent(command)
        for other in others:
            other.socket.close()
        give_back_large_blocks()
        _gunicorn(service, log)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except Exception as error:  # noqa: BLE001 (there is nobody above to raise it to)
        print(f"cfmiddleware: the {service.name} could not be started: {error!r}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _die_with_parent(parent: int) -> None:
    """Ask the kernel for a SIGTERM when the parent dies. Where there is no such thing, do without."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it was asked for
        sys.exit(1)


def _gunicorn(service: Service, log: LogOptions) -> None:
    """Run gunicorn's master for *service* in this process."""
    from gunicorn.app.base import BaseApplication

    from .worker import Worker

    settings = {
        "bind": f"fd://{service.socket.fileno()}",
        "worker_class": Worker,
        "workers": service.options.workers,
        "threads": service.options.threads,
        "worker_connections": 1000 + service.options.threads,
        "graceful_timeout": service.options.gracefultimeout,
        "keepalive": 30,
        "proc_name": f"cfmiddleware {service.name}",
        # The apps have access logs of their own, which know more than gunicorn does.
        "accesslog": None,
        "logconfig_dict": logs.configuration(log),
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: S108 (gunicorn's advice)
        # The control socket has one place for all; two gunicorns would share it.
        "control_socket_disable": True,
        "pre_fork": _hold_signals,
    }
    certificates = service.certificates
    if certificates is not None:
        settings["certfile"] = str(certificates.options.certificate)  # with which gunicorn turns TLS on
        settings["keyfile"] = str(certificates.options.key)
        settings["ssl_context"] = lambda conf, default: certificates.context()

    class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
        """gunicorn, configured from here and from nowhere else."""

        def load_config(self) -> None:
            for name, value in settings.items():
                if name in self.cfg.settings and value is not None:
                    self.cfg.set(name, value)

        def load(self) -> App:
            return service.app

    os.register_at_fork(after_in_parent=_release_signals)
    Server().run()


def _hold_signals(master: Any, worker: Any) -> None:
    """Keep a new worker's signals until it can act on them; gunicorn's hook ``pre_fork``.

    Python forgets what reaches a process between the fork and its own first step in it, and a worker has the
    master's handlers until it sets its own. It would miss the one SIGTERM that the master sends, and be
    waited for in vain. The worker lets them in when it has its handlers.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


def _release_signals() -> None:
    """End :func:`_hold_signals` in the master, as soon as it has forked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
