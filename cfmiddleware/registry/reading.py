"""How many pulls ask a storage at a time for what the registry serves itself.

Thousands of clients that ask for blobs and manifests at once are as many requests to the storage, and whoever
pushes meanwhile waits behind all of them: there, and for this process to take in what comes. So pulls stand
in a line before they begin. What a redirect needs does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cfmiddleware.process.places import Places

# A storage that answers within 15 ms is asked two thousand times a second by each process, more than that can
# take in.
_AT_ONCE = 32

# A storage that hangs must not have those in the line wait for the deadlines of all before them.
_PATIENCE = 10.0


class Reading:
    """Lets some pulls begin at a time, until the storage has answered with the first bytes.

    :param at_once: how many.
    :param patience: after how many seconds one begins even if it is not its turn.
    """

    def __init__(self, at_once: int = _AT_ONCE, patience: float = _PATIENCE) -> None:
        self._places = Places(at_once)
        self._patience = patience

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, which ends with the block."""
        held = self._places.enter(self._patience)
        try:
            yield
        finally:
            if held:
                self._places.leave()
