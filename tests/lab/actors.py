"""Several processes over one storage, of which exactly one takes a step at a time, in virtual time.

An actor is a greenlet. Each operation of the storage is a step: the actor waits for its turn, and then does
it. A test says who goes on (a plan), or how long each step takes (a pace); so thousands of runs take seconds,
and each can be repeated. An actor may be killed between any two steps. Nothing of it runs after that, not
even what stands in a ``finally``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

import cfmiddleware.registry.collect.condemned
import cfmiddleware.registry.collect.lease
import cfmiddleware.registry.tags
import cfmiddleware.storage.memory
from cfmiddleware.process.sidebyside import SideBySide, in_turn

#: More steps than anything takes.
FOREVER = 1 << 30

#: Whose turn it is when time passes.
NOBODY = -1

#: How many seconds a step takes unless a pace says otherwise.
STEP = 0.01

# A run with more steps than this goes round in circles.
_MOST_STEPS = 100_000


class Killed(BaseException):
    """What an actor that was killed meets at its next step."""


class Actor:
    """A process.

    :param name: its name, which no other actor of the world has.
    :param work: what it does.
    :param skew: how many seconds the clock of its machine is ahead of the storage's.
    :ivar result: what the work has returned or raised.
    """

    def __init__(self, name: str, work: Callable[[], Any], skew: float = 0.0) -> None:
        self.name = name
        self.skew = skew
        #: How many steps it lives.
        self.life = FOREVER
        self.steps = 0
        self.wake = 0.0
        self.ended = False
        self.killed = False
        self.result: Any = None
        self._work = work
        self.thread = greenlet(self._run)

    def _run(self) -> None:
        try:
            self.result = self._work()
        except Killed as killed:
            self.result = killed
        except Exception as error:
            self.result = error
        self.ended = True


class World:
    """Actors, a clock, and whose turn it is.

    :param plan: who takes how many steps, by number, in order; where the number is :data:`NOBODY`, so many
        seconds pass. Then the one goes on whose step is due first.
    :param pace: returns how many seconds an actor's next step takes.
    :param one_machine: whether the actors see which of the others have ended.
    """

    def __init__(
        self,
        plan: Sequence[tuple[int, int]] = (),
        pace: Callable[[Actor], float] = lambda _: STEP,
        *,
        one_machine: bool = True,
    ) -> None:
        self.now = 1_000_000.0
        self.actors: list[Actor] = []
        self._plan = [list(part) for part in plan]
        self._pace = pace
        self._one_machine = one_machine
        self._current: Actor | None = None
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._hub = getcurrent()

    # What actors use

    def clock(self) -> float:
        """Return an actor's seconds, which count from a moment of its own."""
        return self.now + (self._current.skew * 1000 if self._current else 0.0)

    def wall(self) -> float:
        """Return the time of an actor's machine."""
        return self.now + (self._current.skew if self._current else 0.0)

    def step(self) -> None:
        """Wait for this actor's turn. The test itself never waits."""
        if self._current is not None:
            self._pause(self._pace(self._current))

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        if self._current is None:
            self.now += seconds
        else:
            self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        actor = self._current
        assert actor is not None
        if actor.killed:
            raise Killed
        actor.wake = self.now + seconds
        self._hub.switch()
        if actor.killed:
            raise Killed
        actor.steps += 1

    def process(self) -> str:
        """Return the name of the process that asks."""
        return self._current.name if self._current else "the test"

    def has_ended(self, name: str) -> bool:
        """Return whether a process is known to have ended."""
        return self._one_machine and any(actor.name == name and actor.ended for actor in self.actors)

    # What tests use

    def add(self, name: str, work: Callable[[], Any], skew: float = 0.0) -> Actor:
        """Add an actor."""
        actor = Actor(name, work, skew)
        actor.wake = self.now
        self.actors.append(actor)
        return actor

    def after(self, seconds: float, what: Callable[[], None]) -> Callable[[], None]:
        """Do something later that belongs to no actor. Return what calls it off, if it was not done yet."""
        entry = (self.now + seconds, what)
        self._later.append(entry)

        def call_off() -> None:
            if entry in self._later:
                self._later.remove(entry)

        return call_off

    def kill(self, actor: Actor) -> None:
        """End an actor as ``kill -9`` does."""
        if not actor.ended:
            actor.killed = True
            if actor.thread:  # it has begun
                self._switch(actor, kill=True)
            actor.ended = True

    def run(self, actors: Iterable[Actor] | None = None) -> None:
        """Run actors until each has ended; by default all of them."""
        wanted = list(self.actors if actors is None else actors)
        for _ in range(_MOST_STEPS):
            left = [actor for actor in wanted if not actor.ended]
            if not left:
                self._do_what_is_due(None)
                return
            actor = self._next(left)
            self._do_what_is_due(max(self.now, actor.wake))
            self.now = max(self.now, actor.wake)
            if actor.steps >= actor.life:
                self.kill(actor)
            else:
                self._switch(actor)
        raise AssertionError("it does not end")

    def _next(self, left: Sequence[Actor]) -> Actor:
        while self._plan:
            who, steps = self._plan[0]
            if who == NOBODY:
                self.now += steps
            elif steps > 0 and self.actors[who] in left:
                self._plan[0][1] -= 1
                return self.actors[who]
            self._plan.pop(0)
        return min(left, key=lambda actor: actor.wake)

    def _do_what_is_due(self, until: float | None) -> None:
        for entry in sorted(self._later, key=lambda entry: entry[0]):
            if until is None or entry[0] <= until:
                self._later.remove(entry)
                self.now = max(self.now, entry[0])
                entry[1]()

    def _switch(self, actor: Actor, *, kill: bool = False) -> None:
        self._hub, before = getcurrent(), self._hub
        self._current, was = actor, self._current
        try:
            if kill:
                actor.thread.throw(Killed())
            else:
                actor.thread.switch()
        finally:
            self._hub, self._current = before, was

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Make this world's time and processes those of the registry and of the storage in memory."""
        condemned, lease = cfmiddleware.registry.collect.condemned, cfmiddleware.registry.collect.lease
        for module in (condemned, lease):
            patch.setattr(module, "this_process", self.process)
            patch.setattr(module, "has_ended", self.has_ended)
        patch.setattr(cfmiddleware.storage.memory, "time", SimpleNamespace(time=lambda: self.now))
        patch.setattr(cfmiddleware.registry.tags, "time", SimpleNamespace(time=self.wall))


def one_thread(patch: pytest.MonkeyPatch) -> None:
    """Run what may be done side by side one after the other, in the actor that asks."""
    patch.setattr(SideBySide, "all", lambda self, *parts: in_turn(*parts))
    patch.setattr(SideBySide, "map", _map)


def _map(_: SideBySide, function: Callable[[Any], Any], values: Iterable[Any]) -> Any:
    return (function(value) for value in [*values])
