"""What the spool in a bucket needs of a storage, and the names that it gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol


class Objects(Protocol):
    """A storage; its errors are those of :class:`~cfmiddleware.errors.StorageError`."""

    def read(self, path: str) -> bytes:
        """Return an object whole.

        :raises ObjectNotFound: when there is none.
        """

    def write(self, path: str, content: bytes) -> None:
        """Put an object at *path*."""

    def create(self, path: str, content: bytes) -> None:
        """Put an object at *path* only if none is there.

        :raises ObjectExists: when there is one.
        """

    def stat(self, path: str) -> Any:
        """Return what is known of an object.

        :raises ObjectNotFound: when there is none.
        """

    def list(self, prefix: str) -> list[str]:
        """Return the names directly below *prefix*."""

    def walk(self, prefix: str) -> Iterator[tuple[str, Any]]:
        """Yield the path of each object below *prefix*, and something that knows its ``size``."""

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; those that are not there count as deleted."""


def numbered(prefix: str, number: int) -> str:
    """Return the path of a numbered object, so that names have the order of the numbers."""
    return f"{prefix}{number:016d}"


def numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of objects, from their names or their paths; other names are passed over."""
    found = (name.rpartition("/")[2] for name in names)
    return sorted(int(name) for name in found if len(name) == 16 and name.isdecimal())
