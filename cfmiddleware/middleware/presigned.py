"""URLs of S3 that are presigned once for all pulls of a blob within a window."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from cfmiddleware.process.cache import Cache
from cfmiddleware.signing.windows import ExpiryWindow
from cfmiddleware.tracing.childspan import spanned

#: Signs a URL for GET: from an object's whole key, and the Unix time when it is to expire, to the URL and
#: when it does expire, which may be earlier but not later.
Presign = Callable[[str, int], tuple[str, int]]

# Seconds that a URL must at least live, so that a client can follow it.
_SHORTEST = 60


class Unusable(Exception):
    """A client cannot be sent to what a presigner returned; the message says why."""


class _Made(NamedTuple):
    url: str
    expires: int


class PresignedURLs:
    """Presigns URLs, and remembers them until their window ends.

    Safe to share between threads and to carry over a fork. Threads that ask for the same new URL at the same
    time may each have it signed, which costs microseconds.

    :param presign: what signs.
    :param window: the expiry times.
    :param cache_size: URLs to remember; the least recently used is forgotten first.
    :param clock: Unix seconds.
    """

    def __init__(
        self,
        presign: Presign,
        window: ExpiryWindow,
        *,
        cache_size: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._presign = spanned("presign", presign)
        self._window = window
        self._shortest = min(_SHORTEST, window.duration - window.window)
        self._clock = clock
        self._made: Cache[tuple[str, int], _Made] = Cache(cache_size)

    def url(self, key: str, digest_hex: str) -> str:
        """Return the URL of an object.

        It expires on the window's grid, or earlier, when what signs it does.

        :param key: the whole key, without a slash in front.
        :param digest_hex: the hex form of the blob's digest, which shifts the expiry times.
        :raises Unusable: when the URL would expire too soon for a client to follow it, or later than asked.
        :raises Exception: whatever the presigner raises.
        """
        now = self._clock()
        wanted = (key, self._window.expires(digest_hex, now))
        made = self._made.get(wanted)
        if made is not None and made.expires - now >= self._shortest:
            return made.url
        # This also replaces a URL that ends soon: the credentials may have been renewed.
        made = _Made(*self._presign(*wanted))
        self._check(made, wanted[1], now)
        self._made.put(wanted, made)
        return made.url

    def _check(self, made: _Made, latest: int, now: float) -> None:
        if made.expires - now < self._shortest:
            raise Unusable(f"the presigned URL expires in less than {self._shortest} seconds")
        if made.expires > latest:
            raise Unusable("the presigned URL outlives 'duration'")
        # The URL goes into a header as it is.
        if not (
            made.url.isascii() and made.url.isprintable() and made.url.startswith(("https://", "http://"))
        ):
            raise Unusable("what was presigned is not a URL")
