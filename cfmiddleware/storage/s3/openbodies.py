"""How many answers of S3 a process has open at a time, while clients read them slowly or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from cfmiddleware.errors import StorageUnavailable

# Far more than are read at full speed at a time. A gateway of Ceph serves 512 requests at a time to all.
_LIMIT = 96

# So many may be read in large pieces, of which the process holds one for each.
_FEW = 16

# Seconds without a read after which an answer may be closed. Its reader asks again from where it is.
_IDLE = 0.5

# Seconds that a new reader waits where all others are read all the time.
_PATIENCE = 30.0
_PAUSE = 0.05


def _too_many() -> StorageUnavailable:
    return StorageUnavailable(f"{_LIMIT} objects are being read already")


class Pausable(Protocol):
    """A reader whose answer can be closed while nobody reads it."""

    def pause(self) -> None:
        """Close the answer."""


class OpenBodies:
    """The answers that one process has open.

    A client that stops reading leaves the answer of S3 half read. Thousands of those would hold as many
    connections, and S3 serves a gateway's others no more. So beyond a number, those that were not read for a
    while are closed.

    :param limit: how many may be open before others are closed.
    :param idle: seconds without a read after which one may be closed.
    :param patience: seconds that a new one waits for room at the most.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        limit: int = _LIMIT,
        idle: float = _IDLE,
        patience: float = _PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = limit
        self._idle = idle
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # held by the one that looks for room; the others wait for it in a row
        self._coming = 0
        # When each was last read, in this order; infinity while it is.
        self._read_at: dict[Pausable, float] = {}

    def are_few(self) -> bool:
        """Return whether so few are open that each may hold a large piece."""
        return len(self._read_at) <= _FEW

    def make_room(self) -> None:
        """Wait until one more may be opened, and count it until :meth:`opened` or :meth:`failed`.

        :raises StorageUnavailable: if all others are read all the time.
        """
        deadline = self._clock() + self._patience
        if not self._turn.acquire(timeout=self._patience):
            raise _too_many()
        try:
            while not self._has_room():
                if self._clock() >= deadline:
                    raise _too_many()
                self._sleep(_PAUSE)
        finally:
            self._turn.release()

    def failed(self) -> None:
        """Count no longer what could not be opened."""
        with self._lock:
            self._coming -= 1

    def opened(self, reader: Pausable) -> None:
        """Count a reader from now on, until it is gone."""
        with self._lock:
            self._coming -= 1
            self._read_at[reader] = self._clock()

    def begin(self, reader: Pausable) -> bool:
        """Say that a reader is read now; return whether it is still open."""
        with self._lock:
            if reader not in self._read_at:
                return False
            del self._read_at[reader]
            self._read_at[reader] = float("inf")
            return True

    def end(self, reader: Pausable) -> None:
        """Say that a read has ended."""
        with self._lock:
            if reader in self._read_at:
                self._read_at[reader] = self._clock()

    def gone(self, reader: Pausable) -> None:
        """Count a reader no longer."""
        with self._lock:
            self._read_at.pop(reader, None)

    def _has_room(self) -> bool:
        with self._lock:
            idle: list[Pausable] = []
            if len(self._read_at) + self._coming >= self._limit:
                before = self._clock() - self._idle
                idle = [reader for reader, read_at in self._read_at.items() if read_at <= before]
                for reader in idle:
                    del self._read_at[reader]
            room = len(self._read_at) + self._coming < self._limit
            if room:
                self._coming += 1
        for reader in idle:
            reader.pause()
        return room
