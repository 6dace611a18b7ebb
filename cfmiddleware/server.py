"""Factories of the apps for gunicorn, or any other WSGI server:

    gunicorn --worker-class gevent 'cfmiddleware.server:app("config.yml")'

A configuration error ends gunicorn with one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from . import logs, metrics, tracing
from .config import Config
from .errors import ConfigError
from .health.board import Board
from .health.debugapp import DebugApp
from .wsgi import gunicornlines

if TYPE_CHECKING:
    from .edge import Edge
    from .wsgi.types import App

_Part = TypeVar("_Part")


def app(config: str | os.PathLike[str] = "config.yml") -> App:
    """Return the registry of a configuration file, behind the CloudFront wrapper if the file has one.

    :param config: the file's path.
    """
    return _built(config, _app)


def registry(config: str | os.PathLike[str] = "config.yml") -> App:
    """Return the registry of a configuration file without the wrapper."""
    return _built(config, _registry)


def edge(config: str | os.PathLike[str] = "config.yml") -> Edge:
    """Return the edge of a configuration file."""
    return _built(config, Config.edge)


def _app(config: Config) -> App:
    config.warn_of_what_serve_does()
    return watched(config, config.app())


def _registry(config: Config) -> App:
    config.warn_of_what_serve_does()
    return config.with_headers(config.registry())


def debug(config: str | os.PathLike[str] = "config.yml") -> App:
    """Return an app with ``/debug/health``, ``/debug/ready`` and the metrics of a configuration file.

    It checks by itself what the section ``health`` names, because it may run in another server than the
    registry.
    """
    return _built(config, _debug)


def _debug(config: Config) -> App:
    health = config.health(Board())
    assert health is not None  # noqa: S101 (with a board there is one)
    config.turn_on_metrics()
    prometheus = config.settings.http.debug.prometheus
    return DebugApp(health.report, {prometheus.path: metrics.app} if prometheus.enabled else {})


def watched(config: Config, app: App) -> App:
    """Return *app*, whose requests are counted and traced as far as that is asked for."""
    app = tracing.traced(app, config.trusted_proxies())
    return metrics.Counted(app) if config.turn_on_metrics() else app


def refuse(error: ConfigError) -> NoReturn:
    """End gunicorn with the error's one line if gunicorn called the factory. Raise the error otherwise.

    gunicorn prints a traceback for every exception of a factory. It starts a new worker for each one that
    ends, again and again, unless the worker ends with the status of an app that failed to load.
    """
    arbiter = sys.modules.get("gunicorn.arbiter")
    if arbiter is None:
        raise error from None
    print(error, file=sys.stderr, flush=True)
    raise SystemExit(arbiter.Arbiter.APP_LOAD_ERROR)


def _built(config: str | os.PathLike[str], build: Callable[[Config], _Part]) -> _Part:
    logs.to_stderr()
    gunicornlines.clean()
    try:
        return build(Config.load(config))
    except ConfigError as error:
        refuse(error)
