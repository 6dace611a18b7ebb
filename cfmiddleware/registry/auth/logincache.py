"""Credentials that were found good a moment ago, so that the slow check is not paid at every request."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from threading import BoundedSemaphore, Lock
from typing import NamedTuple


class _Process(NamedTuple):
    """What belongs to one process: a lock that another one's thread held at the fork would stay held."""

    pid: int
    lock: Lock
    turns: BoundedSemaphore
    until: OrderedDict[bytes, float]


class Remembered:
    """Credentials that were found good, for a while; never those that were not.

    What is kept of a credential is a hash under a key that exists in memory only. Threads may share an
    object; a forked process begins with nothing.

    :param seconds: how long a credential is remembered.
    :param most: how many are; the oldest is forgotten for a new one.
    :param at_once: how many slow checks run at the same time.
    :param clock: seconds that only go forward.
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
        self._most = most
        self._at_once = at_once or os.cpu_count() or 1
        self._clock = clock
        self._process = self._fresh()

    def key(self, user: bytes, password: bytes) -> bytes:
        """Return what a credential is remembered under."""
        # The length keeps "a" with "bc" apart from "ab" with "c".
        message = len(user).to_bytes(8, "big") + user + password
        return hmac.digest(self._secret, message, "sha256")

    def __contains__(self, key: bytes) -> bool:
        return self._mine().until.get(key, self._clock()) > self._clock()

    def __len__(self) -> int:
        return len(self._mine().until)

    def add(self, key: bytes) -> None:
        """Remember a credential from now on."""
        mine = self._mine()
        with mine.lock:
            mine.until[key] = self._clock() + self._seconds
            mine.until.move_to_end(key)
            while len(mine.until) > self._most:
                mine.until.popitem(last=False)

    @contextlib.contextmanager
    def turn(self, seconds: float) -> Iterator[bool]:
        """Wait for a turn at the slow check; False is for those whose turn did not come.

        :param seconds: how long to wait.
        """
        turns = self._mine().turns
        got = turns.acquire(timeout=seconds)
        try:
            yield got
        finally:
            if got:
                turns.release()

    def _mine(self) -> _Process:
        if self._process.pid != os.getpid():
            self._process = self._fresh()
        return self._process

    def _fresh(self) -> _Process:
        return _Process(os.getpid(), Lock(), BoundedSemaphore(self._at_once), OrderedDict())
