"""How many part buffers a process holds for its uploads.

A part fills in memory before it is sent. With one buffer an upload is slow: it fills, sends and fills again.
With more, it fills the next part while others are on their way. So every upload has one for certain, and
borrows more while the process has some to spare.
"""

from __future__ import annotations

from threading import Condition

from cfmiddleware.metrics.names import PARTS

_PARTS = PARTS.of()


class PartBudget:
    """The buffers of one process: never more than *buffers*, or one for each upload if these are more.

    :param buffers: how many there are to share.
    """

    def __init__(self, buffers: int) -> None:
        self._buffers = buffers
        self._changed = Condition()
        self._taken = 0
        self._uploads = 0

    def share(self) -> Share:
        """Return the share of a new upload, which has nothing yet."""
        return Share(self)

    @property
    def taken(self) -> int:
        """How many buffers are in use."""
        return self._taken

    def _take(self, share: Share) -> bool:
        with self._changed:
            # Borrowed buffers are on their way to S3 and come back whatever the clients do, so this wait
            # ends. An upload's own buffer may be held for as long as its client is slow, so nothing waits for
            # it: with more uploads than buffers, each has its own.
            while not share.held and self._taken >= self._buffers and self._taken > self._uploads:
                self._changed.wait()
            if share.held and self._taken >= self._buffers:
                return False
            self._uploads += not share.held
            self._taken += 1
            _PARTS.inc()
            share.held += 1
            return True

    def _give_back(self, share: Share) -> None:
        with self._changed:
            self._taken -= 1
            _PARTS.add(-1.0)
            share.held -= 1
            self._uploads -= not share.held
            self._changed.notify_all()


class Share:
    """The buffers of one upload; its threads may use it at the same time.

    An upload with more than one buffer gives the others back without waiting for anything but S3.
    """

    def __init__(self, budget: PartBudget) -> None:
        self._budget = budget
        self.held = 0

    def take(self) -> bool:
        """Take a buffer, and return whether there was one.

        The first one is always there, if only after other uploads have given back what they borrowed.
        """
        return self._budget._take(self)

    def give_back(self) -> None:
        """Give back one of the buffers taken."""
        self._budget._give_back(self)
