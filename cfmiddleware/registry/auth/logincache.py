"""Credentials that were found good a moment ago, so that the slow check is not paid at every request."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future

from cfmiddleware.process.cache import Cache, PerProcess
from cfmiddleware.process.places import Places

#: How many wait for a check at the most. Beyond that, waiting would only keep more waiting.
LINE = 16


class LoginCache:
    """Remembers good credentials for a while, and never bad ones.

    A credential is kept as a hash under a key that exists in memory only. Threads may share an object; a
    forked process begins with nothing.

    :param seconds: how long a credential is remembered.
    :param most: how many are remembered; the oldest is forgotten for a new one.
    :param at_once: how many slow checks run at the same time; by default half as many as there are
        processors, because there are other workers, and other work.
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
        turns = at_once or max(1, (os.cpu_count() or 1) // 2)
        self._state = PerProcess(lambda: _State(turns))

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

    def recall(self, key: bytes) -> bool:
        """Return whether a credential is remembered, and remember it from now on if it is.

        The users of a file do not change: what was right stays right. So a user who goes on working is never
        checked again, however many others wait for a check.
        """
        until, now = self._until.peek(key), self._clock()
        if until is None or until <= now:
            return False
        if until - now < self._seconds / 2:  # seldom, because it takes a lock
            self.add(key)
        return True

    def check(
        self, key: bytes, client: str, user: bytes, seconds: float, check: Callable[[], bool]
    ) -> bool | None:
        """Return what *check* says of a credential, and remember it if that is yes.

        It is asked once for all who wait with the same credential, as a client does that pulls layers side by
        side. Return None, mostly at once, where too many wait: at most :data:`LINE` in all, half of that from
        one client, and a quarter for one user of a client.

        :param client: where the credential comes from, such as an address.
        :param user: the user that it names.
        :param seconds: how long to wait for a turn.
        """
        state = self._state()
        with state.lock:
            answer = state.checks.get(key)
            first = answer is None
            if answer is None:
                if state.waiting[client] >= LINE // 2 or state.waiting[client, user] >= LINE // 4:
                    return None
                state.waiting.update((client, (client, user)))
                answer = state.checks[key] = Future()
        if not first:
            with contextlib.suppress(TimeoutError):
                return answer.result(seconds)
            return None
        outcome: bool | None = None
        try:
            if key in self:  # another one has just found it good
                outcome = True
            elif state.turns.enter(seconds):
                try:
                    outcome = check()
                finally:
                    state.turns.leave()
                if outcome:
                    self.add(key)
        finally:
            with state.lock:
                del state.checks[key]
                state.waiting -= Counter((client, (client, user)))  # and forget those with none
            answer.set_result(outcome)
        return outcome


class _State:
    """The checks that one process has under way. The lock is held for microseconds."""

    __slots__ = ("checks", "lock", "turns", "waiting")

    def __init__(self, at_once: int) -> None:
        self.lock = threading.Lock()
        self.turns = Places(at_once, line=LINE)
        self.checks: dict[bytes, Future[bool | None]] = {}
        #: How many credentials of each client, and of each user of it, are being checked or wait for that.
        self.waiting: Counter[str | tuple[str, bytes]] = Counter()
