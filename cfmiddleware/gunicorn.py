"""A configuration of gunicorn that wraps any app, without a line of the app's code:

    CFMIDDLEWARE_CONFIG=config.yml gunicorn -c python:cfmiddleware.gunicorn package.module:app

Each worker wraps the app that it has loaded, as the storage middleware ``cloudfront`` of the file says. A
configuration that cannot work ends gunicorn with one line before any worker starts. ``SIGHUP`` reads it anew;
if it does not work then, the one before it stays in force.

The settings are those that a registry needs. The command line, and ``GUNICORN_CMD_ARGS``, take their place
one by one. A configuration file of your own has all of it with ``from cfmiddleware.gunicorn import *``; if it
has a ``post_worker_init`` of its own, that one calls :func:`post_worker_init`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, NamedTuple

from .errors import ConfigError

__all__ = [
    "access_log_format",
    "forwarder_headers",
    "keepalive",
    "limit_request_field_size",
    "limit_request_line",
    "on_reload",
    "on_starting",
    "post_worker_init",
]

#: Names the file, relative to the directory that gunicorn runs in (``--chdir``).
VARIABLE = "CFMIDDLEWARE_CONFIG"

# Tokens with many scopes, and certificate chains, make an Authorization of up to 64 KiB.
limit_request_field_size = 65_792  # 64 KiB, and the field's name
# gunicorn's highest. With 0 there would be no limit at all.
limit_request_line = 8_190
# Balancers keep idle connections for 60 s. Where the server ends them first, requests are lost.
keepalive = 75
# gunicorn would take SCRIPT_NAME and PATH_INFO from these headers, past the rules of a proxy in front.
forwarder_headers = ""
# gunicorn's own without the query, which may hold a token or a signature. Nothing is logged before
# --access-logfile asks for it.
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(b)s "-" "%(a)s"'

#: Where an app keeps the one that it wraps.
_INNER = ("app", "wsgi_app", "application")
_DEEPEST = 20


class _Checked(NamedTuple):
    """A configuration that was read and found to work."""

    tree: dict[str, Any]
    source: str
    here: Path


def on_starting(server: Any) -> None:
    """Read the configuration before the first worker starts, and end gunicorn if it cannot work.

    :param server: gunicorn's arbiter.
    """
    try:
        asgi = sys.modules.get("gunicorn.workers.gasgi")
        if asgi is not None and issubclass(server.worker_class, asgi.ASGIWorker):
            raise _not_wsgi(server.worker_class)
        server.app.cfmiddleware = _read_apart()
    except ConfigError as error:
        print(error, file=sys.stderr, flush=True)
        if server.pidfile is not None:
            server.pidfile.unlink()
        raise SystemExit(server.APP_LOAD_ERROR) from None


def on_reload(server: Any) -> None:
    """Read the configuration anew for the next workers.

    :param server: gunicorn's arbiter.
    """
    try:
        server.app.cfmiddleware = _read_apart()
    except ConfigError as error:
        server.log.error("%s; the configuration before it stays in force", error)


def post_worker_init(worker: Any) -> None:
    """Wrap the app that *worker* has loaded. An app that is behind the wrapper already stays as it is.

    gunicorn ends, with one line, where the app cannot be wrapped.

    :param worker: gunicorn's worker, of any class that serves WSGI.
    """
    # Not before: gevent's workers have to patch the standard library first.
    from . import logs
    from .config import Config
    from .server import refuse, watched
    from .wsgi import gunicornlines

    logs.to_stderr()
    gunicornlines.clean()
    try:
        app = getattr(worker, "wsgi", None)
        if app is None or iscoroutinefunction(app) or iscoroutinefunction(type(app).__call__):
            raise _not_wsgi(type(worker))
        # It is missing where a file of the operator's has only this hook.
        checked: _Checked = getattr(worker.app, "cfmiddleware", None) or _read()
        if _is_wrapped(app):
            worker.log.warning("cfmiddleware.gunicorn: the app is wrapped already, and is not wrapped again")
        else:
            config = Config(*checked)
            worker.wsgi = watched(config, config.surrounded(app))
            if config.notifier is not None:
                config.notifier.start()  # what waits may be older than this server, and clients may be gone
    except ConfigError as error:
        refuse(error)


def _not_wsgi(worker_class: type) -> ConfigError:
    return ConfigError(
        f"cfmiddleware.gunicorn: wraps WSGI apps, and the worker {worker_class.__name__} serves none"
    )


def _is_wrapped(app: Any) -> bool:
    """Return whether the wrapper is in the app, as far as what surrounds it can be looked through."""
    from .middleware.wrapper import CloudFrontMiddleware

    for _ in range(_DEEPEST):
        if app is None or isinstance(app, CloudFrontMiddleware):
            break
        app = next((inner for name in _INNER if (inner := getattr(app, name, None)) is not None), None)
    return isinstance(app, CloudFrontMiddleware)


def _read() -> _Checked:
    """Read the configuration, and see that an app can be wrapped with it.

    :raises ConfigError: if it cannot.
    """
    from .config import Config
    from .config.tree import load_tree

    name = os.environ.get(VARIABLE)
    if not name:
        raise ConfigError(
            f"{VARIABLE}: is not set; it must name the config.yml whose middleware 'cloudfront' wraps the app"
        )
    checked = _Checked(load_tree(name, os.environ), name, Path(name).resolve().parent)
    Config(*checked).wrap(_no_app)
    return checked


def _no_app(environ: Any, start_response: Any) -> Any:
    raise NotImplementedError


def _read_apart() -> _Checked:
    """Call :func:`_read` in a process of its own.

    The master must not import what gevent's workers patch later, and keeps nothing of what it looked at.
    """
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(sink)
    os.close(sink)
    with open(source, "rb") as stream:
        sent = stream.read()
    # Older versions of gunicorn wait for whatever ends, in their handler of SIGCHLD.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    if not sent:
        raise ConfigError(f"{os.environ.get(VARIABLE)}: the process that read it was ended")
    found: _Checked | str = pickle.loads(sent)  # noqa: S301 (of our own process)
    if isinstance(found, str):
        raise ConfigError(found)
    return found


def _answer(sink: int) -> None:
    """Send what :func:`_read` returns, or its error's text, and end the process."""
    import logging

    # The workers say all of it again.
    logging.disable()
    try:
        found: _Checked | str = _read()
    except ConfigError as error:
        found = str(error)
    except BaseException as error:  # noqa: BLE001 (no caller is left that could handle it)
        found = f"{os.environ.get(VARIABLE)}: cannot be read: {error!r}"
    try:
        with open(sink, "wb") as stream:
            stream.write(pickle.dumps(found))
    finally:
        os._exit(0)
