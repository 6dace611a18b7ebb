"""Many small waits at a time instead of one after the other, such as looks at a storage far away."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from cfmiddleware.process.cache import PerProcess

T = TypeVar("T")
R = TypeVar("R")


class SideBySide:
    """Runs a function over many values, a few of them at a time.

    Each process has threads of its own, which it starts when it needs them; under gevent they are greenlets.
    All callers share them, so a process never has more. The function must not use them itself.

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
                    waiting.append(self._threads().submit(function, value))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
