"""What a spool takes, what it gives, and what the one who delivers asks of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class SpoolError(Exception):
    """The spool cannot be read or written; the text says why."""


class Entry(NamedTuple):
    """An event that is to be added.

    :param endpoint: the name of the endpoint that it is for.
    :param repository: the repository that it is about.
    :param action: what has happened.
    :param body: its JSON.
    """

    endpoint: str
    repository: str
    action: str
    body: str


class Waiting(NamedTuple):
    """An event in the spool.

    :param seq: its place: an event that was added later has a higher one.
    :param endpoint: the name of the endpoint that it is for.
    :param repository: the repository that it is about.
    :param action: what has happened.
    :param since: from when on its age counts, in Unix seconds.
    :param attempts: how often it was sent in vain.
    :param error: why the last time.
    :param is_dead: whether it is a dead letter.
    :param body: its JSON.
    """

    seq: int
    endpoint: str
    repository: str
    action: str
    since: float
    attempts: int
    error: str
    is_dead: bool
    body: str


class Turn(Protocol):
    """The right to deliver, which one process has at a time."""

    def is_held(self) -> bool:
        """Return whether this process still has it. It asks nobody."""

    def renew(self) -> None:
        """Say that the process still delivers, if it is time to."""

    def give_up(self) -> None:
        """Let another process deliver."""


class EventSpool(Protocol):
    """Where events are kept until their endpoints have taken them.

    Safe to share between threads and to carry over a fork: nothing is open before it is used.
    """

    #: How often a process that waits for its turn asks for it, in seconds.
    takeover: float

    #: Where it is, for people.
    place: str

    def check(self) -> None:
        """See that the spool can be used.

        :raises ConfigError: if it cannot be used.
        """

    def exists(self) -> bool:
        """Return whether there is one."""

    def add(self, entries: Sequence[Entry]) -> list[Entry]:
        """Add events in their order, and return those for which there was no room.

        It returns when they can no longer get lost. Events that are added at the same time become one step.

        :raises SpoolError: if none of them could be added.
        """

    def is_full(self) -> bool:
        """Return whether there is no room for an event, as of the last seconds.

        :raises SpoolError: if that cannot be found out.
        """

    def turn(self, endpoints: Sequence[str]) -> Turn | None:
        """Return the right to deliver, or None while another process has it.

        :param endpoints: the names of those that events are delivered to.
        """

    def newest(self) -> int:
        """Return the place of the newest event, or 0 if that is not known."""

    def waiting(
        self, endpoint: str, held: Sequence[str] = (), limit: int = 100, after: int = 0
    ) -> list[Waiting]:
        """Return the first events that wait for an endpoint.

        :param held: repositories whose events are passed over.
        :param after: the place that they come after; no other is looked at.
        """

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return how many events wait and how many are dead letters, for each endpoint that has any."""

    def delivered(self, seq: int) -> None:
        """Remove an event that its endpoint has taken."""

    def failed(self, seq: int, error: str) -> None:
        """Note that an event was sent in vain."""

    def bury(self, seq: int, error: str) -> int:
        """Make an event a dead letter, and return how many older ones were removed to make room."""

    def all(self, endpoint: str | None = None) -> Iterator[Waiting]:
        """Yield the events, those that wait and the dead letters, of one endpoint or of all."""

    def resend(self, seq: int) -> bool:
        """Have a dead letter sent again, and return whether it was one."""

    def drop(self, seq: int) -> bool:
        """Remove an event, and return whether that was done."""
