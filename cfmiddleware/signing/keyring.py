"""The key that signs. Its file is watched, so that a new key signs without a restart.

A public key in CloudFront never changes under its id, so a new key always comes with a new id. Two ways
change both in one step: a link that is switched to another ``pk-<id>.pem``, and a directory of such files, of
which the newest signs.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Mapping

from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path
from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import SIGNING_KEY
from cfmiddleware.process.cache import PerProcess

from .keyfiles import Directory, SingleFile
from .keys import KeyPair, PublicKey, load_private_key, load_public_key
from .keywatch import KeyWatch

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class KeyRing:
    """Answers which key signs now.

    Safe to share between threads and to carry over a fork: no thread waits for another one, and the disk is
    read once in an interval.

    :param pair: the key that signs first.
    :param watch: what knows of newer ones; None for a key that never changes.
    :param interval: seconds between two looks at the files.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        pair: KeyPair,
        watch: KeyWatch | None = None,
        *,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pair = pair
        self._watch = watch
        self._interval = interval
        self._clock = clock
        self._due = clock() + interval
        self._lock = PerProcess(threading.Lock)
        self._public: Mapping[str, PublicKey] = {}
        STATE.tell(self._begin_to_tell)

    @classmethod
    def from_options(
        cls,
        privatekey: str,
        keypairid: str | None = None,
        *,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> KeyRing:
        """Return the ring that the options describe.

        :param privatekey: PEM text, the path of a file, or the path of a directory of files named
            ``pk-<id>.pem`` or ``<id>.pem``.
        :param keypairid: CloudFront's id of the public key; needed for PEM text, and for a file whose name
            does not say it.
        :param interval: seconds between two looks at the files.
        :param clock: seconds that never go backwards.
        :raises ConfigError: when no key can sign with these options.
        """
        if keypairid is not None and not _ID.fullmatch(keypairid):
            # The value is not shown: it may be a key that was put under the wrong name.
            raise ConfigError(
                "keypairid: must be made of at most 64 letters, digits, '-' and '_', as CloudFront's ids are"
            )
        if "-----BEGIN" in privatekey:
            if keypairid is None:
                raise ConfigError("keypairid: this option is required where privatekey is the key itself")
            return cls(KeyPair(keypairid, load_private_key(privatekey, "privatekey")))
        if _is_directory(privatekey):
            if keypairid is not None:
                raise ConfigError(
                    "keypairid: leave it out where privatekey is a directory; the files' names say the ids"
                )
            watch = KeyWatch(Directory(privatekey))
        else:
            watch = KeyWatch(SingleFile(privatekey, keypairid))
        return cls(watch.first(), watch, interval=interval, clock=clock)

    def current(self) -> KeyPair:
        """Return the key that signs now, and its id."""
        if self._watch is not None and self._clock() >= self._due:
            self._look(self._watch)
        return self._pair

    def public_keys(self) -> Mapping[str, PublicKey]:
        """Return the public half of the key that signs now, and of those that signed before, by their ids."""
        pair = self.current()
        if pair.id not in self._public:
            # A new mapping each time: another thread may be reading the old one.
            self._public = {**self._public, pair.id: load_public_key(pair.key.public_pem, pair.id)}
        return self._public

    def _begin_to_tell(self) -> None:
        """Tell Prometheus in a process that begins. It may have been forked from one that signs nothing, and
        so never looked for newer keys.
        """
        self.current()
        self._tell()

    def _tell(self) -> None:
        """Tell Prometheus which key signs, and how old it is. That of an option has no age."""
        changed = self._watch.changed() if self._watch is not None else 0
        SIGNING_KEY.of(self._pair.id).set(changed or 1)

    def _look(self, watch: KeyWatch) -> None:
        """Look for a newer key, unless another thread does so already."""
        lock = self._lock()
        if not lock.acquire(blocking=False):
            return
        try:
            self._due = self._clock() + self._interval
            before, self._pair = self._pair, watch.next(self._pair)
            if before.id != self._pair.id:
                SIGNING_KEY.of(before.id).set(0)
                self._tell()
        finally:
            lock.release()


def _is_directory(path: str) -> bool:
    """Return whether the path is a directory. A path that does not exist is an error."""
    neither = ConfigError("privatekey: is neither a path nor PEM text, which has a -----BEGIN line")
    if not path or "\0" in path or "\n" in path:
        raise neither
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        shown = shown_path(path)
        hint = "" if shown == path else "; a key itself needs its -----BEGIN line"
        raise ConfigError(f"{shown}: {cannot_be_read(error)}{hint}") from None
