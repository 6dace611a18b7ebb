"""What Prometheus gets: the counts of all processes, added up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from math import isnan
from typing import Any

from .cells import STATE, VARIABLE, abandoned, turn_on
from .kinds import LatestGauge
from .names import STORAGE_CACHE


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Be the WSGI app that Prometheus asks. It is for the operator's own network, and asks for no credential.

    It answers with what the processes that share the directory have counted, and with what apps have counted
    with prometheus_client's multiprocess mode there. In a process that counts nothing itself, the directory
    is the one that ``PROMETHEUS_MULTIPROC_DIR`` names.
    """
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        start_response("405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Length", "0")])
        return [b""]
    if STATE.directory is None and os.environ.get(VARIABLE):
        with contextlib.suppress(ImportError, OSError):
            turn_on()
    if STATE.directory is None:
        text = b"metrics are off: http.debug.prometheus.enabled, or cfmiddleware.metrics.turn_on()\n"
        start_response(
            "503 Service Unavailable", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))]
        )
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else text]
    client: Any = import_module("prometheus_client")
    expose: Callable[..., Iterable[bytes]] = client.make_wsgi_app(registry())
    # It knows no HEAD, and no server that leaves out an empty path.
    body = expose({"PATH_INFO": "", **environ, "REQUEST_METHOD": "GET"}, start_response)
    return [b""] if environ["REQUEST_METHOD"] == "HEAD" else body


def registry() -> Any:
    """Return a registry of prometheus_client that reads the counts of all processes.

    :raises ImportError: if prometheus_client is not installed.
    """
    client: Any = import_module("prometheus_client")
    multiprocess: Any = import_module("prometheus_client.multiprocess")
    assert STATE.directory is not None  # noqa: S101 (the caller turned metrics on)
    abandoned(STATE.directory)
    found = client.CollectorRegistry(auto_describe=False)
    found.register(_Collector(multiprocess.MultiProcessCollector(None, path=str(STATE.directory))))
    return found


class _Collector:
    """What all processes counted, and what follows from it.

    Distribution counts the questions to its cache, and what became of them, under other names in its version
    3 than in 2.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def collect(self) -> Iterable[Any]:
        """Yield every metric."""
        for metric in self._inner.collect():
            if STATE.metrics.get(metric.name, STORAGE_CACHE).kind == LatestGauge.kind:
                # What is gone is not shown.
                metric.samples = [sample for sample in metric.samples if not isnan(sample.value)]
            if metric.name != STORAGE_CACHE.name:
                yield metric
                continue
            found = {sample.labels["type"]: sample.value for sample in metric.samples}
            asked = found["Request"] = found.get("Hit", 0.0) + found.get("Miss", 0.0)
            metric.samples = []
            for kind, value in found.items():
                metric.add_sample(f"{metric.name}_total", {"type": kind}, value)
            yield metric
            named = (("requests", asked), ("hits", found.get("Hit")), ("errors", found.get("Error")))
            for name, value in named:
                counter = type(metric)(f"{metric.name}_{name}", f"{metric.name}, type {name}.", "counter")
                counter.add_sample(f"{counter.name}_total", {}, value or 0.0)
                yield counter
