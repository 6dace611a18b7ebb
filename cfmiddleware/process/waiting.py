"""Whether requests are greenlets, for which waiting costs nothing, or hold a thread each."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

T = TypeVar("T")

# What is done for so many items, such as to look at as many files, keeps the others waiting for no longer
# than a few milliseconds.
_IN_A_ROW = 32


class Signal(Protocol):
    """What many wait for, and one gives."""

    def set(self) -> None:
        """Give it: nobody waits any more."""

    def clear(self) -> None:
        """Take it back."""

    def is_set(self) -> bool:
        """Return whether it was given."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, and return whether it was given."""


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


def signal() -> Signal:
    """Return a new signal: gevent's own where requests are greenlets, which takes a tenth of the time."""
    if not waiting_is_free():
        return threading.Event()
    return cast("Signal", import_module("gevent.event").Event())


def let_others_go() -> None:
    """Let the other greenlets go on, each until it waits for something. Threads do so by themselves."""
    if waiting_is_free():
        import_module("gevent").sleep(0)


def in_turns(items: Iterable[T]) -> Iterator[T]:
    """Yield *items*, of which there may be a hundred thousand, and let others go on in between."""
    for number, item in enumerate(items, 1):
        if number % _IN_A_ROW == 0:
            let_others_go()
        yield item
