"""Writing what many requests have at the same time in one step, while each of them waits for its own part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Batches(Generic[T]):
    """Lets one caller at a time write, for itself and for all who came while another one wrote.

    Made in the process that uses it.

    :param write: writes items in their order, and returns those that it refused.
    """

    def __init__(self, write: Callable[[Sequence[T]], list[T]]) -> None:
        self._write = write
        self._lock = threading.Lock()  # held for a microsecond
        self._turn = threading.Lock()
        self._open: _Batch[T] = _Batch()

    def add(self, items: Sequence[T]) -> list[T]:
        """Have *items* written, and return those that were refused.

        :raises Exception: what writing the batch raises, in each caller whose items are in it.
        """
        with self._lock:
            batch = self._open
            batch.items.extend(items)
        with self._turn:
            # Where the one who wrote is stopped meanwhile, the next one writes the same again.
            if not batch.is_done:
                with self._lock:
                    self._open = _Batch()
                try:
                    batch.refused = self._write(batch.items)
                except Exception as error:  # noqa: BLE001 (each caller raises it)
                    batch.error = error
                batch.is_done = True
        if batch.error is not None:
            raise batch.error
        if not batch.refused:
            return []
        refused = {id(item) for item in batch.refused}
        return [item for item in items if id(item) in refused]


class _Batch(Generic[T]):
    """What is written in one step."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self.refused: list[T] = []
        self.error: Exception | None = None
        self.is_done = False
