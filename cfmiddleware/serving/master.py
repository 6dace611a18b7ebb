"""gunicorn's master for one service, configured from here and from nowhere else."""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from cfmiddleware import logs
from cfmiddleware.errors import ConfigError
from cfmiddleware.metrics.cells import STATE

from .filelimit import raise_limit
from .services import Served, Service
from .shares import Shares
from .signals import ENDING
from .stderr import StderrHandler

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import App

_log = logging.getLogger("cfmiddleware")


#: The oldest gunicorn that the worker here can stand on: in older ones a body that breaks off may look whole.
#: Under a gunicorn that the operator starts, any that the extra ``server`` takes will do.
OLDEST = (27, 0)


# gunicorn counts the name and the end of a field's line with its value.
_NAME = 256


def check_gunicorn() -> None:
    """Check that gunicorn is installed, and new enough for the worker here.

    :raises ConfigError: if it is not.
    """
    try:
        import gevent  # noqa: F401
        import gunicorn
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; install cfmiddleware[server]") from None
    if gunicorn.version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise ConfigError(
            f"gunicorn {gunicorn.__version__} is too old for this command: install 'gunicorn>={wanted}', or "
            "start that one yourself: gunicorn -k gevent 'cfmiddleware.server:app(\"config.yml\")'"
        )


def serve(service: Service) -> None:
    """Run gunicorn's master for *service* in this process."""
    from gunicorn.app.base import BaseApplication

    descriptor = service.socket.detach()
    raise_limit()

    class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
        """gunicorn, configured from here and from nowhere else."""

        served = service.served

        def load_config(self) -> None:
            for name, value in _settings(service.name, descriptor, self.served).items():
                if name in self.cfg.settings and value is not None:
                    self.cfg.set(name, value)

        def load(self) -> App:
            return self.served.app

        def reload(self) -> None:
            """Read the configuration again. gunicorn then starts new workers, and lets the old ones end."""
            try:
                with logs.held_back() as messages, STATE.told_anew():
                    served = service.reread()
            except ConfigError as error:
                _log.error("the %s goes on with the configuration that it has: %s", service.name, error)
                return
            logs.replay(messages)
            if served.address != self.served.address:
                _log.warning(
                    "the %s listens on %s until it is started anew, not on %s",
                    service.name,
                    self.served.address,
                    served.address,
                )
            self.served = served._replace(address=self.served.address)
            self.do_load_config()
            _log.info("the %s has read its configuration, keys and certificates again", service.name)

    if service.served.storage is not None:
        service.served.storage.preload()
    os.register_at_fork(after_in_parent=_release_signals)
    Server().run()


def _settings(name: str, descriptor: int, served: Served) -> dict[str, Any]:
    """Return gunicorn's settings.

    :param name: the service's name.
    :param descriptor: the socket that listens.
    """
    from .worker import Worker

    shared = Shares()

    class ServiceWorker(Worker):
        """The worker of this service."""

        options = served.options
        certificates = served.certificates
        storage = served.storage
        health = served.health
        counts = served.counts
        traces = served.traces
        notifier = served.notifier
        chores = served.chores
        shares = shared

    tls = served.certificates.options if served.certificates else None
    return {
        # The worker speaks TLS; with these gunicorn says https.
        "certfile": str(tls.certificate) if tls else None,
        "keyfile": str(tls.key) if tls else None,
        "bind": f"fd://{descriptor}",
        "worker_class": ServiceWorker,
        "workers": served.options.workers,
        "graceful_timeout": served.options.gracefultimeout,
        # The worker has limits of its own for the line and for all of a head.
        "limit_request_line": 0,
        "limit_request_field_size": served.options.headersize + _NAME,
        # No header is believed to say where the app is mounted or how a request came: a proxy may pass on
        # what a client made up. The apps read X-Forwarded-Proto themselves.
        "forwarder_headers": "",
        # Whatever else is installed: nearly all heads are plain, and of the rest everybody is told the same.
        "http_parser": "python",
        "secure_scheme_headers": {},
        "proc_name": f"cfmiddleware {name}",
        # The apps have access logs of their own, which know more than gunicorn does.
        "accesslog": None,
        "logconfig_dict": logs.configuration(served.log, StderrHandler),
        "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: S108 (gunicorn's advice)
        # The control socket has one place for all; two gunicorns would share it.
        "control_socket_disable": True,
        "pre_fork": _hold_signals,
        # For one that was killed.
        "child_exit": lambda master, worker: shared.takes_none(worker.age),
        "when_ready": lambda master: _release_signals(),
    }


def _hold_signals(master: Any, worker: Any) -> None:
    """Hold a new worker's signals until it has its own handlers; gunicorn's hook ``pre_fork``.

    Until then a worker has the master's handlers, and Python forgets a signal that comes between the fork and
    its first step in the new process. The worker would miss the one SIGTERM that the master sends, and the
    master would wait for it for nothing. :meth:`Worker.init_signals` lets the signals in.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def _release_signals() -> None:
    """Let the signals in again in the master: when it has its handlers, and as soon as it has forked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
