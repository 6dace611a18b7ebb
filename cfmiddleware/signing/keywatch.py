"""Key files that change: a new key is accepted, or refused with a line in the log."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from cfmiddleware.errors import ConfigError, cannot_be_read
from cfmiddleware.metrics.names import KEY_ROTATIONS
from cfmiddleware.process.watchedfile import ChangingFile

from .keyfiles import MAX_SIZE, KeyFile, KeySource
from .keys import KeyPair, load_private_key

_log = logging.getLogger("cfmiddleware.signing")


class _Verdict(NamedTuple):
    """What was found in a file: a pair, or the reason why there is none."""

    file: ChangingFile
    pair: KeyPair | None
    reason: str | None
    readable: bool = True


class KeyWatch:
    """Reads key files when asked, and remembers what it found, so that nothing is read or logged twice.

    Never used by two threads at the same time.

    :param source: where the files are.
    :param clock: Unix seconds, as the file system has them.
    """

    def __init__(self, source: KeySource, *, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._verdicts: dict[tuple[str, str], _Verdict] = {}
        self._fingerprints: dict[str, str] = {}
        self._complaint: str | None = None
        self._path = ""

    def changed(self) -> float:
        """Return when the file of the key that signs was last changed, in Unix seconds; 0 if nobody knows."""
        try:
            return os.stat(self._path).st_mtime
        except (OSError, ValueError):
            return 0

    def first(self) -> KeyPair:
        """Return the pair to begin with; newer files without a good key are logged.

        :raises ConfigError: when no file is good, with the reason of the newest one.
        """
        pair, refusals = self._choose(self._source.files(), None)
        if pair is None:
            raise ConfigError(refusals[0][1])
        _log_refusals(refusals, pair)
        return pair

    def next(self, current: KeyPair) -> KeyPair:
        """Return the pair that signs from now on: *current*, unless another file has a good key.

        A refused file is logged once for each change.
        """
        try:
            files = self._source.files()
        except ConfigError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.error("key pair %s goes on signing: %s", current.id, error)
            return current
        self._complaint = None
        pair, refusals = self._choose(files, current)
        pair = pair or current
        _log_refusals(refusals, pair)
        if pair.id == current.id:
            return current
        _log.info("key pair %s signs from now on, in place of %s", pair.id, current.id)
        KEY_ROTATIONS.inc("taken")
        return pair

    def _choose(
        self, files: list[KeyFile], current: KeyPair | None
    ) -> tuple[KeyPair | None, list[tuple[KeyFile, str]]]:
        """Return the pair of the first good file, and the refusals that were not logged before."""
        verdicts: dict[tuple[str, str], _Verdict] = {}
        refusals: list[tuple[KeyFile, str]] = []
        chosen: KeyPair | None = None
        for file in files:
            place = (file.path, file.id)
            before = self._verdicts.get(place)
            if chosen is not None:
                # Not read while a newer one signs, and what was logged about it is kept.
                if before is not None:
                    verdicts[place] = before
                continue
            verdict = verdicts[place] = self._judge(file, before)
            chosen = verdict.pair
            if chosen is not None:
                self._path = file.path
            if verdict.reason is None:
                continue
            if verdict is not before and (
                verdict.readable or before is None or before.reason != verdict.reason
            ):
                refusals.append((file, verdict.reason))
            if current is not None and current.id == file.id:
                # The file that replaced the key in force has no good key. That key stays, not an older one.
                chosen = current
        self._verdicts = verdicts
        return chosen, refusals

    def _judge(self, file: KeyFile, before: _Verdict | None) -> _Verdict:
        """Return what is in a file: *before* itself if it has not changed since."""
        source = (
            before.file if before is not None else ChangingFile(file.path, limit=MAX_SIZE, clock=self._clock)
        )
        try:
            content = source.read_if_changed()
        except (OSError, ValueError) as error:
            return _Verdict(source, None, f"{file.name}: {cannot_be_read(error)}", readable=False)
        if content is None and before is not None:
            return before
        try:
            key = load_private_key((content or b"").decode("utf-8", "replace"), file.name)
        except ConfigError as error:
            return _Verdict(source, None, str(error))
        if self._fingerprints.setdefault(file.id, key.fingerprint) != key.fingerprint:
            reason = f"{file.name}: holds another key than before; in CloudFront a new key has a new id"
            return _Verdict(source, None, reason)
        return _Verdict(source, KeyPair(file.id, key), None)


def _log_refusals(refusals: list[tuple[KeyFile, str]], pair: KeyPair) -> None:
    for file, reason in refusals:
        KEY_ROTATIONS.inc("refused")
        if file.id == pair.id:
            _log.error("what replaced key pair %s is refused, and it goes on signing: %s", pair.id, reason)
        else:
            _log.error("key pair %s is refused, %s signs: %s", file.id, pair.id, reason)
