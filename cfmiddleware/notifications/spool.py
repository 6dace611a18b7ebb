"""The spool: events that endpoints have not taken yet, in one SQLite database that all processes share.

It is in WAL mode. An event that was added is in the system's hands: it outlives every process that is killed.
Whether it outlives the machine's loss of power, too, is the operator's choice (``sync``).
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cfmiddleware.errors import ConfigError, shown_path
from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.offload import offload

from .batches import Batches
from .entries import Entry, SpoolError, Waiting
from .spooldatabase import Database, identity, reserve, told

if TYPE_CHECKING:
    import sqlite3

_FORMAT = 1

#: The database, in the spool's directory.
FILE = "events.db"

#: Its lock ends with the process that holds it, however that ends.
LOCK = "deliver.lock"

# Seconds for which a writer waits for another process, in a thread that keeps nobody waiting.
_PATIENCE = 10.0

# What an event takes besides its text.
_ROOM = 256

# Pages of the log, of 4 KiB, after which it is copied into the database.
_PAGES = 4000

# How many rows a statement inserts; every SQLite takes 999 values.
_AT_ONCE = 150

# The share of the room that pulls may take: there are many of them, and none has changed anything.
_OF_PULLS = 0.9

# The share of the room that dead letters may take.
_OF_DEAD = 0.5

_TABLES = (
    """CREATE TABLE event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        endpoint TEXT NOT NULL,
        repository TEXT NOT NULL,
        action TEXT NOT NULL,
        since REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        dead INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL,
        body TEXT NOT NULL
    )""",
    "CREATE INDEX queue ON event (endpoint, dead, seq)",
    "CREATE TABLE total (bytes INTEGER NOT NULL)",
    "INSERT INTO total VALUES (0)",
    "CREATE TRIGGER added AFTER INSERT ON event BEGIN UPDATE total SET bytes = bytes + new.bytes; END",
    "CREATE TRIGGER removed AFTER DELETE ON event BEGIN UPDATE total SET bytes = bytes - old.bytes; END",
    f"PRAGMA user_version = {_FORMAT}",
)


# So many characters of events are read at a time: one that says what a large manifest refers to has millions.
_AT_A_TIME = 4 << 20

_COLUMNS = "seq, endpoint, repository, action, since, attempts, error, dead, body"


class Spool:
    """The events of one directory.

    Safe to share between threads and to carry over a fork: nothing is open before it is used.

    :param directory: where it lies, on a disk of this machine.
    :param maxbytes: how much it holds at the most.
    :param sync: whether an event is on the disk before :meth:`add` returns, so that it outlives a loss of
        power: ``changes`` for all but pulls, ``all``, or ``none``.
    """

    #: How often a process that waits for its turn asks for it, in seconds.
    takeover = 1.0

    def __init__(self, directory: Path, maxbytes: int = 1 << 30, sync: str = "changes") -> None:
        self.directory = directory
        self.place = str(directory)
        self._maxbytes = maxbytes
        self._sync = sync
        self._writer = PerProcess(lambda: _Writer(self))
        self._queue = PerProcess(lambda: _Queue(self))
        self._used = (0.0, 0)

    def check(self) -> None:
        """See that the spool can be used, and make it where there is none.

        :raises ConfigError: if it cannot be used.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.directory, os.W_OK | os.X_OK):
                raise PermissionError(13, os.strerror(13))
            with contextlib.closing(self.connect()) as connection, told():
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            with open(self.directory / LOCK, "ab"):
                pass
            reserve(self.directory)
        except (OSError, SpoolError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            shown = shown_path(str(self.directory))
            raise ConfigError(f"{shown}: events cannot be kept there: {reason}") from None

    def exists(self) -> bool:
        """Return whether there is one."""
        return (self.directory / FILE).exists()

    def connect(self) -> sqlite3.Connection:
        """Return a connection for one thread at a time.

        :raises SpoolError: where there cannot be one.
        """
        try:
            import sqlite3
        except ImportError:
            raise SpoolError("this Python has no sqlite3") from None
        with told():
            path = self.directory / FILE
            connection = sqlite3.connect(
                path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise SpoolError("SQLite cannot use a write-ahead log there; choose a directory of this machine")
        connection.execute("PRAGMA synchronous = NORMAL")
        # Each time the log is copied, whoever writes waits for the disk.
        connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.execute("BEGIN IMMEDIATE")
            try:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version == 0:  # and no other process was faster
                    for statement in _TABLES:
                        connection.execute(statement)
                    version = _FORMAT
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        if version != _FORMAT:
            raise SpoolError(f"it is of the format {version}, which this version does not know")

    # For those who add

    def add(self, entries: Sequence[Entry]) -> list[Entry]:
        """Add events in their order, and return those for which there was no room.

        It returns when they can no longer get lost. Events that are added at the same time become one
        transaction.

        :raises SpoolError: if none of them could be added.
        """
        return self._writer().batches.add(entries)

    def is_full(self) -> bool:
        """Return whether there is no room for an event, as of the last second.

        :raises SpoolError: if it cannot be read.
        """
        seen, used = self._used
        if time.monotonic() - seen > 1.0:
            used = self._queue().used()
            self._used = (time.monotonic(), used)
        return used >= self._maxbytes

    # For the one who delivers

    def turn(self, endpoints: Sequence[str]) -> DirectoryTurn | None:
        """Return the right to deliver, or None while another process has it.

        :param endpoints: those that events are delivered to.
        :raises SpoolError: if there is nothing to lock.
        """
        return DirectoryTurn.take(self.directory / LOCK)

    def newest(self) -> int:
        """Return the place of the newest event, or 0."""
        ((seq,),) = self._queue().fetch("SELECT MAX(seq) FROM event")
        return seq or 0

    def waiting(
        self, endpoint: str, held: Sequence[str] = (), limit: int = 100, after: int = 0
    ) -> list[Waiting]:
        """Return the first events that wait for an endpoint.

        :param held: repositories whose events are passed over.
        :param after: the place that they come after.
        """
        marks = ", ".join("?" * len(held))
        return self._queue().read(
            f"SELECT {_COLUMNS} FROM event WHERE endpoint = ? AND dead = 0 AND seq > ? "  # noqa: S608
            f"AND repository NOT IN ({marks}) ORDER BY seq LIMIT ?",
            (endpoint, after, *held, limit),
        )

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return how many events wait and how many are dead letters, for each endpoint that has any."""
        found: dict[str, tuple[int, int]] = {}
        for endpoint, dead, number in self._queue().fetch(
            "SELECT endpoint, dead, COUNT(*) FROM event GROUP BY endpoint, dead"
        ):
            waits, are_dead = found.get(endpoint, (0, 0))
            found[endpoint] = (waits, are_dead + number) if dead else (waits + number, are_dead)
        return found

    def delivered(self, seq: int) -> None:
        """Remove an event that its endpoint has taken."""
        self._queue().change("DELETE FROM event WHERE seq = ?", (seq,))

    def failed(self, seq: int, error: str) -> None:
        """Note that an event was sent in vain."""
        self._queue().change(
            "UPDATE event SET attempts = attempts + 1, error = ? WHERE seq = ?", (error, seq)
        )

    def bury(self, seq: int, error: str) -> int:
        """Make an event a dead letter, and return how many older ones were removed to make room."""
        self._queue().change(
            "UPDATE event SET attempts = attempts + 1, error = ?, dead = 1 WHERE seq = ?", (error, seq)
        )
        removed = 0
        while True:
            ((used, first),) = self._queue().fetch("SELECT SUM(bytes), MIN(seq) FROM event WHERE dead = 1")
            if not used or used <= self._maxbytes * _OF_DEAD:
                return removed
            removed += self._queue().change("DELETE FROM event WHERE seq = ?", (first,))

    # For the operator

    def all(self, endpoint: str | None = None) -> Iterator[Waiting]:
        """Yield the events, those that wait and the dead letters, of one endpoint or of all."""
        last = 0
        while page := self._queue().read(
            f"SELECT {_COLUMNS} FROM event WHERE seq > ? AND ? IN ('', endpoint) "  # noqa: S608
            "ORDER BY seq LIMIT 500",
            (last, endpoint or ""),
        ):
            yield from page
            last = page[-1].seq

    def resend(self, seq: int) -> bool:
        """Have a dead letter sent again, and return whether it was one."""
        return bool(
            self._queue().change(
                "UPDATE event SET dead = 0, attempts = 0, since = ? WHERE seq = ? AND dead = 1",
                (time.time(), seq),
            )
        )

    def drop(self, seq: int) -> bool:
        """Remove an event, and return whether it was there."""
        return bool(self._queue().change("DELETE FROM event WHERE seq = ?", (seq,)))


class DirectoryTurn:
    """The right to deliver what is in a directory, which its process has until the end.

    :param file: its path.
    :param stream: the file, open and locked.
    """

    def __init__(self, file: Path, stream: IO[bytes]) -> None:
        self._file = file
        self._stream = stream
        self._identity = identity(stream.fileno())

    @classmethod
    def take(cls, file: Path) -> DirectoryTurn | None:
        """Return the right, or None while another process has it.

        :raises SpoolError: if there is nothing to lock.
        """
        try:
            stream = open(file, "ab")  # noqa: SIM115 (it is held)
        except OSError as error:
            raise SpoolError(f"{file.name}: {error.strerror}") from None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            return None
        return cls(file, stream)

    def is_held(self) -> bool:
        """Return whether this process still has it: others cannot see the lock of a file that was removed."""
        return not self._stream.closed and identity(self._file) == self._identity

    def renew(self) -> None:
        """Say that the process still delivers, which its lock does."""

    def give_up(self) -> None:
        """Let another process deliver."""
        self._stream.close()


def _waiting(*row: Any) -> Waiting:
    found = Waiting(*row)
    return found._replace(is_dead=bool(found.is_dead))


class _Writer:
    """What one process adds with."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._database = Database(spool.directory / FILE, spool.connect)
        self._connection: sqlite3.Connection | None = None
        self._is_lasting = False
        self.batches: Batches[Entry] = Batches(lambda entries: offload(self._write, entries))

    def _write(self, entries: Sequence[Entry]) -> list[Entry]:
        return self._database.run(lambda connection: self._insert(connection, entries))

    def _insert(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> list[Entry]:
        sync, most = self._spool._sync, self._spool._maxbytes
        lasting = sync == "all" or (sync == "changes" and any(each.action != "pull" for each in entries))
        if connection is not self._connection:  # a new one
            self._connection, self._is_lasting = connection, False
        if lasting != self._is_lasting:
            connection.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            self._is_lasting = lasting
        # What other processes add meanwhile may take a little more than there is room for.
        (used,) = connection.execute("SELECT bytes FROM total").fetchone()
        rows: list[tuple[object, ...]] = []
        refused, now = [], time.time()
        for entry in entries:
            size = len(entry.body) + _ROOM
            if used + size > (most * _OF_PULLS if entry.action == "pull" else most):
                refused.append(entry)
                continue
            used += size
            rows.append((entry.endpoint, entry.repository, entry.action, now, size, entry.body))
        if len(rows) <= _AT_ONCE:
            _insert_rows(connection, rows)
            return refused
        connection.execute("BEGIN IMMEDIATE")
        for first in range(0, len(rows), _AT_ONCE):
            _insert_rows(connection, rows[first : first + _AT_ONCE])
        connection.execute("COMMIT")
        return refused


def _insert_rows(connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows in one statement: between two, the thread would wait for its turn to run Python."""
    if rows:
        marks = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(rows))
        connection.execute(
            "INSERT INTO event (endpoint, repository, action, since, bytes, body) "  # noqa: S608 (marks alone)
            f"VALUES {marks}",
            [value for row in rows for value in row],
        )


class _Queue:
    """What one process reads and changes with, one caller at a time."""

    def __init__(self, spool: Spool) -> None:
        self._database = Database(spool.directory / FILE, spool.connect)
        self._turn = threading.Lock()

    def read(self, statement: str, values: Sequence[object]) -> list[Waiting]:
        """Return the events that a statement selects, or as many of them as are to be in memory at a time."""
        return [_waiting(*row) for row in self.fetch(statement, values, _AT_A_TIME)]

    def fetch(
        self, statement: str, values: Sequence[object] = (), most: float = math.inf
    ) -> list[tuple[Any, ...]]:
        """Return the rows that a statement selects.

        :param most: so many characters of the last column; the rows behind those that have them are left out.
        """
        with self._turn:
            return offload(self._run, statement, values, most)[0]

    def change(self, statement: str, values: Sequence[object]) -> int:
        """Return how many rows a statement changed."""
        with self._turn:
            return offload(self._run, statement, values)[1]

    def used(self) -> int:
        """Return how much the events take, in bytes."""
        ((used,),) = self.fetch("SELECT bytes FROM total")
        return int(used)

    def _run(
        self, statement: str, values: Sequence[object], most: float = math.inf
    ) -> tuple[list[tuple[Any, ...]], int]:
        def execute(connection: sqlite3.Connection) -> tuple[list[tuple[Any, ...]], int]:
            with contextlib.closing(connection.execute(statement, values)) as cursor:
                if most == math.inf:
                    return cursor.fetchall(), cursor.rowcount
                rows, length = [], 0
                for row in cursor:
                    rows.append(row)
                    length += len(row[-1])
                    if length >= most:
                        break
                return rows, cursor.rowcount

        return self._database.run(execute, frees=True)
