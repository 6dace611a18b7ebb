"""What becomes of one request, as spans for OpenTelemetry.

It is set up by OpenTelemetry's own environment variables, and needs the extra ``tracing``. Whether it is on
is decided where parts are built: without it, no request meets any of it.

    from cfmiddleware.tracing import traced

    app = traced(CloudFrontMiddleware(app, ...))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .exporting import begin, end
    from .switch import is_on
    from .wrapping import traced

__all__ = ["begin", "end", "is_on", "traced"]

# Imported when they are first used: everything asks whether requests are traced, and few are.
_MODULES = {"begin": "exporting", "end": "exporting", "is_on": "switch", "traced": "wrapping"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
