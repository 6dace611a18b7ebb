"""Writing what many requests have at the same time in one step, while each of them waits for its own part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cfmiddleware.process.waiting import Signal, let_others_go, signal

T = TypeVar("T")


class Batches(Generic[T]):
    """Lets one caller at a time write, for itself and for all who came while another one wrote.

    Made in the process that uses it. The first one of a batch is the one who writes it. All others wait for
    the batch, and not for each other: who waited for a turn would come too late for the next batch.

    :param write: writes items in their order, and returns those that it refused.
    """

    def __init__(self, write: Callable[[Sequence[T]], list[T]]) -> None:
        self._write = write
        self._lock = threading.Lock()  # held for a microsecond
        self._open: _Batch[T] = _Batch()
        self._is_writing = False

    def add(self, items: Sequence[T]) -> list[T]:
        """Have *items* written, and return those that were refused.

        :raises Exception: what writing the batch raises, in each caller whose items are in it.
        """
        while True:
            with self._lock:
                batch = self._open
                is_first = not batch.items
                batch.items.extend(items)
                has_turn = is_first and not self._is_writing
                if has_turn:
                    self._is_writing = True
            if is_first:
                self._lead(batch, has_turn=has_turn)
            else:
                batch.done.wait()
            if batch.error is not None:
                raise batch.error
            if not batch.was_left:
                break
        if not batch.refused:
            return []
        refused = {id(item) for item in batch.refused}
        return [item for item in items if id(item) in refused]

    def _lead(self, batch: _Batch[T], *, has_turn: bool) -> None:
        """Write a batch when its turn comes, and let the next one go on."""
        try:
            if has_turn:
                let_others_go()  # they may have something, too
            else:
                batch.turn.wait()
            with self._lock:
                self._open = _Batch()
            try:
                batch.refused = self._write(batch.items)
            except Exception as error:  # noqa: BLE001 (each caller raises it)
                batch.error = error
        except BaseException:
            # This one is being stopped; the others add theirs again.
            batch.was_left = True
            raise
        finally:
            with self._lock:
                if self._open is batch:
                    self._open = _Batch()
                if has_turn or batch.turn.is_set():
                    self._is_writing = bool(self._open.items)
                    if self._is_writing:
                        self._open.turn.set()
            batch.done.set()


class _Batch(Generic[T]):
    """What is written in one step."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self.refused: list[T] = []
        self.error: Exception | None = None
        self.was_left = False
        self.turn: Signal = signal()
        self.done: Signal = signal()
