"""The log's way to stderr, on which no line keeps a server waiting.

A pipe that nobody reads is full at some time. Whoever writes into it then waits, and a worker that waits
answers nobody. So what finds no room in a pipe, in a socket or on a full disk is dropped and counted. A
terminal is stopped by a person, who sees it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import stat
import sys
import time
from functools import partial
from typing import NamedTuple, Protocol, TextIO

from cfmiddleware.logs import Event, EventFormatter, EventHandler
from cfmiddleware.process.waiting import original

# What the system lets a pipe hold without a privilege (pipe(7)): some ten thousand lines, for a reader that
# is held up for a while.
_ROOM = 1 << 20


class StderrHandler(EventHandler, logging.StreamHandler[TextIO]):
    """A handler for stderr that drops lines instead of waiting, and says how many when there is room."""

    def __init__(self) -> None:
        super().__init__()
        self._end = _end_of(self.stream)
        self._rest = b""  # of a line that found too little room
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line, or drop it."""
        if self._end is None:
            super().emit(record)
            return
        try:
            lines = self._line(record)
            if self._lost:
                lines = self._line(_lost(self._lost, record)) + lines
        except Exception:  # noqa: BLE001 (logging's own way: a record that cannot be shown fails nobody)
            self.handleError(record)
            return
        self._lost = 0 if self._end is not None and self._has_room(self._end, lines) else self._lost + 1

    def write_event(self, logger: str, event: Event) -> bool:
        """Write an event's line if nothing is in its way, and return whether that was done."""
        end, formatter = self._end, self.formatter
        if end is None or self._rest or self._lost or self.filters or self.level > logging.INFO:
            return False
        if not isinstance(formatter, EventFormatter):
            return False
        try:
            line = self._encoded(formatter.of_event(logger, event, time.time()))
            # No lock is needed: no other greenlet goes on before this is done.
            self._rest = line[end.write(line) :]
        except Exception:  # noqa: BLE001 (full, or cannot be shown: whoever logs it as a record finds the same)
            return False
        return True

    def close(self) -> None:
        """Give back what was opened."""
        if self._end is not None:
            self._end.owner.close()
            self._end = None
        super().close()

    def _has_room(self, end: _End, lines: bytes) -> bool:
        """Write *lines*, or nothing of them, and return whether they were written.

        Where only a part finds room, the rest leaves before anything else does.
        """
        with contextlib.suppress(OSError):  # full, or its reader has gone
            self._rest = self._rest[end.write(self._rest) :] if self._rest else b""
            if not self._rest:
                self._rest = lines[end.write(lines) :]
                return True
        return False

    def _line(self, record: logging.LogRecord) -> bytes:
        return self._encoded(self.format(record))

    def _encoded(self, lines: str) -> bytes:
        return (lines + self.terminator).encode("utf-8", "backslashreplace")


def _lost(count: int, record: logging.LogRecord) -> logging.LogRecord:
    """Return what is logged when there is room again."""
    message = "%d lines of the log were dropped: nobody read them, or the disk is full, and there was no room"
    return logging.LogRecord(record.name, logging.WARNING, __file__, 0, message, (count,), None)


class _Write(Protocol):
    def __call__(self, data: bytes, /) -> int:
        """Write what there is room for, and return how many bytes that is.

        :raises BlockingIOError: if there is no room.
        """


class _Owner(Protocol):
    def close(self) -> None:
        """Close it."""


class _End(NamedTuple):
    """The near end of a pipe or of a connection, or a file, into which can be written without waiting.

    :param owner: what has it open.
    """

    write: _Write
    owner: _Owner


def _end_of(stream: TextIO | None) -> _End | None:
    """Return the end of what *stream* writes to; None for a terminal, and for what is not stderr.

    Whether a write waits is a property of an open file, which this process shares with the one that started
    it. So a pipe is opened once more, and a socket is told so with each write.
    """
    is_stderr = stream is sys.__stderr__  # and not what a test has put in its place
    if stream is None or not is_stderr:
        return None
    try:
        descriptor = stream.fileno()
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode):
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            pipe = open(own, "wb", buffering=0)  # noqa: SIM115 (it is open as long as the handler is)
            _widen(own)
            return _End(partial(os.write, own), pipe)
        if stat.S_ISSOCK(mode):
            connection = original("socket", "socket")(fileno=os.dup(descriptor))
            return _End(lambda data: int(connection.send(data, socket.MSG_DONTWAIT)), connection)
        if not os.isatty(descriptor):
            file = open(os.dup(descriptor), "wb", buffering=0)  # noqa: SIM115 (as above)
            return _End(partial(os.write, file.fileno()), file)
    except (OSError, ValueError):  # a pipe of another user's, a system without /proc
        pass
    return None


def _widen(pipe: int) -> None:
    """Give a pipe as much room as it may have."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return
    with contextlib.suppress(OSError):
        if fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) < _ROOM:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _ROOM)
