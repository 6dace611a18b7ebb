"""What became of the last collection, kept in the storage, so that every process and every machine knows."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from cfmiddleware.errors import ObjectExists, ObjectNotFound, StorageError
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .lease import LeaseTaken

if TYPE_CHECKING:
    from cfmiddleware.storage.requestmeter import RequestMeter

    from .collector import Collector, Outcome

#: What becomes of a collection: all is done; there was more to do than it had time for, or something was not
#: deleted; it was ended before it was done; the storage failed.
OUTCOMES = ("done", "unfinished", "stopped", "failed")


@dataclass(frozen=True)
class Record:
    """What became of a collection. Times are Unix seconds by the clock of the machine that it ran on.

    :param success: when one was last done; before the first, when somebody first looked.
    :param began: when that one began; 0 before the first.
    :param ended: when the last one ended; 0 before the first.
    :param seconds: how long it took.
    :param outcome: one of :data:`OUTCOMES`, or an empty text before the first.
    :param links: how many links of blobs it set aside.
    :param manifests: how many manifests.
    :param blobs: how many blobs it deleted.
    :param size: how many bytes they had.
    :param requests: how many requests to S3 it made, by their kinds.
    """

    success: float
    began: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    outcome: str = ""
    links: int = 0
    manifests: int = 0
    blobs: int = 0
    size: int = 0
    requests: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes) -> Self | None:
        """Read what :meth:`written` returned; None for anything else."""
        try:
            given: dict[str, Any] = json.loads(content)
            known = {each.name: given[each.name] for each in fields(cls) if each.name in given}
            record = cls(**known)
            float(record.success + record.began + record.ended + record.seconds)
        except (TypeError, ValueError, KeyError, RecursionError):
            return None
        return record

    def written(self) -> bytes:
        """Return the record as the storage has it."""
        return json.dumps(asdict(self)).encode()

    def after(
        self, outcome: str, ended: float, seconds: float, done: Outcome | None, requests: Mapping[str, int]
    ) -> Self:
        """Return the record of the next collection.

        :param done: what it has done, as far as that is known.
        """
        following = replace(
            self,
            ended=ended,
            seconds=round(seconds, 3),
            outcome=outcome,
            links=done.layers if done else 0,
            manifests=done.revisions if done else 0,
            blobs=done.deleted.count if done else 0,
            size=done.deleted.size if done else 0,
            requests=dict(requests),
        )
        if outcome != "done":
            return following
        return replace(following, success=ended, began=ended - following.seconds)


def read_record(driver: Driver, now: float) -> Record:
    """Return the record of the last collection. Where there is none, one is begun.

    :param now: in Unix seconds.
    """
    record = _read(driver)
    if record is not None:
        return record
    record = Record(success=now)
    try:
        driver.create(paths.LAST_COLLECTION, record.written())
    except ObjectExists:
        record = _read(driver) or record
        if not record.outcome:  # it may be damaged
            write_record(driver, record)
    return record


def write_record(driver: Driver, record: Record) -> None:
    """Keep the record of a collection."""
    driver.write(paths.LAST_COLLECTION, record.written())


def collect_on_record(
    driver: Driver, collector: Collector, meter: RequestMeter, clock: Callable[[], float] = time.time
) -> Outcome:
    """Collect, and keep the record of it, also where the collection does not come to its end.

    :param meter: what the collection's requests pass through.
    :raises LeaseTaken: when another collection runs; then there is no new record.
    """
    began = clock()
    outcome = "failed"
    try:
        found = collector.collect()
        outcome = "unfinished" if found.unfinished or found.refused else "done"
    except LeaseTaken:
        outcome = ""
        raise
    except KeyboardInterrupt:
        outcome = "stopped"
        raise
    finally:
        if outcome:
            now = clock()
            with contextlib.suppress(StorageError):
                before = _read(driver) or Record(success=began)
                record = before.after(outcome, now, now - began, collector.outcome, meter.counts())
                write_record(driver, record)
    return found


def _read(driver: Driver) -> Record | None:
    try:
        return Record.parse(driver.read(paths.LAST_COLLECTION))
    except ObjectNotFound:
        return None
