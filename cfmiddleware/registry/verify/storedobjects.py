"""What checks ask of the storage: the sizes of blobs, what links name, and a way to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.process.cache import Cache
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver, Stat

from .sizes import Sizes

# Of how many blobs it is remembered that they are there, where not all were listed.
_REMEMBERED = 100_000

# Of how many blobs the names in other algorithms are remembered.
_OTHERS = 100_000


class Stopped(Exception):
    """Nobody waits for the result any more."""


class WrongLink(Exception):
    """A link does not name the bytes that it should; the message says what it holds."""


class StoredObjects:
    """The storage, read only.

    :param driver: the storage.
    :param sizes: the blobs that were there when they were listed; None where they were not.
    """

    def __init__(self, driver: Driver, sizes: Sizes | None = None) -> None:
        self.driver = driver
        self.stopped = threading.Event()
        self._sizes = sizes
        self._known: Cache[Digest, int] = Cache(_REMEMBERED)
        self._others: dict[Digest, tuple[Digest, ...]] = {}

    def walk(self, prefix: str, odd: Callable[[str], object] | None = None) -> Iterator[tuple[str, Stat]]:
        """Yield what is below *prefix*, until somebody stops it.

        :param odd: is told of keys that are not paths.
        """
        for found in self.driver.walk(prefix, odd=odd):
            if self.stopped.is_set():
                raise Stopped
            yield found

    def sleep(self, seconds: float) -> None:
        """Wait, until somebody stops it."""
        if self.stopped.wait(max(seconds, 0)):
            raise Stopped

    def size(self, data: Digest) -> int | None:
        """Return the size of a blob, as it was a while ago or now; None if it is not there now."""
        size = self._sizes.get(data) if self._sizes is not None else self._known.get(data)
        if size is None:
            size = self.size_now(data)
            if size is not None:
                self._known.put(data, size)
        return size

    def size_now(self, data: Digest) -> int | None:
        """Return the size of a blob as the storage says it now; None if it is not there."""
        try:
            return self.driver.stat(paths.blob_data(data)).size
        except ObjectNotFound:
            return None

    def follow(self, path: str, name: Digest | None = None) -> Digest | None:
        """Return what a link names, or None if there is no link.

        :param name: the digest that it stands for. It may name bytes by a digest in another algorithm.
        :raises WrongLink: when it does not.
        """
        try:
            content = self.driver.read(path)
        except ObjectNotFound:
            return None
        try:
            found = Digest.parse(content.decode("ascii").strip())
        except ValueError:
            raise WrongLink("is empty" if not content else "holds no digest") from None
        if name is not None and found.algorithm == name.algorithm and found != name:
            raise WrongLink(f"names other bytes, {found}")
        return found

    def named(self, path: str, name: Digest, stat: Stat, *, read: bool) -> Digest | None:
        """Return what a link that was listed names. One of the usual length is not read unless *read* says
        so.
        """
        if not read and stat.size == len(str(name)):
            return name
        found = self.follow(path, name)
        if found is not None and found != name and len(self._others) < _OTHERS:
            self._others[found] = tuple({*self._others.get(found, ()), name})
        return found

    def other_names(self, data: Digest) -> tuple[Digest, ...]:
        """Return the digests in other algorithms under which links that were listed name some bytes."""
        return self._others.get(data, ())
