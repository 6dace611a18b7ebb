"""How long a worker waits for a client, and what it does when that is over."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from enum import Enum
from typing import Protocol

import gevent

from cfmiddleware.metrics.names import CONNECTIONS_ENDED
from cfmiddleware.process.throttle import Throttle

_log = logging.getLogger("cfmiddleware")

# Seconds between two looks at all connections; a deadline is late by no more.
_INTERVAL = 0.5


class Wait(Enum):
    """What a connection waits for. The value is what the log says when that did not come in time."""

    HANDSHAKE = "did not end its TLS handshake"
    IDLE = "sent no request"
    HEAD = "did not end a request's head"
    BODY = "sent nothing more of a request's body"
    PLACE = "held an upload's place that others wanted, and did not send server.bodyrate"
    ANSWER = "read nothing more of an answer"


class Waiting(Protocol):
    """A connection, as far as its patience goes.

    :param wait: what it waits for, or None while the app works.
    :param expires: when that has to have come, on the clock of ``time.monotonic``; infinity while the app
        works.
    """

    wait: Wait | None
    expires: float

    def expire(self) -> None:
        """End the wait."""

    def goes_on(self, now: float) -> bool:
        """Return whether it goes on although its time is over, and has set when that is to be seen again."""

    def is_in_the_way(self, now: float) -> bool:
        """Return whether it is slow in sending a body, and keeps others from sending theirs."""


class Patience:
    """Ends waits that took too long. One greenlet looks after all connections of a worker.

    A timer for each wait would cost more than the wait itself.
    """

    def __init__(self, connections: Iterable[Waiting]) -> None:
        self._connections = connections
        self._throttles = {wait: Throttle() for wait in Wait}
        self._untold = dict.fromkeys(Wait, 0)

    def run(self) -> None:
        """Look after the connections, for ever."""
        while True:
            gevent.sleep(_INTERVAL)
            self.look()

    def look(self) -> None:
        """End every wait that is over, and say so seldom."""
        now = time.monotonic()
        for connection in list(self._connections):
            if connection.expires > now:
                if not connection.is_in_the_way(now):
                    continue
                connection.wait = Wait.PLACE
            elif connection.goes_on(now):
                continue
            wait = connection.wait
            connection.expires = math.inf
            if wait is None:
                continue
            connection.expire()
            CONNECTIONS_ENDED.inc(wait.name.lower())
            if wait is not Wait.IDLE:  # which is how connections end that a client keeps for its next request
                self._untold[wait] += 1
        for wait, count in self._untold.items():
            if count and self._throttles[wait].allows():
                self._untold[wait] = 0
                _log.warning("%d connections were ended, each of whose client %s in time", count, wait.value)
