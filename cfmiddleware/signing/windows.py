"""Expiry times on a grid, so that one signature serves many pulls."""

from __future__ import annotations

import math

from cfmiddleware.errors import ConfigError


class ExpiryWindow:
    """When URLs expire.

    Expiry times lie on a grid of *window* seconds, shifted for each blob by its digest, so that not every URL
    of a registry expires in the same second. Every process that has the same clock gives the same times.

    :param duration: seconds that a URL lives at the most; at least 2.
    :param window: seconds between two expiry times of one blob, from 1 to half of *duration*; a URL lives
        longer than ``duration - window``. A quarter of *duration* where it is None.
    :raises ConfigError: when either is out of its bounds.
    """

    def __init__(self, duration: int, window: int | None = None) -> None:
        if duration < 2:
            raise ConfigError(f"duration: must be at least 2 seconds, not {duration}")
        #: Seconds.
        self.duration = duration
        #: Seconds.
        self.window = max(1, duration // 4) if window is None else window
        if not 1 <= self.window <= duration / 2:
            raise ConfigError(
                f"window: must be from 1 second to half of duration, which is {duration / 2:g}, not {window}"
            )

    def expires(self, digest_hex: str, now: float) -> int:
        """Return the last time of the blob's grid that is not after ``now + duration``.

        :param digest_hex: the hex form of the blob's digest.
        :param now: in Unix seconds; the result is greater than ``now + duration - window``.
        """
        # In whole seconds, which floats cannot round: the grid has none between this one and now + duration.
        latest = math.floor(now) + self.duration
        return latest - (latest - int(digest_hex[:8], 16)) % self.window

    def span(self, expires: int) -> tuple[int, int]:
        """Return for which times :meth:`expires` gives this one: from the first on, and before the second.

        :param expires: what it returned, in Unix seconds.
        """
        begin = expires - self.duration
        return begin, begin + self.window
