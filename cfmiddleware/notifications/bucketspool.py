"""The spool in the registry's own storage, for machines without a disk of their own.

::

    queue/<n>    what one process added in one step: the numbers have no gaps
    dead/<n>     a dead letter
    state        how far each endpoint is, written by the one process that delivers
    lease/<n>    which process that is, see bucketturn.py

Whoever adds creates the next number. Of many who try the same one wins, so the numbers are the order in which
events were kept, on all machines. Those that are delivered are deleted from the lowest on, and ``state`` says
before that up to where. Who creates a number that was deleted already reads that in ``state``, and takes a
higher one before its request is answered.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence

from cfmiddleware.errors import ObjectExists, ObjectNotFound, StorageError
from cfmiddleware.process.cache import PerProcess

from .batches import Batches
from .bucketqueue import BucketQueue
from .bucketstate import State, pack, unpack
from .bucketturn import BucketTurn
from .entries import Entry, SpoolError, Waiting
from .objects import Objects, numbered

# The most events and bytes of one step.
_MOST_EVENTS = 1_000
_MOST_BYTES = 4 << 20

# The share of the room that pulls may take: there are many of them, and none has changed anything.
_OF_PULLS = 0.9

# The share of the room above which it is looked at anew how much is taken.
_MANY = 0.8

# After how many numbers that others took the next free one is searched for.
_STEPS = 3


class BucketSpool:
    """The events of a registry, in its storage.

    :param objects: the storage, which all processes share.
    :param prefix: where events lie in it; ends in a slash.
    :param maxbytes: how much it holds at the most, more or less.
    :param place: where that is, for people.
    :param clock: seconds that never go backwards.
    """

    #: How often a process that waits for its turn asks for it: each time is a request.
    takeover = 10.0

    def __init__(
        self,
        objects: Objects,
        prefix: str,
        maxbytes: int = 1 << 30,
        place: str = "the storage",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.objects = objects
        self.prefix = prefix
        self.maxbytes = maxbytes
        self.place = place
        self.clock = clock
        self._adder = PerProcess(lambda: _Adder(self))
        self._turn = PerProcess(lambda: BucketTurn(objects, f"{prefix}lease/", clock))
        self._queue: BucketQueue | None = None

    def check(self) -> None:
        """See that the spool can be used; the storage itself is checked elsewhere."""

    def exists(self) -> bool:
        """Return whether there is one: it needs no making."""
        return True

    def path(self, number: int) -> str:
        """Return where what was added in a step lies."""
        return numbered(f"{self.prefix}queue/", number)

    def dead_path(self, seq: int) -> str:
        """Return where a dead letter lies."""
        return f"{self.prefix}dead/{seq:020d}"

    def state(self) -> State:
        """Return how far each endpoint is."""
        try:
            return State.read(self.objects.read(f"{self.prefix}state"))
        except ObjectNotFound:
            return State()

    # For those who add

    def add(self, entries: Sequence[Entry]) -> list[Entry]:
        """Add events in their order, and return those for which there was no room.

        It returns when they are in the storage. Events that are added at the same time become one object.

        :raises SpoolError: if none of them could be added.
        """
        return self._adder().batches.add(entries)

    def is_full(self) -> bool:
        """Return whether there is no room for an event, as of the last second.

        :raises SpoolError: if it cannot be read.
        """
        with _told():
            return self._adder().used() >= self.maxbytes

    # For the one who delivers

    def turn(self, endpoints: Sequence[str]) -> BucketQueue | None:
        """Return the right to deliver, or None while another process has it.

        :raises SpoolError: if that cannot be found out.
        """
        self._queue = None
        with _told():
            turn = self._turn()
            if not turn.take():
                return None
            try:
                self._queue = BucketQueue(self, turn, endpoints)
            except BaseException:
                with contextlib.suppress(StorageError):
                    turn.give_up()  # or the next try would wait until nobody has said anything for long
                raise
            return self._queue

    def newest(self) -> int:
        """Return 0: nobody knows what others have added last."""
        return 0

    def newest_step(self) -> int:
        """Return the highest number that this process knows of."""
        adder = self._adder.made()
        return adder.next - 1 if adder is not None else 0

    def append(self, entries: Sequence[Entry], since: float | None = None) -> None:
        """Add events whatever room there is: they have been in the spool already.

        :param since: from when on their age counts; now, unless it is given.
        """
        self._adder().append(entries, since)

    def waiting(
        self, endpoint: str, held: Sequence[str] = (), limit: int = 100, after: int = 0
    ) -> list[Waiting]:
        """Return the first events that wait for an endpoint.

        :param held: repositories whose events are passed over.
        :param after: the place that they come after.
        """
        with _told():
            return self._held().waiting(endpoint, held, limit)

    def delivered(self, seq: int) -> None:
        """Remove an event that its endpoint has taken."""
        with _told():
            self._held().delivered(seq)

    def failed(self, seq: int, error: str) -> None:
        """Note that an event was sent in vain."""
        with _told():
            self._held().failed(seq, error)

    def bury(self, seq: int, error: str) -> int:
        """Make an event a dead letter, and return how many older ones were removed to make room."""
        with _told():
            return self._held().bury(seq, error)

    def _held(self) -> BucketQueue:
        if self._queue is None or not self._queue.is_held():
            raise SpoolError("another process delivers now")
        return self._queue

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return how many events wait and how many are dead letters, for each endpoint that has any.

        The one who delivers has not read all that waits, and counts that by its size.
        """
        with _told():
            if self._queue is not None:
                return self._queue.counts()
        found: dict[str, tuple[int, int]] = {}
        for event in self.all():
            waits, dead = found.get(event.endpoint, (0, 0))
            found[event.endpoint] = (waits + (not event.is_dead), dead + event.is_dead)
        return found

    # For the operator

    def all(self, endpoint: str | None = None) -> Iterator[Waiting]:
        """Yield the events, those that wait and the dead letters, of one endpoint or of all."""
        with _told():
            state = self.state()
            number = state.done
            while (content := self.content(number := number + 1)) is not None:
                for event in unpack(content, number):
                    if endpoint in (None, event.endpoint) and state.waits(event):
                        yield state.with_attempts(event)
            for name in self.objects.list(f"{self.prefix}dead/"):
                with contextlib.suppress(ObjectNotFound):
                    event = self.dead_letter(f"{self.prefix}dead/{name}")
                    if endpoint in (None, event.endpoint):
                        yield event

    def content(self, number: int) -> bytes | None:
        """Return what was added in a step, or None if there is no such step."""
        try:
            return self.objects.read(self.path(number))
        except ObjectNotFound:
            return None

    def dead_letter(self, path: str) -> Waiting:
        """Return the dead letter of an object.

        :raises ObjectNotFound: when it is gone.
        :raises SpoolError: for an object that is none.
        """
        try:
            return Waiting(**json.loads(self.objects.read(path)))
        except (ValueError, TypeError):
            raise SpoolError(f"{path} is not a dead letter") from None

    def resend(self, seq: int) -> bool:
        """Have a dead letter sent again, after all that waits, and return whether it was one."""
        with _told():
            try:
                dead = self.dead_letter(self.dead_path(seq))
            except ObjectNotFound:
                return False
            self.append([Entry(dead.endpoint, dead.repository, dead.action, dead.body)])
            self.objects.delete([self.dead_path(seq)])
            return True

    def drop(self, seq: int) -> bool:
        """Remove a dead letter, and return whether it was one. What waits is not removed."""
        with _told():
            try:
                self.objects.stat(self.dead_path(seq))
            except ObjectNotFound:
                return False
            self.objects.delete([self.dead_path(seq)])
            return True


class _Adder:
    """What one process adds with, one step at a time."""

    def __init__(self, spool: BucketSpool) -> None:
        self._spool = spool
        self.next = 0
        self._state = State()
        self._looked = float("-inf")
        self._mean = 0.0  # bytes of a step
        self.batches: Batches[Entry] = Batches(self._write)

    def used(self) -> float:
        """Return how much the events take, in bytes, as of the last second if there are many.

        The one who delivers counts them now and then; what was added since is taken for as large as what
        this process adds.
        """
        used = self._guess()
        if used > self._spool.maxbytes * _MANY and self._spool.clock() - self._looked > 1.0:
            self._look()
            used = self._guess()
        return used

    def _guess(self) -> float:
        return self._state.size + max(0, self.next - 1 - self._state.last) * self._mean

    def _look(self) -> State:
        self._state = self._spool.state()
        self._looked = self._spool.clock()
        return self._state

    def _write(self, entries: Sequence[Entry]) -> list[Entry]:
        with _told():
            used, most = self.used(), self._spool.maxbytes
            kept: list[Entry] = []
            refused: list[Entry] = []
            for entry in entries:
                used += len(entry.body)
                is_pull = entry.action == "pull"
                (refused if used > (most * _OF_PULLS if is_pull else most) else kept).append(entry)
            self.append(kept)
            return refused

    def append(self, entries: Sequence[Entry], since: float | None = None) -> None:
        """Add events in steps of a bounded size."""
        part: list[Entry] = []
        size = 0
        for entry in entries:
            if part and (len(part) == _MOST_EVENTS or size + len(entry.body) > _MOST_BYTES):
                self._create(pack(part, since or time.time()))
                part, size = [], 0
            part.append(entry)
            size += len(entry.body)
        if part:
            self._create(pack(part, since or time.time()))

    def _create(self, content: bytes) -> None:
        spool = self._spool
        number = self.next or self._look().done + 1
        taken = 0
        while True:
            try:
                spool.objects.create(spool.path(number), content)
            except ObjectExists:
                taken += 1
                number = number + 1 if taken < _STEPS else self._free_after(number)
                continue
            done = self._look().done
            if number > done:
                break
            # It was there before, and what came after it may be delivered already.
            spool.objects.delete([spool.path(number)])
            number = done + 1
        self.next = number + 1
        self._mean = len(content) if not self._mean else 0.9 * self._mean + 0.1 * len(content)

    def _free_after(self, taken: int) -> int:
        """Return the first number that is free, in a few steps however many are taken."""
        step = 1
        while self._is_there(taken + step):
            taken, step = taken + step, 2 * step
        low, high = taken, taken + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._is_there(middle) else (low, middle)
        return high

    def _is_there(self, number: int) -> bool:
        try:
            self._spool.objects.stat(self._spool.path(number))
        except ObjectNotFound:
            return False
        return True


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Make an error of the storage one of the spool."""
    try:
        yield
    except StorageError as error:
        raise SpoolError(str(error)) from None
