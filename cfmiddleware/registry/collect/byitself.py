"""Collections that begin by themselves, each in a process of its own at the lowest priority.

A collection computes: it parses, and holds sets of millions. In a process that serves, all redirects would
wait for that.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cfmiddleware.errors import StorageError
from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import (
    COLLECTED,
    COLLECTED_BYTES,
    COLLECTION_ENDED,
    COLLECTION_INTERVAL,
    COLLECTION_REQUESTS,
    COLLECTION_SECONDS,
    COLLECTION_SUCCESS,
    COLLECTIONS,
)
from cfmiddleware.process.childprocess import ChildProcess

from .condemned import LATE, SETTLE
from .journal import Record, read_record, write_record

if TYPE_CHECKING:
    from cfmiddleware.storage.driver import Driver

    from .window import Window

_log = logging.getLogger("cfmiddleware")

#: What the process runs.
CHILD = "cfmiddleware.cli.collectchild"

# Seconds between two looks at whether one is due, and at a process that collects.
_LOOK = 60.0
_POLL = 0.2

# Seconds until the next look when another machine collects.
_TAKEN = 600.0

# For how long a collection that is to end is waited for: it waits until its deletes have settled.
_END = LATE + SETTLE + 10.0

# How much earlier than the interval one may begin where there is a window, so that it does not begin a little
# later each day; and when one that was not done is followed by another. Parts of the interval.
_EARLY = 0.1
_AGAIN = 1 / 24


@dataclass(frozen=True)
class Schedule:
    """When collections begin.

    :param interval: how many seconds after the begin of one that was done the next one begins.
    :param window: the hours of the day in which they run; None for all.
    """

    interval: float
    window: Window | None = None

    def is_due(self, last: Record, now: float) -> bool:
        """Return whether one should begin.

        :param last: the last one's record.
        :param now: in Unix seconds.
        """
        if self.seconds_left(now) <= 0:
            return False
        if not last.outcome:
            return True
        early = self.interval * _EARLY if self.window is not None else 0.0
        done = last.began or last.success
        if last.outcome == "done":
            return now - done >= self.interval - early
        return now - done >= self.interval - early and now - last.ended >= self.interval * _AGAIN

    def seconds_left(self, now: float) -> float:
        """Return for how many seconds one may run."""
        return float("inf") if self.window is None else self.window.seconds_left(now)


class CollectionByItself:
    """Begins a collection whenever one is due. One process of a machine does this at a time.

    :param driver: the storage.
    :param schedule: when.
    :param job: returns what the process needs to know.
    :param clock: tells the time in Unix seconds.
    """

    name = "garbage collection"

    def __init__(
        self,
        driver: Driver,
        schedule: Schedule,
        job: Callable[[], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        STATE.tell(self._claim)
        self._driver = driver
        self._schedule = schedule
        self._job = job
        self._clock = clock
        self._next = 0.0

    def look(self, ended: threading.Event) -> None:
        """Collect if it is time to, until it is done, its window closes or this process is about to end.

        :param ended: set when it is.
        """
        now = self._clock()
        if now < self._next:
            return
        self._next = now + min(_LOOK, self._schedule.interval / 10)
        try:
            last = read_record(self._driver, now)
        except StorageError as error:
            _log.warning("garbage collection: whether one is due cannot be seen: %s", error)
            return
        self._show(last)
        if self._schedule.is_due(last, now):
            self._collect(last, ended)

    def _collect(self, last: Record, ended: threading.Event) -> None:
        began = self._clock()
        try:
            child = ChildProcess(CHILD, self._job())
        except OSError as error:
            _log.error("garbage collection: cannot be started: %s", error)
            self._close(last, began)
            return
        _log.info("garbage collection: begins in process %d", child.pid)
        deadline = time.monotonic() + self._schedule.seconds_left(began)
        why = ""
        while not child.has_ended():
            late = time.monotonic() >= deadline
            if late or ended.is_set():
                why = "the window is over" if late else "the server stops"
                break
            ended.wait(_POLL)
        if why:
            child.stop()
            patience = time.monotonic() + _END
            while not child.has_ended():
                if time.monotonic() >= patience:
                    child.stop(signal.SIGKILL)
                time.sleep(_POLL)
        self._tell(child, last, began, why)

    def _tell(self, child: ChildProcess, last: Record, began: float, why: str) -> None:
        """Say in the log, and to Prometheus, what became of a collection."""
        said = _parsed(child.said)
        if "taken" in said:
            _log.info("garbage collection: %s", said["taken"])
            self._next = self._clock() + min(_TAKEN, self._schedule.interval)
            return
        record = Record.parse(json.dumps(said.get("record")).encode())
        if record is None:
            # It was killed, or its Python could not even begin.
            _log.error("garbage collection: its process ended without a word")
            record = self._close(last, began)
        else:
            level = logging.INFO if record.outcome in ("done", "stopped") else logging.WARNING
            _log.log(level, "garbage collection: %s", _in_words(record, why or said.get("error", "")))
        COLLECTIONS.inc(record.outcome)
        for kind, count in (("link", record.links), ("manifest", record.manifests), ("blob", record.blobs)):
            COLLECTED.of(kind).add(count)
        COLLECTED_BYTES.of().add(record.size)
        for kind, count in record.requests.items():
            COLLECTION_REQUESTS.of(kind).add(count)
        self._show(record)

    def _close(self, last: Record, began: float) -> Record:
        """Keep a record of a collection that could not do so itself."""
        now = self._clock()
        record = last.after("failed", now, now - began, None, {})
        try:
            write_record(self._driver, record)
        except StorageError as error:
            _log.warning("garbage collection: no record of it can be kept: %s", error)
        return record

    def _claim(self) -> None:
        """Say that what one of the processes tells is to stay."""
        for gauge in (COLLECTION_INTERVAL, COLLECTION_SUCCESS, COLLECTION_ENDED, COLLECTION_SECONDS):
            gauge.claim()

    def _show(self, record: Record) -> None:
        COLLECTION_INTERVAL.of().set(self._schedule.interval)
        COLLECTION_SUCCESS.of().set(record.success)
        COLLECTION_ENDED.of().set(record.ended)
        COLLECTION_SECONDS.of().set(record.seconds)


def _parsed(said: bytes) -> dict[str, Any]:
    try:
        found = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}


def _in_words(record: Record, why: str) -> str:
    requests = sum(record.requests.values())
    return (
        f"{record.outcome}{f' ({why})' if why else ''} after {record.seconds:.0f} s: "
        f"{record.links} links of blobs and {record.manifests} manifests set aside, {record.blobs} blobs of "
        f"{record.size} bytes deleted, {requests} requests to the storage"
    )
