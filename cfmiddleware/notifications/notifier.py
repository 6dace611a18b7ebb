"""What the registry tells of its events: whom they concern, and that they are kept until those have them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import (
    NOTIFICATION_EVENTS,
    NOTIFICATIONS_DEAD,
    NOTIFICATIONS_LOST,
    NOTIFICATIONS_PENDING,
)
from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.processid import process_id
from cfmiddleware.process.throttle import Throttle

from .delivery import Delivery
from .endpoint import Endpoint
from .entries import Entry, EventSpool, SpoolError
from .envelope import ACTIONS, Action, Happened, NotRecorded, Requester, Source, event

_log = logging.getLogger("cfmiddleware")


class Notifier:
    """Takes events. What it has taken reaches the endpoints, whatever happens to this process.

    Safe to share between threads and to carry over a fork: nothing is open, and no thread is started, before
    :meth:`start`.

    :param endpoints: those that are not disabled.
    :param spool: where events are kept.
    :param source: where they come from.
    :param references: whether events of manifests say what the manifests refer to.
    :param refuses: whether pushes and deletes are refused while their events cannot be kept.
    :param trustedproxies: how many proxies are in front, for the client's address.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        spool: EventSpool,
        source: Source,
        *,
        references: bool = False,
        refuses: bool = False,
        trustedproxies: int = 0,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self.spool = spool
        self._source = source.text()
        self.references = references
        self.refuses = refuses
        self.trustedproxies = trustedproxies
        self._wanted = frozenset(
            action for action in ACTIONS if any(action not in each.actions for each in endpoints)
        )
        STATE.tell(self._claim)
        self._process = 0
        self._delivery = PerProcess(self._begin)
        self._throttle = Throttle()

    def start(self) -> None:
        """Have this process deliver when it is its turn, unless it has begun."""
        if self._process != process_id():
            self._delivery()
            self._process = process_id()

    def stop(self) -> None:
        """Let another process deliver; this one is about to end."""
        delivery = self._delivery.made()
        if delivery is not None:
            delivery.stop()

    def _begin(self) -> Delivery:
        for endpoint in self._endpoints:
            for kind in ("Events", "Successes", "Failures", "Errors"):
                NOTIFICATION_EVENTS.of(kind, endpoint.name)
            NOTIFICATIONS_LOST.of(endpoint.name)
        delivery = Delivery(self.spool, self._endpoints)
        delivery.begin()
        return delivery

    def _claim(self) -> None:
        """Say that what the process that delivers tells of the endpoints is to stay."""
        for endpoint in self._endpoints:
            NOTIFICATIONS_PENDING.claim(endpoint.name)
            NOTIFICATIONS_DEAD.claim(endpoint.name)

    def wants(self, action: Action) -> bool:
        """Return whether any endpoint is told of an action."""
        return action in self._wanted

    def make_sure(self) -> None:
        """See that there is room for an event before something is done.

        :raises NotRecorded: if there is none, and that which is done must not go untold.
        """
        if not self.refuses:
            return
        try:
            is_full = self.spool.is_full()
        except SpoolError as error:
            self._complain("the spool fails: %s", error)
            raise NotRecorded from None
        if is_full:
            self._complain("the spool is full (notifications.spool.maxbytes); pushes are refused")
            raise NotRecorded

    def record(self, happened: Sequence[Happened], requester: Requester, actor: str) -> None:
        """Keep events until their endpoints have them. What nobody wants is not made.

        :param happened: what one request did, in its order.
        :param actor: the name of the user.
        :raises NotRecorded: if an event of anything but a pull could not be kept, and none may get lost.
        """
        entries = []
        for action, target in happened:
            wanting = [each for each in self._endpoints if each.wants(action, target.media_type)]
            if wanting:
                body = event(action, target, requester, actor, self._source)
                entries += [Entry(each.name, target.repository, action, body) for each in wanting]
        if not entries:
            return
        for entry in entries:
            NOTIFICATION_EVENTS.inc("Events", entry.endpoint)
        try:
            lost = self.spool.add(entries)
            if lost:
                self._complain("the spool is full (notifications.spool.maxbytes); events get lost")
        except SpoolError as error:
            lost = entries
            self._complain("events get lost, because the spool fails: %s", error)
        for entry in lost:
            NOTIFICATIONS_LOST.inc(entry.endpoint)
        if self.refuses and any(entry.action != "pull" for entry in lost):
            raise NotRecorded
        delivery = self._delivery.made()
        if delivery is not None:
            delivery.look()

    def _complain(self, text: str, *arguments: object) -> None:
        if self._throttle.allows():
            _log.error("notifications: " + text, *arguments)
