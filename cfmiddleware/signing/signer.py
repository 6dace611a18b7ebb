"""The signer of a middleware: one signature for all pulls of a blob within a window."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import NamedTuple

from .keyring import KeyRing
from .keys import KeyPair
from .url import sign
from .windows import ExpiryWindow


class _Wanted(NamedTuple):
    """All that a signed URL depends on."""

    resource: str
    expires: int
    id: str
    hash: str
    address: str | None


class _Memory:
    """What one process remembers. The lock is held for microseconds, and never while signing."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        # A _Wanted is equal to the tuple of its fields, and a tuple is quicker to make.
        self.urls: OrderedDict[tuple[str, int, str, str, str | None], str] = OrderedDict()
        self.flights: dict[_Wanted, Future[str]] = {}


class URLSigner:
    """Signs URLs, and remembers them until their window ends.

    Safe to share between threads. Threads that ask for the same URL at the same time wait for one signature.
    A forked process begins with an empty memory, because a lock or a signature in the making might belong to
    a thread that it does not have.

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
        self._cache_size = cache_size
        self._clock = clock
        self._memory = _Memory()
        #: URLs signed so far.
        self.signatures = 0

    def url(self, resource: str, digest_hex: str, address: str | None = None) -> str:
        """Return the signed URL.

        :param resource: the whole URL, encoded.
        :param digest_hex: the hex form of the blob's digest, which shifts the expiry times.
        :param address: the only client that the URL serves, as an IPv4 address.
        :raises ValueError: when the URL or the address cannot be signed.
        """
        pair = self._ring.current()
        expires = self._window.expires(digest_hex, self._clock())
        asked = (resource, expires, pair.id, self._hash, address)
        memory = self._memory
        if memory.process != os.getpid():
            memory = self._memory = _Memory()
        while True:
            with memory.lock:
                url = memory.urls.get(asked)
                if url is not None:
                    memory.urls.move_to_end(asked)
                    return url
                wanted = _Wanted(*asked)
                flight = memory.flights.get(wanted)
                if flight is None:
                    mine = memory.flights[wanted] = Future()
                    break
            try:
                return flight.result()
            except CancelledError:
                continue  # the thread that was signing is being stopped; this one is not
        return self._sign(memory, wanted, pair, mine)

    def _sign(self, memory: _Memory, wanted: _Wanted, pair: KeyPair, flight: Future[str]) -> str:
        try:
            url = sign(wanted.resource, wanted.expires, pair, wanted.hash, wanted.address)
        except BaseException as error:
            with memory.lock:
                del memory.flights[wanted]
            if isinstance(error, Exception):
                flight.set_exception(error)
            else:
                flight.cancel()
            raise
        with memory.lock:
            self.signatures += 1
            del memory.flights[wanted]
            memory.urls[wanted] = url
            if len(memory.urls) > self._cache_size:
                memory.urls.popitem(last=False)
        flight.set_result(url)
        return url
