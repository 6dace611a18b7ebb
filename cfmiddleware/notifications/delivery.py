"""Sending what is in the spool, in the background of one of the processes that share it."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

from cfmiddleware.metrics.names import (
    NOTIFICATION_EVENTS,
    NOTIFICATION_STATUS,
    NOTIFICATIONS_DEAD,
    NOTIFICATIONS_PENDING,
)
from cfmiddleware.process.childcall import ChildFailed, call_in_child
from cfmiddleware.process.offload import offload
from cfmiddleware.process.throttle import Throttle
from cfmiddleware.process.waiting import signal

from .endpoint import Endpoint, Outcome, Sender
from .entries import EventSpool, SpoolError, Turn, Waiting
from .envelope import envelope

_log = logging.getLogger("cfmiddleware")

# Seconds after a spool that failed, between two looks for what other processes added, and between two at the
# turn of this one.
_AFTER_FAILURE = 1.0
_LOOK = 0.2
_RENEW = 1.0

# Seconds between two counts of what waits.
_COUNT = 5.0

# Seconds of the first pause after a failure, and of the longest one unless the operator's is longer.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 300.0

# More than so many characters of an event keep the interpreter's lock for longer than requests should wait: a
# mebibyte takes 50 ms, for Python writes indented JSON slowly. A process may take so many seconds for them.
_MANY = 1 << 17
_PATIENCE = 60.0

# Repositories whose first event failed, at the most: with more, it is not one event that is at fault.
_MOST_HELD = 50


class Delivery:
    """What one process does for delivery: it waits for its turn, and then sends.

    :param spool: where events wait.
    :param endpoints: those that are not disabled.
    """

    def __init__(self, spool: EventSpool, endpoints: Sequence[Endpoint]) -> None:
        self._spool = spool
        self._ended = threading.Event()
        self._troubles = Throttle()
        self._lines = [Line(spool, endpoint, self._ended) for endpoint in endpoints]

    def begin(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self.run, name="notifications", daemon=True).start()

    def stop(self) -> None:
        """End as soon as the request under way has ended, and let another process go on."""
        self._ended.set()
        self.look()

    def look(self) -> None:
        """Look at once for what was added."""
        for line in self._lines:
            if not line.awake.is_set():
                line.awake.set()

    def run(self) -> None:
        """Send events, as soon as no other process does, until :meth:`stop`."""
        while not self._ended.is_set():
            turn = self._turn()
            if turn is None:
                self._ended.wait(self._spool.takeover)
            else:
                self._deliver(turn)
            if not self._lines:
                return

    def _turn(self) -> Turn | None:
        try:
            return self._spool.turn([line.endpoint.name for line in self._lines])
        except SpoolError as error:
            if self._troubles.allows():
                _log.error("notifications: the spool fails: %s", error)
        except Exception:  # noqa: BLE001 (whatever it is, the next try may do better)
            if self._troubles.allows():
                _log.exception("notifications: nothing is delivered by this process")
        return None

    def _deliver(self, turn: Turn) -> None:
        """Send events until :meth:`stop`, or until another process has taken over."""
        try:
            # What a killed process has told meanwhile of endpoints that are no longer there.
            for gauge in (NOTIFICATIONS_PENDING, NOTIFICATIONS_DEAD):
                gauge.clear(time.time())
            self._tell_of_others()
            threads = [
                threading.Thread(target=line.run, args=(turn,), name=line.name, daemon=True)
                for line in self._lines
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_RENEW)
                    self._said(turn.renew)
        finally:
            self._said(self._forget)
            self._said(turn.give_up)

    def _forget(self) -> None:
        """Tell Prometheus no more of what waits. Another process will, which may be on another machine."""
        for line in self._lines:
            NOTIFICATIONS_PENDING.gone(line.endpoint.name)
            NOTIFICATIONS_DEAD.gone(line.endpoint.name)

    def _said(self, say: Callable[[], None]) -> None:
        try:
            say()
        except Exception as error:  # noqa: BLE001 (the turn is then lost by itself, or kept)
            if self._troubles.allows():
                _log.error("notifications: the spool fails: %s", error)

    def _tell_of_others(self) -> None:
        """Say what waits for endpoints that are no longer there."""
        with contextlib.suppress(SpoolError):
            known = {line.endpoint.name for line in self._lines}
            for name, (waits, dead) in self._spool.counts().items():
                if name not in known:
                    _log.warning(
                        "notifications: %d events are kept for the endpoint %r, which is disabled or gone; "
                        "'cfmiddleware notifications CONFIG drop --endpoint %s' removes them",
                        waits + dead,
                        name,
                        name,
                    )


class Line:
    """The events that wait for one endpoint, sent one after the other.

    An event that fails holds up those of its own repository. Where ``threshold`` attempts in a row fail,
    whatever they were for, the endpoint gets nothing for a while.

    :param spool: where events wait.
    :param endpoint: the endpoint.
    :param ended: set when it is to end.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        spool: EventSpool,
        endpoint: Endpoint,
        ended: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.name = f"notifications to {endpoint.name}"
        self.awake = signal()
        self._spool = spool
        self._ended = ended
        self._clock = clock
        self._turn: Turn | None = None
        self._held: dict[str, float] = {}
        self._passed = 0  # up to here, all that waits is held up
        self._taken: list[int] = []  # events that the endpoint has, and that are in the spool still
        self._failures = 0
        self._pause = 0.0  # until when nothing is sent
        self._counted = 0.0
        self._throttle = Throttle()
        self._troubles = Throttle()

    def run(self, turn: Turn) -> None:
        """Send events until the end, or until another process has taken over."""
        self._turn = turn
        self._held, self._passed, self._taken = {}, 0, []
        with contextlib.ExitStack() as ending:
            self._run(turn, ending)

    def _run(self, turn: Turn, ending: contextlib.ExitStack) -> None:
        sender: Sender | None = None
        while not self._ended.is_set() and turn.is_held():
            self.awake.clear()
            try:
                if sender is None:
                    sender = Sender(self.endpoint)
                    ending.callback(sender.close)
                self._count()
                self._send_what_waits(sender)
            except SpoolError as error:
                if self._troubles.allows():
                    _log.error("notifications: the spool fails: %s", error)
                self._ended.wait(_AFTER_FAILURE)
            except Exception:  # noqa: BLE001 (whatever it is, the lock is held, and nobody else would send)
                if self._troubles.allows():
                    _log.exception("notifications: the endpoint %r gets nothing", self.endpoint.name)
                self._ended.wait(_AFTER_FAILURE)

    def _send_what_waits(self, sender: Sender) -> None:
        self._remove_taken()
        now = self._clock()
        held = {name: until for name, until in self._held.items() if until > now}
        if len(held) < len(self._held):
            self._held, self._passed = held, 0
        if self._pause > now:
            self._ended.wait(min(self._pause - now, _COUNT))
            return
        newest = self._spool.newest() if held else 0
        found = self._spool.waiting(self.endpoint.name, list(held), after=self._passed)
        if not found:
            self._passed = newest
            # What is added to a repository that is held up is no reason to look again.
            (self._ended if held else self.awake).wait(_LOOK)
            return
        for event in found:
            if event.repository in self._held:
                continue
            if self._ended.is_set() or self._pause > self._clock() or not self._is_held():
                return
            self._send(sender, event)

    def _is_held(self) -> bool:
        return self._turn is None or self._turn.is_held()

    def _send(self, sender: Sender, event: Waiting) -> None:
        outcome = sender.post(self._envelope(event.body))
        if outcome.status is None:
            self._tell("Errors")
        else:
            NOTIFICATION_STATUS.inc(status_text(outcome.status), self.endpoint.name)
            self._tell("Failures" if outcome.reason else "Successes")
        if not outcome.reason:
            self._taken.append(event.seq)
            self._remove_taken()
            if self._failures >= self.endpoint.threshold:
                _log.info("notifications: the endpoint %r takes events again", self.endpoint.name)
            self._failures = 0
            return
        self._failed(event, outcome)

    def _envelope(self, event: str) -> bytes:
        """Return the body of the request that tells of an event, made where no client waits for it."""
        if len(event) > _MANY:
            try:
                return offload(call_in_child, _PATIENCE, envelope, [event])
            except ChildFailed as failed:
                if self._troubles.allows():
                    _log.warning(
                        "notifications: a large event is made where it keeps others waiting: %s", failed
                    )
        return envelope([event])

    def _remove_taken(self) -> None:
        """Remove what the endpoint has taken. While that fails nothing is sent: it would come twice."""
        while self._taken:
            self._spool.delivered(self._taken[0])
            del self._taken[0]

    def _failed(self, event: Waiting, outcome: Outcome) -> None:
        self._failures += 1
        attempts, endpoint = event.attempts + 1, self.endpoint
        if self._throttle.allows():
            _log.warning(
                "notifications: the endpoint %r did not take an event: %s; it is tried again",
                endpoint.name,
                outcome.reason,
            )
        has_refused = outcome.refused and attempts >= endpoint.threshold
        if has_refused or time.time() - event.since > endpoint.retryfor:
            self._bury(event, outcome)
        else:
            self._spool.failed(event.seq, outcome.reason)
            self._held[event.repository] = self._clock() + pause(endpoint, attempts)
        if self._failures >= endpoint.threshold or len(self._held) >= _MOST_HELD:
            self._pause = self._clock() + pause(endpoint, max(self._failures, endpoint.threshold))

    def _bury(self, event: Waiting, outcome: Outcome) -> None:
        removed = self._spool.bury(event.seq, outcome.reason)
        _log.error(
            "notifications: the endpoint %r did not take an event of %r in %d attempts; it is a dead letter "
            "now (cfmiddleware notifications): %s",
            self.endpoint.name,
            event.repository,
            event.attempts + 1,
            outcome.reason,
        )
        if removed:
            _log.error("notifications: %d older dead letters were removed to make room", removed)

    def _tell(self, kind: str) -> None:
        NOTIFICATION_EVENTS.inc(kind, self.endpoint.name)

    def _count(self) -> None:
        """Say how many events wait, from time to time."""
        now = self._clock()
        if now - self._counted < _COUNT:
            return
        self._counted = now
        waits, dead = self._spool.counts().get(self.endpoint.name, (0, 0))
        NOTIFICATIONS_PENDING.of(self.endpoint.name).set(waits)
        NOTIFICATIONS_DEAD.of(self.endpoint.name).set(dead)


def pause(endpoint: Endpoint, failures: int) -> float:
    """Return for how many seconds nothing is sent after so many failures in a row.

    Up to the endpoint's ``threshold`` it is short; then it is ``backoff``, and doubles with each failure.
    A quarter more or less is left to chance, so that several registries do not come at the same moment.
    """
    beyond = failures - endpoint.threshold
    if beyond < 0:
        seconds = min(endpoint.backoff, _FIRST_PAUSE * 2 ** min(failures - 1, 20))
    else:
        seconds = min(endpoint.backoff * 2 ** min(beyond, 20), max(endpoint.backoff, _LONGEST_PAUSE))
    chance = random.uniform(0.75, 1.25)  # noqa: S311 (it is no secret)
    return float(seconds * chance)


def status_text(status: int) -> str:
    """Return a status as Distribution's metric has it, such as ``200 OK``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
