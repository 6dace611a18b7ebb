"""From an app to one whose requests are traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exporting import preload
from .switch import is_on, say_why_off

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import App


def traced(app: App, trustedproxies: int = 0) -> App:
    """Return *app* with a span for each request, or as it is where nothing is to be traced.

    A mistake in OpenTelemetry's variables is a line of the log, and nothing else.

    :param app: the app, and whatever wraps it.
    :param trustedproxies: how many proxies in front append to ``X-Forwarded-For``.
    """
    if not is_on():
        say_why_off()
        return app
    # Not before: it imports OpenTelemetry.
    from .requestspan import Traced

    preload()
    return Traced(app, trustedproxies)
