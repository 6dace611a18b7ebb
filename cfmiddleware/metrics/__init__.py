"""Metrics: what is counted, and how Prometheus reads it.

Everything above may count; while metrics are off, counting does nothing. ``cfmiddleware serve`` and the other
doors turn them on where ``http.debug.prometheus.enabled`` says so. An app that is wrapped by hand turns them
on itself::

    from cfmiddleware import metrics

    metrics.turn_on("/run/registry/metrics")    # a directory that all workers of the server share

    app = metrics.Counted(CloudFrontMiddleware(app, ...))

and serves :func:`app` at a path or a port of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cells import turn_on
    from .exposition import app
    from .httpcount import Counted

__all__ = ["Counted", "app", "turn_on"]

# Imported when they are first used: everything counts, and few processes serve what is counted.
_MODULES = {"Counted": "httpcount", "app": "exposition", "turn_on": "cells"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
