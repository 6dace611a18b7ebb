"""Serve container images through CloudFront: a WSGI wrapper, a registry and a local edge.

The names are imported when they are first used: an app that is wrapped needs neither the registry nor YAML.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .config import Config
    from .edge import Edge
    from .errors import ConfigError
    from .middleware.wrapper import CloudFrontMiddleware
    from .registry.app import Registry
    from .wsgi.accesslog import AccessLog

__all__ = ["AccessLog", "CloudFrontMiddleware", "Config", "ConfigError", "Edge", "Registry", "__version__"]

_MODULES = {
    "AccessLog": "wsgi.accesslog",
    "CloudFrontMiddleware": "middleware.wrapper",
    "Config": "config",
    "ConfigError": "errors",
    "Edge": "edge",
    "Registry": "registry.app",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
