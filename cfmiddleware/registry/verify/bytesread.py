"""Reading blobs to see whether their bytes are those of their digests, at a bounded rate."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.process.cache import Cache
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

# Of how many blobs it is remembered what their bytes are.
_REMEMBERED = 10_000


class Content(NamedTuple):
    """What the bytes of a blob are.

    :param size: their number.
    :param digests: their digests, in the algorithms that were asked for.
    """

    size: int
    digests: tuple[Digest, ...]


class Rate:
    """Bounds how many bytes all threads together read in a second.

    :param most: how many; 0 for no bound.
    :param clock: tells the seconds, from any moment on.
    :param sleep: waits for so many seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._most = most
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = clock()

    def take(self, count: int) -> None:
        """Wait until so many bytes more may have been read."""
        wait = 0.0
        if self._most:
            with self._lock:
                now = self._clock()
                self._free = max(self._free, now) + count / self._most
                wait = self._free - now
        # Also where there is nothing to wait for: whoever stops the reading is heard there.
        self._sleep(wait)


class BytesRead:
    """Reads blobs.

    :param driver: where they are.
    :param rate: how fast.
    """

    def __init__(self, driver: Driver, rate: Rate) -> None:
        self._driver = driver
        self._rate = rate
        self._known: Cache[tuple[Digest, tuple[str, ...]], Content] = Cache(_REMEMBERED)
        self._lock = threading.Lock()
        self.blobs = 0
        self.size = 0

    def content(self, data: Digest, algorithms: Iterable[str] = (), *, again: bool = True) -> Content:
        """Read the bytes of *data*, and return what they are.

        :param algorithms: further ones that they are hashed with.
        :param again: whether they are read although they were read before.
        :raises ObjectNotFound: when they are not there.
        """
        wanted = tuple(dict.fromkeys((data.algorithm, *algorithms)))
        known = None if again else self._known.get((data, wanted))
        if known is not None:
            return known
        hashers = [Digest(algorithm, "").hasher() for algorithm in wanted]
        size = 0
        with contextlib.closing(self._driver.open(paths.blob_data(data))) as reader:
            for chunk in reader:
                self._rate.take(len(chunk))
                size += len(chunk)
                for hasher in hashers:
                    hasher.update(chunk)
        found = tuple(
            Digest(algorithm, hasher.hexdigest()) for algorithm, hasher in zip(wanted, hashers, strict=True)
        )
        with self._lock:
            self.blobs += 1
            self.size += size
        content = Content(size, found)
        self._known.put((data, wanted), content)
        return content
