"""The events of a collection: a delete for each blob and each manifest that a repository no longer has.

They are those of a client's DELETE, without an actor and without a request. Distribution's collector sends
none. Of bytes that are deleted there is none either: no repository has had them for the grace period.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cfmiddleware.notifications.envelope import Happened, NotRecorded, Requester, Target, new_id
from cfmiddleware.version import __version__

from .aside import AsideLink

if TYPE_CHECKING:
    from cfmiddleware.notifications.notifier import Notifier

# How many events are kept at a time.
_BATCH = 500


class Told:
    """Tells of the links that a collection has set aside.

    :param notifier: keeps events until their endpoints have them; None where nobody wants to know.
    """

    def __init__(self, notifier: Notifier | None) -> None:
        self._notifier = notifier if notifier is not None and notifier.wants("delete") else None
        self._requester = Requester(new_id(), "", "", "", f"cfmiddleware gc/{__version__}")

    def __call__(self, links: list[AsideLink]) -> None:
        """Tell of links. Events for which there is no room are counted, and lost: they stop no collection."""
        if self._notifier is None:
            return
        for start in range(0, len(links), _BATCH):
            happened = [
                Happened("delete", Target(link.repository, digest=str(link.name)))
                for link in links[start : start + _BATCH]
            ]
            with contextlib.suppress(NotRecorded):
                self._notifier.record(happened, self._requester, "")
