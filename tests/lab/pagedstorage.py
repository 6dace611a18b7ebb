"""A storage in memory that behaves as S3 does, whose every request is a step of an actor.

A listing comes in pages, each as the bucket is when it is asked for, so that it shows no single moment. A
request that deletes many keys deletes them one after the other, and goes on when its client is killed or
stopped. An object that must be new is created by one of many who try, and by no other. A request that was
signed and not sent for a quarter of an hour is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from cfmiddleware.errors import StorageFailed
from cfmiddleware.storage.driver import Driver, Stat
from lab.actors import World

# How many seconds later, at the most, a storage has deleted what it was asked to, whatever its client does.
_STILL_DELETES = 20.0

# How many seconds old the signature of a request may be.
_SIGNED_FOR = 900


class PagedStorage:
    """The storage.

    :param inner: where the objects are.
    :param world: whose steps its requests are.
    :param page: how many keys a page of a listing has, and a request that deletes.
    :param single: whether the keys of one request are deleted in steps of their own.
    """

    name = "s3"
    smallest_piece = 0
    largest_piece = 0
    in_bucket = True
    shared = False
    remote = False
    presigner = None

    def __init__(self, inner: Driver, world: World, page: int = 1000, *, single: bool = False) -> None:
        self.inner = inner
        self._world = world
        self._page = page
        self._single = single
        # When each object was written, in the world's time, which only a storage in memory knows.
        self._written: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if name not in ("stat", "read", "open", "write", "create", "compose", "writer"):
            return attribute

        def operation(path: str, *arguments: Any, **options: Any) -> Any:
            self._world.step()
            result = attribute(path, *arguments, **options)
            if name in ("write", "create", "compose", "writer"):
                self._written[path] = self._world.now
            return self._dated(path, result) if name == "stat" else result

        return operation

    def _dated(self, path: str, stat: Stat) -> Stat:
        return stat._replace(modified=self._written.get(path, stat.modified))

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield what is below a prefix, in the order of the keys and page by page."""
        last = ""
        while True:
            self._world.step()
            found = sorted(entry for entry in self.inner.walk(prefix) if entry[0] > last)
            yield from ((path, self._dated(path, stat)) for path, stat in found[: self._page])
            if len(found) <= self._page:
                return
            last = found[self._page - 1][0]

    def list(self, prefix: str, *, hollow: Callable[[str], bool] | None = None) -> list[str]:
        """Return the names directly below a prefix, page by page."""
        names: list[str] = []
        while True:
            self._world.step()
            found = [name for name in self.inner.list(prefix) if not names or name > names[-1]]
            names += found[: self._page]
            if len(found) <= self._page:
                return names

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects, a page of them with a request."""
        left = list(paths)
        while left:
            signed = self._world.now
            self._world.step()
            if self._world.now - signed > _SIGNED_FOR:
                raise StorageFailed("S3 refuses a request that was signed so long ago: RequestTimeTooSkewed")
            keys, left = left[: self._page], left[self._page :]
            if not self._single:
                self.inner.delete(keys)
                continue
            while keys:
                self.inner.delete([keys.pop(0)])
                if keys:
                    call_off = self._world.after(_STILL_DELETES, partial(self._delete_all, keys))
                    self._world.step()
                    call_off()

    def _delete_all(self, keys: list[str]) -> None:
        self.inner.delete(keys)
        keys.clear()

    def delete_prefix(self, prefix: str) -> None:
        """Delete what is below a prefix."""
        self.delete(path for path, _ in self.walk(prefix))
