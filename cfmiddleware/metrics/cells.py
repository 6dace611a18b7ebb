"""Where counts lie: in files that the processes of a server share, in the form of prometheus_client's
multiprocess mode.

Each process has files of its own, into which it counts with one store of eight bytes. So nothing that was
counted is lost when a process dies, however it does, and a scrape asks no process. A process that begins
takes over the files of one that has ended: counters go on from there, and there are never more files than
there were processes at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import mmap
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from weakref import WeakMethod

from .repositories import matcher

if TYPE_CHECKING:
    from .kinds import Metric

#: The variable of prometheus_client that names the directory.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# The files' names have it where prometheus_client has a process id.
_OWNER = "cfmiddleware"

# What a file has from the start, so that it hardly ever grows.
_SIZE = 1 << 17

# What an entry takes besides its key.
_ROOM = 64

_log = logging.getLogger("cfmiddleware")


class File:
    """The cells of one kind in one process.

    :param path: where they lie.
    """

    def __init__(self, path: Path) -> None:
        module: Any = import_module("prometheus_client.mmap_dict")
        self._key = module.mmap_key
        self._path = path
        _reserve(path, _SIZE)
        self._dict = module.MmapedDict(str(path))
        self.values = self._map()

    def labels(self, metric: str) -> list[dict[str, str]]:
        """Return the labels of what is there of a metric."""
        keys = [json.loads(key) for key in self._dict._positions]
        return [labels for name, _, labels, _ in keys if name == metric]

    def _map(self) -> memoryview[float]:
        """Return the whole file as numbers."""
        with open(self._path, "r+b") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0)).cast("d")

    def cell(
        self, metric: str, sample: str, names: tuple[str, ...], labels: tuple[str, ...], text: str
    ) -> int:
        """Return the place of a sample's value among :attr:`values`, which is made if need be."""
        key = self._key(metric, sample, names, labels, text)
        if self._dict._used + 2 * len(key) + _ROOM > self._dict._capacity:
            _reserve(self._path, 2 * self._dict._capacity)
        self._dict.read_value(key)
        place: int = self._dict._positions[key] // 8
        if place + 1 >= len(self.values):
            self.values = self._map()
        return place


def _reserve(path: Path, size: int) -> None:
    """Have a file be *size* bytes long, all of which are there: the first store into a page for which a file
    system has no room would end the process.

    :raises OSError: if there is no room.
    """
    if path.exists():
        with open(path, "ab") as stream:
            _extend(stream, size)
        return
    # Whoever reads all files at this moment cannot read one that is empty.
    new = path.with_suffix(".new")
    with open(new, "wb") as stream:
        _extend(stream, size)
    new.rename(path)


def _extend(stream: BinaryIO, size: int) -> None:
    if stream.tell() >= size:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, size)
    else:
        stream.truncate(size)


class State:
    """What this process counts into. There is one, because there is one Prometheus that asks."""

    def __init__(self) -> None:
        #: Where the files are; None while metrics are off.
        self.directory: Path | None = None
        #: Held by whoever gives a value its place in the files.
        self.lock = threading.RLock()
        #: Every metric, by its name.
        self.metrics: dict[str, Metric] = {}
        self._files: dict[str, File] = {}
        self._number: int | None = None
        self._held: Any = None
        self._has_complained = False
        self._tellers: list[Any] = []
        #: Whether every metric is there in this process.
        self.has_begun = False
        #: Tells whether the pulls of a repository are counted by its name; None where none are.
        self.is_named: Callable[[str], bool] | None = None

    def file(self, kind: str) -> File:
        """Return the cells of *kind*, such as ``counter`` or ``gauge_livesum``."""
        assert self.directory is not None  # noqa: S101 (the caller looked)
        file = self._files.get(kind)
        if file is None:
            if self._number is None:
                self._number, self._held = _take(self.directory)
                for old in self.directory.glob(f"gauge_live*_{_OWNER}{self._number}.db"):
                    old.unlink(missing_ok=True)
            file = self._files[kind] = File(self.directory / f"{kind}_{_OWNER}{self._number}.db")
        return file

    def tell(self, teller: Callable[[], None]) -> None:
        """Have a method called in each process that begins to count: it sets gauges that seldom change."""
        self._tellers.append(WeakMethod(teller) if hasattr(teller, "__self__") else lambda: teller)

    @contextlib.contextmanager
    def told_anew(self) -> Iterator[None]:
        """Have objects from before the block tell no more, because the block makes those that take their
        place; they go on if it fails.
        """
        before = self._tellers
        self._tellers = [each for each in before if not isinstance(each, WeakMethod)]
        try:
            yield
        except BaseException:
            self._tellers = before
            raise

    def begin(self) -> None:
        """Begin to count in this process, unless metrics are off. Threads that come meanwhile wait for it:
        what they counted would be lost.
        """
        if self.directory is None:
            return
        with self.lock:
            if not self.has_begun:
                self._begin()

    def _begin(self) -> None:
        since = time.time()
        try:
            self.safely(self._bind)
        finally:
            self.has_begun = True
        for reference in list(self._tellers):
            teller = reference()
            if teller is not None:
                teller()
        for metric in list(self.metrics.values()):
            metric.retire(since)

    def _bind(self) -> None:
        for metric in list(self.metrics.values()):
            metric.begin()

    def attach(self, action: Callable[[], None]) -> None:
        """Do what gives a new value its place in the files, if this process counts or begins to."""
        with self.lock:
            if self.has_begun:
                self.safely(action)

    def found(self, kind: str, metric: str) -> Iterator[tuple[dict[str, str], float, float]]:
        """Yield what the files of all processes have of a metric: labels, the value, and when it was set."""
        assert self.directory is not None  # noqa: S101 (the caller looked)
        module: Any = import_module("prometheus_client.mmap_dict")
        for path in self.directory.glob(f"{kind}_*.db"):
            for key, value, when, _ in module.MmapedDict.read_all_values_from_file(str(path)):
                name, _, labels, _ = json.loads(key)
                if name == metric:
                    yield labels, value, when

    def safely(self, action: Callable[[], None]) -> None:
        """Do what needs the files. Where it cannot be done, this process counts no more of what is new, and
        nothing else of it suffers.
        """
        with self.lock:
            try:
                action()
            except (OSError, ValueError, ImportError, RuntimeError) as error:
                if not self._has_complained:
                    self._has_complained = True
                    _log.error("metrics: not everything is counted: %s", error)

    def forget(self) -> None:
        """Count into files of its own: this process was forked from one that may count too."""
        self.lock = threading.RLock()
        self._files, self._number, self._held, self.has_begun = {}, None, None, False
        for metric in self.metrics.values():
            metric.forget()


#: What is counted while metrics are off, and in a process that has not begun to count.
NOWHERE = memoryview(bytearray(16)).cast("d")

STATE = State()


def turn_on(directory: str | os.PathLike[str] | None = None, *, repositories: Sequence[str] = ()) -> Path:
    """Count from now on, in this process and in those that are forked from it.

    :param directory: where all processes of a server count. By default the one that
        ``PROMETHEUS_MULTIPROC_DIR`` names, or else a new one, which processes share if they were forked from
        this one.
    :param repositories: the repositories whose pulls are counted by their names too. ``*`` stands for any
        letters: ``team/*``.
    :returns: the directory.
    :raises ImportError: if prometheus_client is not installed.
    :raises OSError: if the directory cannot be made or written.
    """
    path = Path(directory or os.environ.get(VARIABLE, "") or new_directory())
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Before prometheus_client is imported, which looks once: what an app counts with it is there as well.
    os.environ.setdefault(VARIABLE, str(path))
    import_module("prometheus_client")
    # All of them have a place from the first request on.
    import_module("cfmiddleware.metrics.names")
    if STATE.directory is None:
        os.register_at_fork(after_in_child=STATE.forget)
    elif STATE.directory != path:
        STATE.forget()
    STATE.directory, STATE.is_named = path, matcher(repositories)
    return path


def new_directory() -> Path:
    """Return a directory that is new.

    :raises OSError: if none can be made.
    """
    return Path(tempfile.mkdtemp(prefix="cfmiddleware-metrics-", dir=_memory()))


def directory_of(name: str) -> Path:
    """Return a directory that all processes of this user find by *name*.

    :raises OSError: where somebody else has made it.
    """
    own = hashlib.sha256(name.encode()).hexdigest()[:16]
    path = Path(_memory() or tempfile.gettempdir()) / f"cfmiddleware-metrics-{os.getuid()}-{own}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise PermissionError(13, "is somebody else's", str(path))
    return path


def abandoned(directory: Path) -> None:
    """Remove the gauges of processes that have ended; what they counted stays."""
    for file in directory.glob("worker-*.lock"):
        number = int(file.stem.partition("-")[2])
        if number == STATE._number:
            continue
        with contextlib.suppress(OSError), file.open("r+b") as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for gauge in directory.glob(f"gauge_live*_{_OWNER}{number}.db"):
                gauge.unlink(missing_ok=True)


def _memory() -> str | None:
    """Return a directory in memory, where the system has one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) and sys.platform == "linux" else None  # noqa: S108


def _take(directory: Path) -> tuple[int, Any]:
    """Return the lowest number that no living process has, and what holds it until this process ends."""
    number = 0
    while True:
        stream = open(directory / f"worker-{number}.lock", "a+b")  # noqa: SIM115 (it is held)
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            number += 1
        else:
            return number, stream
