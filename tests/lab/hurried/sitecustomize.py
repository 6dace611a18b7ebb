"""Makes every Python process that has this folder in `PYTHONPATH` collect in a hurry, over a slow storage.

What takes seconds takes tenths of them, so that minutes show what takes days otherwise; and requests to the
storage wait now and then, for longer than a collection takes. `HURRIED_WITHOUT` takes a part out that
prevents losses, to see that they are noticed.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import random
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

# How many of a thousand requests to the storage wait, and for how many seconds at the most.
_WAITING = 60
_LONGEST = 1.5

_SETTLE, _LOOK = 0.8, 0.2


def _hurry(module: Any) -> None:
    module.SETTLE, module.LOOK = _SETTLE, _LOOK
    module._BEFORE, module._APART = _SETTLE - _LOOK, 2 * _SETTLE - _LOOK
    module.LATE, module._POLL, module._PATIENCE = 3.0, 0.1, 8.0
    without = os.environ.get("HURRIED_WITHOUT", "")
    if without == "looks":
        module.Condemned.settled = lambda self, lines, since: True
    if without == "waits":
        module.Condemned._wait = lambda self, lines: None
        module.Condemned.mend = lambda self, lines, make: make()
    if without == "announcements":
        announce = module.Condemned.announce

        def at_once(self: Any, lines: Any) -> Any:
            sleep, self.sleep = self.sleep, lambda seconds: None
            try:
                return announce(self, lines)
            finally:
                self.sleep = sleep

        module.Condemned.announce = at_once


def _hurry_leases(module: Any) -> None:
    module._RENEW, module._FREE = 0.5, 2.0  # so that it is lost again and again


def _hurry_collectors(module: Any) -> None:
    if os.environ.get("HURRIED_WITHOUT") == "second look":
        module.Collector._survey_again = lambda self, survey: survey


def _wait_now_and_then(module: Any) -> None:
    for name in ("stat", "read", "write", "create", "list", "delete"):
        setattr(module.S3Driver, name, _waiting(getattr(module.S3Driver, name)))


def _waiting(operation: Callable[..., Any]) -> Callable[..., Any]:
    import time

    def waits(*arguments: Any, **options: Any) -> Any:
        if random.randrange(1000) < _WAITING:
            time.sleep(random.random() * _LONGEST)
        return operation(*arguments, **options)

    return waits


_CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "cfmiddleware.registry.collect.condemned": _hurry,
    "cfmiddleware.registry.collect.lease": _hurry_leases,
    "cfmiddleware.registry.collect.collector": _hurry_collectors,
    "cfmiddleware.storage.s3.s3driver": _wait_now_and_then,
}


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module and changes it. Nothing is imported before its time, such as what gevent replaces."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _CHANGES[module.__name__](module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Changed(name, spec.origin)
        return spec


sys.meta_path.insert(0, _Finder())
