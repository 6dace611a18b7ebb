"""What one process keeps: a value of its own, and a bounded memory that its threads share.

A lock that a thread holds at a fork stays held in the child, which does not have that thread. A connection
that crosses a fork is read by two processes. So :class:`PerProcess` keeps whatever must not cross a fork.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from typing import Generic, TypeVar

from .processid import process_id

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class PerProcess(Generic[T]):
    """A value that each process makes for itself when it first asks.

    Safe to share between threads, which all get the same value, and to carry over a fork.

    :param make: makes the value. What it raises is passed on, and the next call tries again.
    """

    __slots__ = ("_held", "_locks", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._held: tuple[int, T] | None = None
        self._locks: dict[int, threading.Lock] = {}

    def value(self) -> T:
        """Return the value of this process."""
        held = self._held
        if held is None or held[0] != process_id():
            held = self._fill()
        return held[1]

    __call__ = value

    def made(self) -> T | None:
        """Return the value if this process has made it, else None."""
        held = self._held
        return held[1] if held is not None and held[0] == process_id() else None

    def _fill(self) -> tuple[int, T]:
        process = process_id()
        # Atomic, so that all threads of a new process take the same lock, and none that crossed the fork.
        with self._locks.setdefault(process, threading.Lock()):
            held = self._held
            if held is None or held[0] != process:
                held = self._held = (process, self._make())
        return held


class _Memory(Generic[K, V]):
    """The entries of one process. The lock is held for microseconds."""

    __slots__ = ("entries", "generation", "lock", "made", "making")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: OrderedDict[K, V] = OrderedDict()
        self.generation = object()  # another one after each `forget`
        self.making: dict[K, Future[V]] = {}
        self.made = 0


class Cache(Generic[K, V]):
    """Remembers values under keys. Beyond its size, it forgets the least recently used one, of those uses
    that came while more than half of its size was taken.

    Safe to share between threads. A forked process begins with an empty cache.

    :param size: how many values are remembered.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        own: PerProcess[_Memory[K, V]] = PerProcess(_Memory)
        self._own = own
        self._memory = own.value  # Python calls a method faster than an object
        # Until so many are remembered, nothing is about to be forgotten, and no order is kept.
        self._few = size // 2

    def __len__(self) -> int:
        return len(self._memory().entries)

    @property
    def made(self) -> int:
        """How many values :meth:`once` has made in this process."""
        return self._memory().made

    def get(self, key: K) -> V | None:
        """Return the value under *key*, or None."""
        # Without the lock, which costs more than the rest: each of the two steps is one call into C, and keys
        # are text, numbers and tuples of those, whose comparison runs no code of Python's.
        held = self._own._held  # as PerProcess.value does, in fewer calls
        if held is None or held[0] != process_id():
            held = self._own._fill()
        entries = held[1].entries
        value = entries.get(key)
        if value is not None and len(entries) > self._few:
            try:
                entries.move_to_end(key)
            except KeyError:  # another thread has forgotten it since
                return value
        return value

    def peek(self, key: K) -> V | None:
        """Return the value under *key*, or None, without counting that as a use."""
        return self._memory().entries.get(key)

    def generation(self) -> object:
        """Return an object that is another one after each :meth:`forget`.

        A caller that looks a value up elsewhere takes it before the look-up and gives it to :meth:`put`.
        """
        return self._memory().generation

    def is_generation(self, generation: object) -> bool:
        """Return whether *generation* is what :meth:`generation` returns now, or, in a process that has not
        used the cache since it was forked, what it returned in the other one.
        """
        held = self._own._held
        return held is not None and held[1].generation is generation

    def put(self, key: K, value: V, generation: object = None) -> None:
        """Remember *value* under *key*.

        :param generation: what :meth:`generation` returned before the value was looked up. If something was
            forgotten since, the value may be older than that, and it is not remembered.
        """
        memory = self._memory()
        with memory.lock:
            if generation is None or memory.generation is generation:
                self._store(memory, key, value)

    def once(self, key: K, make: Callable[[], V]) -> V:
        """Return the value under *key*; if there is none, let one thread make it while the others wait.

        :param make: makes the value. What it raises reaches every thread that waits, and nothing is
            remembered. If it raises a BaseException that is not an Exception, another thread tries.
        """
        memory = self._memory()
        while True:
            with memory.lock:
                value = memory.entries.get(key)
                if value is not None:
                    memory.entries.move_to_end(key)
                    return value
                waiting = memory.making.get(key)
                if waiting is None:
                    future = memory.making[key] = Future()
                    break
            try:
                return waiting.result()
            except CancelledError:
                continue  # the thread that was making it is being stopped; this one is not
        return self._make(memory, key, make, future)

    def forget(self, key: K) -> None:
        """Remember nothing under *key*, nor what is being looked up at this moment."""
        memory = self._memory()
        with memory.lock:
            memory.generation = object()
            memory.entries.pop(key, None)

    def _make(self, memory: _Memory[K, V], key: K, make: Callable[[], V], future: Future[V]) -> V:
        try:
            value = make()
        except BaseException as error:
            with memory.lock:
                del memory.making[key]
            if isinstance(error, Exception):
                future.set_exception(error)
            else:
                future.cancel()
            raise
        with memory.lock:
            memory.made += 1
            del memory.making[key]
            self._store(memory, key, value)
        future.set_result(value)
        return value

    def _store(self, memory: _Memory[K, V], key: K, value: V) -> None:
        memory.entries[key] = value
        memory.entries.move_to_end(key)
        if len(memory.entries) > self._size:
            memory.entries.popitem(last=False)
