"""What a server does beside its requests, now and then: in the background of one of its processes.

Nothing of it is on the path of a request, and none waits for it. Nothing is opened and no thread is started
before :meth:`Chores.start`, which each process calls after the fork.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .cache import PerProcess
from .processid import process_id
from .throttle import Throttle

_log = logging.getLogger("cfmiddleware")

# Seconds between two looks of those that would take over, and between two looks of a chore at its clock.
_TAKE_OVER = 2.0
_LOOK = 1.0


class Chore(Protocol):
    """Something that has to be done now and then."""

    #: For the log, and the name of its thread.
    name: str

    def look(self, ended: threading.Event) -> None:
        """Do it if it is time to. This is called every second, and has a thread of its own: it may take as
        long as it needs. Under gevent the thread is a greenlet, which must not compute for long.

        :param ended: set when the process is about to end; this then returns as soon as it can. A process
            does not wait for it.
        """


class Chores:
    """The chores of a server. One of the processes of a machine that have the same name looks after them; as
    soon as it has ended, however that happens, another one does.

    Safe to share between threads and to carry over a fork.

    :param chores: what is to be done.
    :param name: what the processes know one another by; empty where each of them has its own storage to look
        after.
    """

    def __init__(self, chores: Sequence[Chore], name: str) -> None:
        self._chores = tuple(chores)
        self._name = name
        self._process = 0
        self._work = PerProcess(self._begin)

    def start(self) -> None:
        """Begin in this process, unless it has begun."""
        if self._process != process_id():
            self._work()
            self._process = process_id()

    def stop(self) -> None:
        """Let another process look after the chores; this one is about to end."""
        work = self._work.made()
        if work is not None:
            work.ended.set()

    def _begin(self) -> _Work:
        work = _Work(self._chores, lock_file(self._name) if self._name else None)
        threading.Thread(target=work.run, name="chores", daemon=True).start()
        return work


class _Work:
    """The chores of one process.

    :param lock: the file whose lock says that it is this process's turn; None if it always is.
    """

    def __init__(self, chores: Sequence[Chore], lock: Path | None) -> None:
        self._chores = chores
        self._lock = lock
        self.ended = threading.Event()

    def run(self) -> None:
        """Look after the chores, as soon as no other process does, until :attr:`ended` is set."""
        while (turn := self._take()) is None:
            if self.ended.wait(_TAKE_OVER):
                return
        with turn:
            threads = [
                threading.Thread(target=self._look_after, args=(chore,), name=chore.name, daemon=True)
                for chore in self._chores
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _look_after(self, chore: Chore) -> None:
        throttle = Throttle()
        while not self.ended.wait(_LOOK):
            try:
                chore.look(self.ended)
            except Exception:  # noqa: BLE001 (the next look may do better, and the others go on)
                if throttle.allows():
                    _log.exception("%s failed", chore.name)

    def _take(self) -> contextlib.AbstractContextManager[object] | None:
        """Return what holds this process's turn, or None while another process has it."""
        if self._lock is None:
            return contextlib.nullcontext()
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            # There is no place for a file, or it is somebody else's. Then each process looks after them: what
            # must be done by one alone has a lease in the storage.
            return contextlib.nullcontext()
        stream = os.fdopen(descriptor, "rb")
        if os.fstat(descriptor).st_uid != os.getuid():
            stream.close()
            return contextlib.nullcontext()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.close()
            taken = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
            return None if taken else contextlib.nullcontext()
        return stream


def lock_file(name: str) -> Path:
    """Return the file whose lock the processes with this name take in turns."""
    own = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"cfmiddleware-chores-{os.getuid()}-{own}.lock"
