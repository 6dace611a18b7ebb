"""A collection and a request that take turns, step by step, as a plan says: exactly one of them runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from lab.collecting import VirtualClock

#: What of a driver is a step.
OPERATIONS = ("stat", "read", "open", "list", "walk", "write", "create", "compose", "delete", "writer")

FOREVER = 1 << 30


class Relay:
    """Gives the turn from one of two threads to the other.

    :param plan: who takes how many steps, in order; then whoever is left.
    """

    def __init__(self, plan: Sequence[tuple[int, int]]) -> None:
        self._plan = [list(part) for part in plan]
        self._condition = threading.Condition()
        self._running = {0, 1}
        self._me = threading.local()
        self.steps = [0, 0]
        self.clock = VirtualClock()

    @property
    def _turn(self) -> int:
        while self._plan and (self._plan[0][1] <= 0 or self._plan[0][0] not in self._running):
            self._plan.pop(0)
        return self._plan[0][0] if self._plan else min(self._running)

    def step(self) -> None:
        """Wait for this thread's turn, and use it."""
        who = getattr(self._me, "number", None)
        if who is None:
            return
        with self._condition:
            assert self._condition.wait_for(lambda: self._turn == who, timeout=20)
            if self._plan:
                self._plan[0][1] -= 1
            self.steps[who] += 1
            self.clock.now += 0.01
            self._condition.notify_all()

    def sleep(self, seconds: float) -> None:
        """Sleep: the other one may run in the middle. A request that waits lets the collection end."""
        self.clock.sleep(seconds / 2)
        if getattr(self._me, "number", None) == 1:
            with self._condition:
                self._plan.insert(0, [0, FOREVER])
                self._condition.notify_all()
        self.step()
        self.clock.sleep(seconds / 2)

    def run(self, parts: Sequence[Callable[[], object]]) -> list[Any]:
        """Run both to their ends, and return what they returned or raised."""
        results: list[Any] = [None, None]

        def work(number: int) -> None:
            self._me.number = number
            try:
                results[number] = parts[number]()
            except BaseException as error:
                results[number] = error
            finally:
                with self._condition:
                    self._running.discard(number)
                    self._condition.notify_all()

        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return results


class SteppedStorage:
    """A driver whose every operation is a step."""

    def __init__(self, inner: Any, relay: Relay) -> None:
        self._inner = inner
        self._relay = relay

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name not in OPERATIONS:
            return attribute

        def operation(*arguments: Any, **options: Any) -> Any:
            self._relay.step()
            result = attribute(*arguments, **options)
            return list(result) if name == "walk" else result

        return operation
