"""Many small waits at a time instead of one after the other, such as looks at a storage far away."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

from cfmiddleware.process.cache import PerProcess

T = TypeVar("T")
R = TypeVar("R")


class SideBySide:
    """Runs a function over many values, a few of them at a time.

    Each process has threads of its own, which it starts when it needs them; under gevent they are greenlets.
    All callers share them, so a process never has more. The function must not use them itself. It has the
    caller's context variables, such as the span that it belongs to.

    :param most: how many threads a process has.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._threads = PerProcess(lambda: ThreadPoolExecutor(most, thread_name_prefix="side-by-side"))

    def map(self, function: Callable[[T], R], values: Iterable[T]) -> Generator[R, None, None]:
        """Yield what *function* returns for each of the *values*, in their order.

        At most twice as many as there are threads are begun beyond what the caller has taken. A caller that
        stops early closes the iterator: then none that waits is begun.

        :raises Exception: what the function raises, in the place of that value.
        """
        left = iter(values)
        waiting: deque[Future[R]] = deque()
        try:
            while True:
                for value in islice(left, 2 * self._most - len(waiting)):
                    waiting.append(self._threads().submit(copy_context().run, function, value))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def all(self, *parts: Callable[[], object]) -> None:
        """Run the *parts*, and return when every one that was begun has ended.

        The calling thread runs the first, and then each of the others that no thread has begun by then, so
        that nobody waits for threads that others keep busy. After a failure no further part is begun.

        :raises Exception: the error of the first of the parts, in their order, that failed.
        """
        futures = [self._threads().submit(copy_context().run, part) for part in parts[1:]]
        errors: list[BaseException] = []
        for part, future in zip(parts, (None, *futures), strict=False):
            try:
                if future is None:
                    part()
                elif not future.cancel():
                    future.result()
                elif not errors:
                    part()
            except BaseException as error:  # noqa: BLE001 (raised when the others have ended)
                errors.append(error)
        if errors:
            raise errors[0]


def in_turn(*parts: Callable[[], object]) -> None:
    """Run the *parts* one after the other, as :meth:`SideBySide.all` where nothing waits."""
    for part in parts:
        part()
