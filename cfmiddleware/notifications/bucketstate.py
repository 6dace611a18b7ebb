"""What the objects of the spool in a bucket say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .entries import Entry, SpoolError, Waiting

#: An event's number is that of its step, and its place in it.
PLACES = 10_000


class Place(NamedTuple):
    """How far an endpoint is.

    :param read: the last step of which events were read.
    :param left: the numbers of those that still wait.
    :param tried: of those, how often each was sent in vain, and why the last time.
    """

    read: int
    left: frozenset[int] = frozenset()
    tried: Mapping[int, tuple[int, str]] = {}


@dataclass(frozen=True)
class State:
    """What the process that delivers has written last.

    :param done: up to this number, steps are delivered and may be deleted.
    :param last: up to this number, steps were counted.
    :param size: in bytes, what they and the dead letters take.
    :param endpoints: how far each endpoint is.
    """

    done: int = 0
    last: int = 0
    size: int = 0
    endpoints: Mapping[str, Place] = field(default_factory=dict)

    @classmethod
    def read(cls, content: bytes) -> State:
        """Read what :meth:`text` returned.

        :raises SpoolError: for what is something else.
        """
        try:
            told = json.loads(content)
            places = {
                str(name): Place(
                    int(each["read"]),
                    frozenset(each["left"]),
                    {int(seq): (int(times), str(why)) for seq, (times, why) in each["tried"].items()},
                )
                for name, each in told["endpoints"].items()
            }
            return cls(int(told["done"]), int(told["last"]), int(told["size"]), places)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SpoolError("the object 'state' is not of this spool") from None

    def text(self) -> bytes:
        """Return the state as JSON."""
        places = {
            name: {"read": place.read, "left": sorted(place.left), "tried": dict(place.tried)}
            for name, place in self.endpoints.items()
        }
        told = {"done": self.done, "last": self.last, "size": self.size, "endpoints": places}
        return json.dumps(told, separators=(",", ":")).encode()

    def waits(self, event: Waiting) -> bool:
        """Return whether an event was not delivered by then."""
        place = self.endpoints.get(event.endpoint)
        return place is None or event.seq // PLACES > place.read or event.seq in place.left

    def with_attempts(self, event: Waiting) -> Waiting:
        """Return an event with how often it was sent in vain."""
        place = self.endpoints.get(event.endpoint)
        if place is None or event.seq not in place.tried:
            return event
        attempts, error = place.tried[event.seq]
        return event._replace(attempts=attempts, error=error)


def pack(entries: Sequence[Entry], since: float) -> bytes:
    """Return what is added in one step.

    :param since: from when on the age of the events counts.
    """
    bodies: dict[str, int] = {}
    events = [
        (each.endpoint, each.repository, each.action, bodies.setdefault(each.body, len(bodies)))
        for each in entries
    ]
    told = {"since": since, "events": events, "bodies": list(bodies)}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def unpack(content: bytes, number: int) -> Iterator[Waiting]:
    """Yield the events of one step.

    :param number: the step's.
    :raises SpoolError: for what :func:`pack` has not returned.
    """
    try:
        told: Any = json.loads(content)
        for place, (endpoint, repository, action, body) in enumerate(told["events"]):
            seq, since = number * PLACES + place, float(told["since"])
            yield Waiting(seq, endpoint, repository, action, since, 0, "", False, told["bodies"][body])
    except (ValueError, KeyError, TypeError, IndexError):
        raise SpoolError(f"the object {number} of 'queue/' is not of this spool") from None
