"""The section ``metrics`` of a configuration, which Distribution does not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cfmiddleware import parse


@dataclass(frozen=True)
class MetricsOptions:
    """What is counted besides what is always counted.

    :param repositories: the repositories whose pulls have a metric of their own,
        ``cfmiddleware_repository_pulls_total``. ``*`` stands for any letters: ``team/*``. Each repository is
        a time series, which Prometheus keeps.
    """

    repositories: tuple[str, ...] = ()

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"repositories": parse.words}


def read_metrics(section: Mapping[str, Any]) -> MetricsOptions:
    """Return the options of the section.

    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    return parse.options(MetricsOptions, section, "metrics")
