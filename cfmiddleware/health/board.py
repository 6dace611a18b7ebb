"""What all processes of a server see of its health: one writes, and the others read a byte."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import struct
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

_SIZE = 1 << 16

# Whether it is unhealthy, whether the server is about to stop, when the one that checks was last seen, how
# long the text is. The first two are written by different processes, each in one step.
_UNHEALTHY, _DRAINING = 0, 1
_BEAT = struct.Struct("=d")
_LENGTH = struct.Struct("=I")
_BEAT_AT, _LENGTH_AT, _TEXT_AT = 8, 16, 24

# No reason is longer: errors of HTTP clients repeat whole URLs.
_LONGEST = 400
_READS = 20


class Report(NamedTuple):
    """What is known of the health.

    :param failing: why, by the name of each check that fails.
    :param waiting: the checks that have not succeeded once.
    :param seconds: how long ago the process that checks was last seen; None before it was.
    :param draining: whether the server is about to stop.
    """

    failing: dict[str, str]
    waiting: list[str]
    seconds: float | None
    draining: bool


class Board:
    """Memory that the processes forked after it was made have in common.

    :param clock: seconds that never go backwards and are the same in all processes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # In memory where the system can do that: a container may have no directory to write to.
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("cfmiddleware-health")
        else:  # pragma: no cover - not on Linux
            self._file, name = tempfile.mkstemp()
            os.unlink(name)
        os.truncate(self._file, _SIZE)
        self._memory = mmap.mmap(self._file, _SIZE)

    @property
    def is_healthy(self) -> bool:
        """Whether no check fails."""
        return not self._memory[_UNHEALTHY]

    @property
    def is_draining(self) -> bool:
        """Whether the server is about to stop."""
        return bool(self._memory[_DRAINING])

    def drain(self) -> None:
        """Say that the server is about to stop."""
        self._memory[_DRAINING] = 1

    def take(self) -> bool:
        """Return whether this process is the one that checks. Another one does as soon as it has ended."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Let another process check."""
        with contextlib.suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def beat(self) -> None:
        """Say that this process still checks."""
        # In one step: pack_into would write a zero before it.
        self._memory[_BEAT_AT : _BEAT_AT + _BEAT.size] = _BEAT.pack(self._clock())

    def write(self, failing: dict[str, str], waiting: list[str]) -> None:
        """Write what the checks found; only the process that :meth:`take` chose does so."""
        shown = {name: reason[:_LONGEST] for name, reason in failing.items()}
        text = json.dumps({"failing": shown, "waiting": waiting}).encode()
        if len(text) > _SIZE - _TEXT_AT:
            text = json.dumps(
                {"failing": {name[:100]: "" for name in list(shown)[:100]}, "waiting": []}
            ).encode()
        _LENGTH.pack_into(self._memory, _LENGTH_AT, 0)  # who reads meanwhile reads again
        self._memory[_TEXT_AT : _TEXT_AT + len(text)] = text
        _LENGTH.pack_into(self._memory, _LENGTH_AT, len(text))
        self._memory[_UNHEALTHY] = bool(failing)
        self.beat()

    def read(self) -> Report:
        """Return what is known."""
        (beat,) = _BEAT.unpack_from(self._memory, _BEAT_AT)
        found = self._text()
        return Report(
            failing=found.get("failing", {}),
            waiting=found.get("waiting", []),
            seconds=max(0.0, self._clock() - beat) if beat else None,
            draining=self.is_draining,
        )

    def _text(self) -> dict[str, Any]:
        for _ in range(_READS):
            (length,) = _LENGTH.unpack_from(self._memory, _LENGTH_AT)
            try:
                text: dict[str, Any] = json.loads(self._memory[_TEXT_AT : _TEXT_AT + length])
            except ValueError:  # it is being written, or was never
                (beat,) = _BEAT.unpack_from(self._memory, _BEAT_AT)
                if not beat:
                    break
                time.sleep(0.001)
                continue
            return text
        return {}
