"""How long a storage takes for each action, by Distribution's names of them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

from cfmiddleware.metrics.names import STORAGE_SECONDS

from .driver import Driver

# What Distribution calls what a driver does.
_ACTIONS = {
    "read": "GetContent",
    "write": "PutContent",
    "create": "PutContent",
    "open": "Reader",
    "writer": "Writer",
    "stat": "Stat",
    "list": "List",
    "compose": "Move",
    "delete": "Delete",
    "delete_prefix": "Delete",
}


def timed(driver: Driver) -> Driver:
    """Return *driver*, whose actions are timed for Prometheus."""
    return cast("Driver", _Timed(driver))


class _Timed:
    """A driver in front of another one, with the same attributes."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        # Those that every request asks for.
        self.in_bucket = driver.in_bucket
        self.key = driver.key
        for method, action in _ACTIONS.items():
            setattr(self, method, _timed(getattr(driver, method), driver.name, action))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def _timed(call: Callable[..., Any], driver: str, action: str) -> Callable[..., Any]:
    seconds = STORAGE_SECONDS.of(driver, action)

    def act(*given: Any, **named: Any) -> Any:
        began = perf_counter()
        try:
            return call(*given, **named)
        finally:
            seconds.observe(perf_counter() - began)

    return act
