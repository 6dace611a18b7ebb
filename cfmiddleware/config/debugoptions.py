"""The section ``http.debug`` of a configuration (Distribution, "debug")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

from .address import Address

_TAKEN = ("/debug/health", "/debug/ready")


def _path(value: object, name: str) -> str:
    text = parse.text(value, name)
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or set(text) & set(" ?#%"):
        raise ConfigError(f"{name}: {text!r} is not a path; write it like /metrics")
    if text in _TAKEN:
        raise ConfigError(f"{name}: {text!r} is the path of something else; write it like /metrics")
    return text


@dataclass(frozen=True)
class PrometheusOptions:
    """The metrics.

    :param enabled: whether they are counted and served. It needs the extra ``metrics``.
    :param path: where the debug listener serves them.
    """

    enabled: bool = False
    path: str = "/metrics"

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"enabled": parse.boolean, "path": _path}


@dataclass(frozen=True)
class DebugOptions:
    """The debug listener.

    :param addr: where ``cfmiddleware serve`` answers ``/debug/health``, ``/debug/ready`` and what
        *prometheus* asks for; without it, nowhere. It asks nobody for a credential.
    :param prometheus: the metrics.
    """

    addr: Address | None = None
    prometheus: PrometheusOptions = field(default_factory=PrometheusOptions, metadata={"form": "section"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"addr": Address.parse, "prometheus": parse.section}


def read_debug(section: Mapping[str, Any]) -> DebugOptions:
    """Return the options of the section.

    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    given = dict(section)
    metrics = parse.section(given.pop("prometheus", None), "http.debug.prometheus")
    return parse.options(
        DebugOptions,
        given,
        "http.debug",
        prometheus=parse.options(PrometheusOptions, metrics, "http.debug.prometheus"),
    )
