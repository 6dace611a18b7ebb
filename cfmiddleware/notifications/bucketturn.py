"""Who delivers what is in the spool of a bucket: one process at a time, of all machines.

The right is an object with a number. Who takes it over creates the next number: of many who try, one wins.
Who has it says so again and again. It is free when it was given up, when the process that has it has
certainly ended, or when nobody has said anything for a while.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from cfmiddleware.errors import ObjectExists, ObjectNotFound
from cfmiddleware.process.owner import has_ended, this_process

from .objects import Objects, numbered, numbers

# Seconds: how often the one who has it says so, for how long it counts for itself without having said so, and
# for how long for the others. Clocks of several machines are not compared.
_RENEW = 10.0
_COUNTS = 30.0
_FREE = 45.0


class BucketTurn:
    """The right to deliver, as one process sees it.

    :param objects: the storage.
    :param prefix: where it lies in it.
    :param clock: seconds that never go backwards.
    """

    def __init__(self, objects: Objects, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects = objects
        self._prefix = prefix
        self._clock = clock
        self._number = 0  # the highest that was seen
        self._seen = b""
        self._since = 0.0  # when what was seen had changed
        self._said = float("-inf")  # when this process said that it has it
        self._beat = 0

    def take(self) -> bool:
        """Return whether this process has the right from now on."""
        seen = self._look()
        if seen is None or self._is_free(seen):
            began = self._clock()
            try:
                self._objects.create(numbered(self._prefix, self._number + 1), self._text())
            except ObjectExists:
                return False
            self._number, self._said = self._number + 1, began
            self._remove_older()
            return True
        return False

    def _look(self) -> bytes | None:
        """Return what the one who has the right says, or None if nobody ever had it."""
        try:
            if not self._number:
                raise ObjectNotFound
            content = self._objects.read(numbered(self._prefix, self._number))
        except ObjectNotFound:
            found = numbers(self._objects.list(self._prefix))
            if not found:
                return None
            self._number = max(found)
            content = self._objects.read(numbered(self._prefix, self._number))
            self._seen = b""
        if content != self._seen:
            self._seen, self._since = content, self._clock()
        return content

    def _is_free(self, content: bytes) -> bool:
        try:
            said: Any = json.loads(content)
            owner, is_free = str(said["owner"]), bool(said["free"])
        except (ValueError, KeyError, TypeError):
            owner, is_free = "", False
        return is_free or has_ended(owner) or self._clock() - self._since > _FREE

    def is_held(self) -> bool:
        """Return whether this process still has it, as far as it knows."""
        return self._clock() - self._said < _COUNTS

    def renew(self) -> None:
        """Say that the process still delivers, if it is time to, and see that nobody has taken over."""
        began = self._clock()
        if began - self._said < _RENEW or not self.is_held():
            return
        self._beat += 1
        self._objects.write(numbered(self._prefix, self._number), self._text())
        try:
            self._objects.stat(numbered(self._prefix, self._number + 1))
        except ObjectNotFound:
            self._said = began
        else:
            self._said = float("-inf")
            self._objects.delete([numbered(self._prefix, self._number)])

    def give_up(self) -> None:
        """Let another process deliver."""
        if self.is_held():
            self._said = float("-inf")
            self._objects.write(numbered(self._prefix, self._number), self._text(is_free=True))

    def _text(self, *, is_free: bool = False) -> bytes:
        return json.dumps({"owner": this_process(), "beat": self._beat, "free": is_free}).encode()

    def _remove_older(self) -> None:
        found = numbers(self._objects.list(self._prefix))
        older = [numbered(self._prefix, number) for number in found if number < self._number]
        if older:
            self._objects.delete(older)
