"""The events of a command: sent by the registry's server on this machine, or else by the command itself."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

from cfmiddleware.notifications.entries import SpoolError

if TYPE_CHECKING:
    from cfmiddleware.notifications.notifier import Notifier

# For how many seconds a command waits for that.
_SENDING = 5.0


def send_events(notifier: Notifier | None) -> None:
    """Give events that wait a little time to be sent, and say how many wait still."""
    if notifier is None:
        return
    left = 0
    end = time.monotonic() + _SENDING
    with contextlib.suppress(SpoolError):  # the log says it
        notifier.start()
        while (left := _waiting(notifier)) and time.monotonic() < end:
            time.sleep(0.1)
    notifier.stop()
    if left:
        print(
            f"cfmiddleware: {left} events wait for their endpoints; a server of this configuration on this "
            "machine sends them",
            file=sys.stderr,
        )


def _waiting(notifier: Notifier) -> int:
    return sum(waits for waits, _ in notifier.spool.counts().values())
