"""The signer of a middleware: one signature for all pulls of a blob within a window."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from cfmiddleware.metrics.names import SIGNATURES
from cfmiddleware.process.cache import Cache
from cfmiddleware.tracing.childspan import spanned

from .keyring import KeyRing
from .keys import KeyPair
from .url import sign
from .windows import ExpiryWindow

_MADE, _REUSED = SIGNATURES.of("made"), SIGNATURES.of("reused")


class Term(NamedTuple):
    """For how long a signed URL is what the signer returns.

    :param begin: from this time on, in Unix seconds.
    :param end: before this time.
    :param pair: while this key signs.
    """

    begin: float
    end: float
    pair: KeyPair | None


class URLSigner:
    """Signs URLs, and remembers them until their window ends.

    Safe to share between threads, and to carry over a fork. Threads that ask for the same URL at the same
    time wait for one signature.

    :param ring: the key.
    :param window: the expiry times.
    :param hash: ``sha1`` or ``sha256``.
    :param cache_size: URLs to remember; the least recently used is forgotten first.
    :param clock: Unix seconds.
    :raises ConfigError: when this platform cannot sign with this key and hash.
    :raises ValueError: for another hash.
    """

    def __init__(
        self,
        ring: KeyRing,
        window: ExpiryWindow,
        *,
        hash: str = "sha1",
        cache_size: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        ring.current().key.sign(b"at start rather than at the first pull", hash)
        self._ring = ring
        self._window = window
        self._hash = hash
        self._clock = clock
        self._make = spanned("sign", self._sign)
        # Blobs whose windows end together share one: what is asked for with each pull then stays near.
        self._term = lru_cache(maxsize=4096)(self._term_of)
        self._urls: Cache[tuple[str, int, str, str, str | None], str] = Cache(cache_size)

    @property
    def signatures(self) -> int:
        """How many URLs this process has signed."""
        return self._urls.made

    def url(self, resource: str, digest_hex: str, address: str | None = None) -> str:
        """Return the signed URL.

        :param resource: the whole URL, encoded.
        :param digest_hex: the hex form of the blob's digest, which shifts the expiry times.
        :param address: the only client that the URL serves, as an IPv4 address.
        :raises ValueError: when the URL or the address cannot be signed.
        """
        expires = self._window.expires(digest_hex, self._clock())
        return self._signed(resource, expires, self._ring.current(), address)

    def lasting(self, resource: str, digest_hex: str) -> tuple[str, Term]:
        """Return what :meth:`url` returns for every client, and for how long that stays the same.

        :param resource: the whole URL, encoded.
        :param digest_hex: the hex form of the blob's digest.
        :raises ValueError: when the URL cannot be signed.
        """
        pair = self._ring.current()
        expires = self._window.expires(digest_hex, self._clock())
        url = self._signed(resource, expires, pair, None)
        return url, self._term(expires, pair)

    def holds(self, term: Term) -> bool:
        """Return whether a URL of that term is what :meth:`url` returns now. It then counts as reused."""
        if term.begin <= self._clock() < term.end and self._ring.current() is term.pair:
            _REUSED.inc()
            return True
        return False

    def _signed(self, resource: str, expires: int, pair: KeyPair, address: str | None) -> str:
        # All that a signed URL depends on.
        key = (resource, expires, pair.id, self._hash, address)
        url = self._urls.get(key)
        if url is not None:
            _REUSED.inc()
            return url
        return self._urls.once(key, lambda: self._make(resource, expires, pair, address))

    def _term_of(self, expires: int, pair: KeyPair) -> Term:
        return Term(*self._window.span(expires), pair)

    def _sign(self, resource: str, expires: int, pair: KeyPair, address: str | None) -> str:
        url = sign(resource, expires, pair, self._hash, address)
        _MADE.inc()
        return url
