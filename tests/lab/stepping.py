"""Two requests at the same time, made to take their steps in every order there is."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from lab.examples import tried


class Turns:
    """Lets two threads take one step at a time, in an order that is given beforehand.

    :param order: whose turn it is, 0 or 1, step by step; when it is used up, 0 goes first.
    """

    def __init__(self, order: Sequence[int] = ()) -> None:
        self._condition = threading.Condition()
        self._order = list(order)
        self._running = {0, 1}
        self._busy = False
        self._me = threading.local()
        self.taken: list[tuple[int, str]] = []

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Wait for this thread's turn, and keep it while the block runs.

        Threads that are not of the two never wait.
        """
        who = getattr(self._me, "number", None)
        if who is None:
            yield
            return
        with self._condition:
            assert self._condition.wait_for(lambda: self._next() == who and not self._busy, timeout=10)
            self._busy = True
            self.taken.append((who, what))
        try:
            yield
        finally:
            with self._condition:
                self._busy = False
                if self._order:
                    self._order.pop(0)
                self._condition.notify_all()

    def run(self, requests: Sequence[Callable[[], int]]) -> list[int]:
        """Run the two requests to their ends and return what they returned."""
        results = [0, 0]

        def work(number: int) -> None:
            self._me.number = number
            try:
                results[number] = requests[number]()
            finally:
                with self._condition:
                    self._running.discard(number)
                    self._condition.notify_all()

        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return results

    def _next(self) -> int:
        while self._order and self._order[0] not in self._running:
            self._order.pop(0)
        return self._order[0] if self._order else min(self._running)


class Stepped:
    """An object some of whose methods wait for the turn of the thread that calls them, and keep it meanwhile.

    :param named: the methods.
    :param after: whether they wait for another turn before they return.
    """

    def __init__(self, inner: Any, named: Sequence[str], *, after: bool = True) -> None:
        self._inner = inner
        self._named = named
        self._after = after
        self.turns: Turns | None = None

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name not in self._named or self.turns is None:
            return attribute
        turns = self.turns

        def operation(*args: Any, **options: Any) -> Any:
            try:
                with turns.step(name):
                    return attribute(*args, **options)
            finally:
                if self._after:
                    with turns.step(f"after {name}"):
                        pass

        return operation


def orders(first: int, second: int) -> Iterator[tuple[int, ...]]:
    """Yield orders of so many steps of 0 and so many of 1.

    With hypothesis' profile `ci` these are all that there are. Otherwise, of more than a hundred, they are a
    fifth, always the same.
    """
    every = list(combinations(range(first + second), second))
    if len(every) > 100:
        every = random.Random(0).sample(every, max(100, tried(len(every))))
    for places in every:
        yield tuple(int(place in places) for place in range(first + second))
