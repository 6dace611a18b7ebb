"""The part of a writer that is the same in every driver. It is used once, and aborts unless it is
committed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from .driver import Bytes


class SingleUseWriter(ABC):
    """A writer that takes bytes until it is committed or aborted, and then does nothing more.

    A driver implements the three underscored methods. ``_commit`` or ``_abort`` is called once.
    """

    def __init__(self) -> None:
        self.size = 0
        self._ended = False

    @abstractmethod
    def _write(self, data: Bytes) -> None:
        """Take *data*, which is not empty."""

    @abstractmethod
    def _commit(self) -> None:
        """Make the object visible. If that fails, leave nothing behind."""

    @abstractmethod
    def _abort(self) -> None:
        """Forget the object."""

    def write(self, data: Bytes) -> None:
        """Take *data*, of any length.

        :raises ValueError: after ``commit`` or ``abort``.
        """
        self._check_open()
        if data:
            self._write(data)
            self.size += len(data)

    def commit(self) -> None:
        """Make the object visible, replacing what may be at its path, durably, before returning.

        :raises ValueError: after ``commit`` or ``abort``.
        """
        self._check_open()
        self._ended = True
        self._commit()

    def abort(self) -> None:
        """Forget the object and leave nothing behind. Harmless after ``commit`` and when repeated."""
        if not self._ended:
            self._ended = True
            self._abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _check_open(self) -> None:
        if self._ended:
            raise ValueError("the writer was committed or aborted before")
