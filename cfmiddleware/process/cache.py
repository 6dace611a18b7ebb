"""What one process remembers: a bounded mapping that threads share and a fork leaves empty."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Memory(Generic[K, V]):
    """The memory of one process. The lock is held for microseconds."""

    __slots__ = ("entries", "forgotten", "lock", "process")

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.entries: OrderedDict[K, V] = OrderedDict()
        self.forgotten = object()  # another one whenever something is forgotten


class Remembered(Generic[K, V]):
    """Remembers values under keys; of too many, the least recently used is forgotten first.

    Safe to share between threads. A process that was forked begins with nothing: the lock may have been held
    by a thread that it does not have.

    :param size: how many values are remembered at the most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._memory: _Memory[K, V] = _Memory()

    def __len__(self) -> int:
        return len(self._own().entries)

    def get(self, key: K) -> V | None:
        """Return what is remembered under *key*, or None."""
        memory = self._own()
        with memory.lock:
            value = memory.entries.get(key)
            if value is not None:
                memory.entries.move_to_end(key)
            return value

    def ticket(self) -> object:
        """Return what :meth:`put` must be given where something may be forgotten between looking a value up
        and remembering it; taken before it is looked up.
        """
        return self._own().forgotten

    def put(self, key: K, value: V, ticket: object = None) -> None:
        """Remember *value*; with a *ticket*, unless something was forgotten since: it may be older."""
        memory = self._own()
        with memory.lock:
            if ticket is not None and memory.forgotten is not ticket:
                return
            memory.entries[key] = value
            memory.entries.move_to_end(key)
            if len(memory.entries) > self._size:
                memory.entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Remember nothing under *key*, nor what is being looked up at this moment."""
        memory = self._own()
        with memory.lock:
            memory.forgotten = object()
            memory.entries.pop(key, None)

    def _own(self) -> _Memory[K, V]:
        memory = self._memory
        if memory.process != os.getpid():
            memory = self._memory = _Memory()
        return memory
