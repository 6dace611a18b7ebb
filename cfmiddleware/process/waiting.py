"""Whether requests are greenlets, for which waiting costs nothing, or hold a thread each."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def waiting_is_free() -> bool:
    """Return whether a request that waits keeps no other waiting: sockets and locks are gevent's here."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


def original(module: str, name: str) -> Any:
    """Return a function as Python has it, where gevent has put its own in its place.

    gevent's may start a thread, such as for the look-up of a name, which a process that is to fork must not
    have: a signal that reaches the thread wakes nobody.
    """
    monkey = sys.modules.get("gevent.monkey")
    return getattr(import_module(module), name) if monkey is None else monkey.get_original(module, name)
