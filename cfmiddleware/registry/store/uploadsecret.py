"""The secret that proves where an upload stands, the same for all processes that use a storage."""

from __future__ import annotations

import logging
import secrets

from cfmiddleware.errors import ObjectExists, ObjectNotFound, StorageError
from cfmiddleware.process.cache import Cache
from cfmiddleware.process.throttle import Throttle
from cfmiddleware.storage.driver import Driver

from . import paths

_log = logging.getLogger(__name__)

_BYTES = 32

# How often at most the storage is asked whether the secret is another one now. Any client can have it asked.
_SECONDS = 5


class UploadSecret:
    """Random bytes that lie in the storage, made by the first process that needs them.

    A reader of the storage can read every blob, so the secret gives away nothing to such a reader. To replace
    it, delete the object: pushes that are under way may have to send a blob again.

    :param driver: where it is.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._known: Cache[str, bytes] = Cache(1)
        self._looks = Throttle(_SECONDS)

    def __call__(self) -> bytes:
        """Return the secret."""
        return self._known.once(paths.UPLOAD_SECRET, self._fetch)

    def another(self) -> bytes | None:
        """Return the secret that lies in the storage now if it is not the one that was known, else None.

        Where the storage cannot create only what is not there, two processes that begin at the same time may
        each have made one. Someone may also have deleted it.
        """
        if not self._looks.allows():
            return None
        known = self()
        try:
            found = self._fetch()
        except StorageError as error:
            _log.warning("the secret of the uploads cannot be read: %s", error)
            return None
        if found == known:
            return None
        self._known.put(paths.UPLOAD_SECRET, found)
        return found

    def _fetch(self) -> bytes:
        try:
            content = self._driver.read(paths.UPLOAD_SECRET)
        except ObjectNotFound:
            content = secrets.token_bytes(_BYTES)
            try:
                self._driver.create(paths.UPLOAD_SECRET, content)
            except ObjectExists:
                content = self._driver.read(paths.UPLOAD_SECRET)
        if len(content) < _BYTES:
            # Not written by a registry. It must not sign anything.
            content = secrets.token_bytes(_BYTES)
            self._driver.write(paths.UPLOAD_SECRET, content)
        return content
