"""What the one process that delivers knows of the spool in a bucket."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from cfmiddleware.errors import ObjectNotFound

from .bucketstate import PLACES, Place, State, unpack
from .bucketturn import BucketTurn
from .entries import Entry, SpoolError, Waiting
from .objects import numbers

if TYPE_CHECKING:
    from .bucketspool import BucketSpool

_log = logging.getLogger("cfmiddleware")

# Events of one endpoint that are read, at the most, before the first of them is delivered.
_WINDOW = 1_000
_LONGEST_WINDOW = 16 << 20  # characters

# The share of the room that dead letters may take.
_OF_DEAD = 0.5

# Seconds between two notes of how far the endpoints are: what was delivered since is sent again by another
# process if this one is killed.
_NOTE = 1.0

# Seconds between two looks for what other processes have added: at first, and when nothing comes.
_LOOKS = (0.5, 5.0)

# Seconds between two counts of what lies there.
_COUNT = 60.0

# How many steps are remembered, for endpoints that are about as far as each other.
_REMEMBERED = 16
_SHORT = 1 << 18  # bytes; longer ones are read again


class _Line:
    """How far one endpoint is.

    :param read: the last step of which events were read.
    """

    def __init__(self, read: int) -> None:
        self.read = read
        self.waits: OrderedDict[int, Waiting] = OrderedDict()

    def done(self) -> int:
        """Return up to which step everything is delivered."""
        return next(iter(self.waits)) // PLACES - 1 if self.waits else self.read

    def is_full(self) -> bool:
        """Return whether no more is to be read while what was read is held up."""
        return (
            len(self.waits) >= _WINDOW
            or sum(len(each.body) for each in self.waits.values()) >= _LONGEST_WINDOW
        )

    def place(self) -> Place:
        """Return what the state says of it."""
        tried = {seq: (each.attempts, each.error) for seq, each in self.waits.items() if each.attempts}
        return Place(self.read, frozenset(self.waits), tried)


class BucketQueue:
    """The events that wait, while this process has the right to deliver them.

    :param spool: where they are.
    :param turn: the right.
    :param endpoints: the names of those that they are delivered to. What waits for others becomes dead
        letters.
    """

    def __init__(self, spool: BucketSpool, turn: BucketTurn, endpoints: Sequence[str]) -> None:
        self._spool = spool
        self._objects = spool.objects
        self._turn = turn
        self._endpoints = frozenset(endpoints)
        self._lock = threading.RLock()
        state = spool.state()
        self._done = state.done
        self._last = state.done
        self._sizes: deque[int] = deque()  # of the steps after `_done`
        self._dead: dict[int, tuple[int, str]] = {}  # their sizes and endpoints
        self._counted = float("-inf")
        self._noted = spool.clock()
        self._is_noted = True
        self._next_look, self._pause = 0.0, _LOOKS[0]
        self._delivered: list[int] = []  # steps that are to be deleted
        self._steps: OrderedDict[int, list[Waiting]] = OrderedDict()
        self._lines = {name: _Line(state.done) for name in self._endpoints.difference(state.endpoints)}
        for name, place in state.endpoints.items():
            line = self._lines[name] = _Line(place.read)
            for number in sorted({seq // PLACES for seq in place.left}):
                for event in self._step(number) or ():
                    if event.seq in place.left and event.endpoint == name:
                        line.waits[event.seq] = state.with_attempts(event)
        self._count()

    # The right

    def is_held(self) -> bool:
        """Return whether this process still delivers. It asks nobody."""
        return self._turn.is_held()

    def renew(self) -> None:
        """Say that the process still delivers, if it is time to, and note how far it is.

        :raises StorageError: if that cannot be said.
        """
        self._turn.renew()
        with self._lock:
            self._rest()

    def give_up(self) -> None:
        """Note how far everything is, and let another process deliver.

        :raises StorageError: if that cannot be said; the others then wait for a while.
        """
        with self._lock:
            if self.is_held():
                self._note()
        self._turn.give_up()

    # What waits

    def waiting(self, endpoint: str, held: Sequence[str], limit: int) -> list[Waiting]:
        """Return the first events that wait for an endpoint, but not those of the repositories *held*."""
        with self._lock:
            self._rest()
            line = self._lines[endpoint]
            while True:
                found = list(
                    islice((each for each in line.waits.values() if each.repository not in held), limit)
                )
                if found or line.is_full() or not self._read_on(line, endpoint):
                    break
            if not found:
                self._note()
            return found

    def delivered(self, seq: int) -> None:
        """Forget an event that its endpoint has taken."""
        with self._lock:
            line = self._line_of(seq)
            if line is not None:
                del line.waits[seq]
                self._is_noted = False
            self._rest()

    def failed(self, seq: int, error: str) -> None:
        """Note that an event was sent in vain."""
        with self._lock:
            line = self._line_of(seq)
            if line is not None:
                event = line.waits[seq]
                line.waits[seq] = event._replace(attempts=event.attempts + 1, error=error)
                self._is_noted = False
            self._rest()

    def bury(self, seq: int, error: str) -> int:
        """Make an event a dead letter, and return how many older ones were removed to make room."""
        with self._lock:
            line = self._line_of(seq)
            if line is None:
                return 0
            event = line.waits[seq]
            event = event._replace(attempts=event.attempts + 1, error=error, is_dead=True)
            content = json.dumps(event._asdict()).encode()
            self._objects.write(self._spool.dead_path(seq), content)
            self._dead[seq] = (len(content), event.endpoint)
            del line.waits[seq]
            self._is_noted = False
            older: list[int] = []
            for number in sorted(self._dead):
                if self._dead_size() <= self._spool.maxbytes * _OF_DEAD:
                    break
                del self._dead[number]
                older.append(number)
            if older:
                self._objects.delete([self._spool.dead_path(number) for number in older])
            self._rest()
            return len(older)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return about how many events wait for each endpoint, and how many dead letters there are.

        A step that was not read counts as one event.
        """
        with self._lock:
            found = {
                name: (len(line.waits) + max(0, self._last - line.read), 0)
                for name, line in self._lines.items()
            }
            for _, name in self._dead.values():
                waits, dead = found.get(name, (0, 0))
                found[name] = (waits, dead + 1)
            return {name: counts for name, counts in found.items() if any(counts)}

    # What is behind

    def _line_of(self, seq: int) -> _Line | None:
        return next((line for line in self._lines.values() if seq in line.waits), None)

    def _read_on(self, line: _Line, endpoint: str) -> bool:
        """Read the next step for an endpoint, and return whether there is one."""
        number = line.read + 1
        if number > self._last:
            now = self._spool.clock()
            if now < self._next_look and self._spool.newest_step() < number:
                return False
            events = self._step(number)
            if events is None:
                self._next_look = now + self._pause
                self._pause = min(2 * self._pause, _LOOKS[1])
                return False
            self._pause = _LOOKS[0]
        else:
            events = self._step(number) or []
        line.read = number
        for event in events:
            if event.endpoint == endpoint:
                line.waits[event.seq] = event
        self._is_noted = False
        return True

    def _step(self, number: int) -> list[Waiting] | None:
        """Return what was added in a step, or None if there is no such step."""
        known = self._steps.get(number)
        if known is not None:
            return known
        content = self._spool.content(number)
        if content is None:
            return None
        if number == self._last + 1:
            self._last = number
            self._sizes.append(len(content))
        try:
            events = list(unpack(content, number))
        except SpoolError as error:
            _log.error("notifications: %s; it is passed over", error)
            events = []
        for name in {event.endpoint for event in events}.difference(self._lines):
            self._lines[name] = _Line(number - 1)  # it was disabled or removed meanwhile
        if len(content) <= _SHORT:
            self._steps[number] = events
        if len(self._steps) > _REMEMBERED:
            self._steps.popitem(last=False)
        return events

    def _rest(self) -> None:
        """Do what is due."""
        now = self._spool.clock()
        if now - self._noted >= _NOTE:
            self._noted = now
            self._bury_what_nobody_gets()
            self._note()
        if now - self._counted >= max(_COUNT, len(self._sizes) / 100):
            self._count()

    def _bury_what_nobody_gets(self) -> None:
        """Make dead letters of what waits for endpoints that are disabled or gone, a step at a time."""
        for name in set(self._lines).difference(self._endpoints):
            line = self._lines[name]
            for seq in list(line.waits):
                self.bury(seq, "its endpoint is disabled or no longer in the configuration")
            if line.read < self._last:
                self._read_on(line, name)
            elif not line.waits:
                del self._lines[name]
                self._is_noted = False

    def _note(self) -> None:
        """Write how far the endpoints are, and delete what they all have."""
        if self._is_noted or not self.is_held():
            return
        done = min([line.done() for line in self._lines.values()], default=self._last)
        self._write_state(max(done, self._done))
        if self._delivered:
            self._objects.delete([self._spool.path(number) for number in self._delivered])
            self._delivered.clear()

    def _write_state(self, done: int) -> None:
        passed = done - self._done
        kept = list(islice(self._sizes, passed, None))
        size = sum(kept) + self._dead_size()
        places = {name: line.place() for name, line in self._lines.items()}
        state = State(done, self._last, size, places)
        self._objects.write(f"{self._spool.prefix}state", state.text())
        self._delivered += range(self._done + 1, done + 1)
        self._sizes, self._done, self._is_noted = deque(kept), done, True

    def _count(self) -> None:
        """Look what lies there, and take what somebody added where everything was delivered already."""
        self._counted = self._spool.clock()
        self._count_dead_letters()
        sizes: dict[int, int] = {}
        for path, stat in self._objects.walk(f"{self._spool.prefix}queue/"):
            for number in numbers([path]):
                sizes[number] = stat.size
        late = [number for number in sizes if number <= self._done and number not in self._delivered]
        self._last = max([self._last, *sizes])
        self._sizes = deque(sizes.get(number, 0) for number in range(self._done + 1, self._last + 1))
        for number in sorted(late):
            self._take_again(number)
        self._is_noted = False

    def _count_dead_letters(self) -> None:
        found: dict[int, tuple[int, str]] = {}
        for path, stat in self._objects.walk(f"{self._spool.prefix}dead/"):
            name = path.rpartition("/")[2]
            if name.isdecimal():
                known = self._dead.get(int(name))
                with contextlib.suppress(ObjectNotFound, SpoolError):
                    endpoint = known[1] if known is not None else self._spool.dead_letter(path).endpoint
                    found[int(name)] = (stat.size, endpoint)
        self._dead = found

    def _dead_size(self) -> int:
        return sum(size for size, _ in self._dead.values())

    def _take_again(self, number: int) -> None:
        content = self._spool.content(number)
        if content is not None:
            events = list(unpack(content, number))
            if events:
                entries = [Entry(each.endpoint, each.repository, each.action, each.body) for each in events]
                self._spool.append(entries, events[0].since)
            self._objects.delete([self._spool.path(number)])
