"""A clock that only a test moves."""

from __future__ import annotations


class Clock:
    """Seconds that go forward when a test says so.

    :param now: what it shows first.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
