"""What collects the spans of a process and sends them. It is made after the fork, and emptied at the end."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.waiting import waiting_is_free
from cfmiddleware.version import __version__

from .loglines import ignore_clients, label_lines, shorten_lines
from .switch import has_provider
from .variables import SMALL_BATCH, wanted

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_log = logging.getLogger("cfmiddleware")

# Seconds that a process which ends has for its last spans.
_LAST = 3.0


def preload() -> None:
    """Load what the processes need that are forked from this one, without a thread or a connection."""
    if wanted().exporters:
        import_module("opentelemetry.sdk.trace.export")


def begin() -> Tracer | None:
    """Return what makes spans in this process, made at the first call; None where that failed."""
    return _TRACER()


def end() -> None:
    """Send the spans that this process still has, for a few seconds at the most."""
    provider = _PROVIDER.made()
    if provider is None:
        return
    # It waits for far longer where nobody answers.
    sender = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
    with contextlib.suppress(RuntimeError):  # of an interpreter that has ended already
        sender.start()
        sender.join(_LAST)


def _tracer() -> Tracer | None:
    try:
        from opentelemetry import trace

        if not has_provider():
            trace.set_tracer_provider(_PROVIDER())
        label_lines()
        ignore_clients()
        return trace.get_tracer("cfmiddleware", __version__)
    except Exception as error:  # noqa: BLE001 (whatever the SDK does not like, requests are answered)
        _log.warning("nothing is traced: OpenTelemetry: %s: %s", type(error).__name__, error)
        return None


def _provider() -> TracerProvider:
    """Return a provider as the variables ask for it."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    shorten_lines()
    # What is given here counts for more than the variables.
    attributes = {}
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        attributes = {"service.name": "cfmiddleware", "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    size = SMALL_BATCH if waiting_is_free() and "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" not in os.environ else None
    for name in wanted().exporters:
        exporter: Any = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name))).load()()
        if isinstance(exporter, ConsoleSpanExporter):
            provider.add_span_processor(SimpleSpanProcessor(exporter))
        else:
            provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=size))
    atexit.register(end)
    return provider


_PROVIDER: PerProcess[TracerProvider] = PerProcess(_provider)
_TRACER: PerProcess[Tracer | None] = PerProcess(_tracer)
