"""The spool's database as a process has it open."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .entries import SpoolError

if TYPE_CHECKING:
    import sqlite3

_log = logging.getLogger("cfmiddleware")

#: What is given back to a disk that is full: to remove an event from the database takes room first.
RESERVE = "reserve"

# How much that is, and which share of a small disk. The log, of which it takes the place, has no more.
_RESERVED = 16 << 20
_OF_DISK = 0.2

_Found = TypeVar("_Found")


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

    def run(self, action: Callable[[sqlite3.Connection], _Found], *, frees: bool = False) -> _Found:
        """Return what an action does with the connection. On a full disk it is done again once there is room.

        Any error ends the connection, and the next use makes a new one.

        :param frees: whether the action makes room itself, and may have what is reserved for that.
        :raises SpoolError: for an error of SQLite.
        """
        with told():
            try:
                return self._once(action)
            except Exception as error:
                if not _is_full(error):
                    raise
            self._make_room(frees)
            return self._once(action)

    def _once(self, action: Callable[[sqlite3.Connection], _Found]) -> _Found:
        connection = self._connected()
        try:
            return action(connection)
        except BaseException:
            self._close()
            raise

    def _make_room(self, with_reserve: bool) -> None:
        """Have the log copied into the database, which shortens it."""
        if with_reserve:
            self._file.with_name(RESERVE).unlink(missing_ok=True)
        self._once(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        reserve(self._file.parent)

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


def reserve(directory: Path) -> None:
    """Keep some room of a disk, as far as it has that."""
    file = directory / RESERVE
    with contextlib.suppress(OSError):
        disk = os.statvfs(directory)
        size = int(min(_RESERVED, disk.f_frsize * disk.f_blocks * _OF_DISK))
        if file.exists() or not hasattr(os, "posix_fallocate"):
            return
        with open(file, "xb") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, size)
            except OSError:
                file.unlink()


def _is_full(error: Exception) -> bool:
    import sqlite3

    return isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL


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
