"""The spool's database as a process has it open."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .entries import SpoolError

if TYPE_CHECKING:
    import sqlite3

_log = logging.getLogger("cfmiddleware")


class Database:
    """A connection that is kept, for one thread at a time.

    A file that was removed can be written to for as long as it is open, and all of it is lost in the end. So
    each use looks whether it is still there.

    :param file: the database.
    :param connect: returns a new connection.
    """

    def __init__(self, file: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._file = file
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @contextlib.contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Give the connection. Any error ends it, and the next use makes a new one.

        :raises SpoolError: for an error of SQLite.
        """
        with told():
            connection = self._connected()
            try:
                yield connection
            except BaseException:
                self._close()
                raise

    def _connected(self) -> sqlite3.Connection:
        found = identity(self._file)
        if self._connection is not None and (found is None or found != self._identity):
            self._close()
            _log.error(
                "notifications: %s was removed or replaced; the events that waited there are lost", self._file
            )
        if self._connection is None:
            self._connection = self._connect()
            self._identity = identity(self._file)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Make an error of SQLite one of the spool."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise SpoolError(str(error)) from None


def identity(file: Path | int) -> tuple[int, int] | None:
    """Return which file is at a path or open, or None where there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
