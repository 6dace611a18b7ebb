"""Whether requests are traced. It is asked where parts are built, and not by requests."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from .variables import wanted

_log = logging.getLogger("cfmiddleware")


def is_on() -> bool:
    """Return whether spans go anywhere: the variables say so, or a program around this one has begun."""
    _drop_mistakes()
    asked = wanted()
    return not asked.mistakes and (bool(asked.exporters) or has_provider())


def has_provider() -> bool:
    """Return whether somebody has set up OpenTelemetry in this process."""
    api: Any = sys.modules.get("opentelemetry.trace")
    return api is not None and not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)


def say_why_off() -> None:
    """Say why nothing is traced, although the variables ask for it."""
    for mistake in wanted().mistakes:
        if mistake.stops:
            _log.warning("%s: %s; nothing is traced", mistake.name, mistake.said)


def _drop_mistakes() -> None:
    """Have a variable that cannot be used be as if it were not set: the SDK would end, or log a traceback."""
    for mistake in wanted().mistakes:
        if not mistake.stops:
            _log.warning("%s: %s; the default counts", mistake.name, mistake.said)
            os.environ.pop(mistake.name, None)
            if mistake.name == "OTEL_TRACES_SAMPLER_ARG":  # a sampler that needs one complains without it
                os.environ[mistake.name] = "1.0"
