"""How fast a client sends a body while others wait for what it holds."""

from __future__ import annotations

from collections.abc import Callable

# A rate is that of so many seconds of waiting for the client. A lost packet that is sent again may take most
# of one.
_WINDOW = 2.0


class Pace:
    """What one client sends, and how long the server waits for that. The app's own time does not count.

    :param rate: the least bytes a second.
    :param is_wanted: returns whether others wait.
    """

    __slots__ = ("_bytes", "_is_wanted", "_rate", "_waited")

    def __init__(self, rate: int, is_wanted: Callable[[], bool]) -> None:
        self._rate = rate
        self._is_wanted = is_wanted
        self._bytes = 0
        self._waited = 0.0

    def received(self, size: int, seconds: float) -> None:
        """Note that *size* bytes came, for which the server waited."""
        self._bytes += size
        self._waited += seconds
        if self._waited >= _WINDOW and self._bytes >= self._rate * self._waited:
            self._bytes, self._waited = 0, 0.0

    def is_too_slow(self, seconds: float) -> bool:
        """Return whether the client has to make room for others.

        :param seconds: how long the server waits for the next bytes already.
        """
        waited = self._waited + seconds
        return waited >= _WINDOW and self._bytes < self._rate * waited and self._is_wanted()
