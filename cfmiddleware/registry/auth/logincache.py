"""Credentials that were found good a moment ago, so that the slow check is not paid at every request."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Iterator
from threading import BoundedSemaphore

from cfmiddleware.process.cache import Cache, PerProcess


class LoginCache:
    """Remembers good credentials for a while, and never bad ones.

    A credential is kept as a hash under a key that exists in memory only. Threads may share an object; a
    forked process begins with nothing.

    :param seconds: how long a credential is remembered.
    :param most: how many are remembered; the oldest is forgotten for a new one.
    :param at_once: how many slow checks run at the same time.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        *,
        seconds: float = 60.0,
        most: int = 1024,
        at_once: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret = secrets.token_bytes(32)
        self._seconds = seconds
        self._clock = clock
        self._until: Cache[bytes, float] = Cache(most)
        turns = at_once or os.cpu_count() or 1
        self._turns = PerProcess(lambda: BoundedSemaphore(turns))

    def key(self, user: bytes, password: bytes) -> bytes:
        """Return what a credential is remembered under."""
        # The length keeps "a" with "bc" apart from "ab" with "c".
        message = len(user).to_bytes(8, "big") + user + password
        return hmac.digest(self._secret, message, "sha256")

    def __contains__(self, key: bytes) -> bool:
        until = self._until.peek(key)
        return until is not None and until > self._clock()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, key: bytes) -> None:
        """Remember a credential from now on."""
        self._until.put(key, self._clock() + self._seconds)

    @contextlib.contextmanager
    def turn(self, seconds: float) -> Iterator[bool]:
        """Wait for a turn at the slow check, and yield whether it came.

        :param seconds: how long to wait.
        """
        turns = self._turns()
        came = turns.acquire(timeout=seconds)
        try:
            yield came
        finally:
            if came:
                turns.release()
