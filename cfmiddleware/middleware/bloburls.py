"""From an object's key to the URL to redirect to: signed for CloudFront, or presigned for S3."""

from __future__ import annotations

import logging
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from cfmiddleware.errors import StorageError
from cfmiddleware.process.throttle import Throttle
from cfmiddleware.reference import has_whole_segments
from cfmiddleware.signing.originpath import encode_key, path_below

from .presigned import PresignedURLs, Unusable

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.signing.signer import URLSigner

_log = logging.getLogger("cfmiddleware")


class BlobURLs:
    """Makes the URLs of blobs. What cannot be made is logged, and never fails a pull.

    :param baseurl: the distribution's URL, without a slash at its end.
    :param originpath: the distribution's Origin Path: empty, or ``/`` and whole segments.
    :param signer: signs URLs of CloudFront.
    :param presigned: presigns URLs of S3; None where no client is sent there.
    """

    def __init__(
        self, baseurl: str, originpath: str, signer: URLSigner, presigned: PresignedURLs | None
    ) -> None:
        self._baseurl = baseurl
        self._originpath = originpath
        self._signer = signer
        self._presigned = presigned
        # A few objects are asked for over and over. An unreachable one raises, and so is not kept.
        self._reachable_url = lru_cache(maxsize=4096)(self._edge_url)
        self._throttle = Throttle()
        self._lock = threading.Lock()
        #: Signatures that could not be made.
        self.failures = 0

    def edge_url(self, key: str) -> str | None:
        """Return the URL of an object at CloudFront, unsigned, or None if CloudFront cannot reach it."""
        try:
            return self._reachable_url(key)
        except _UnreachableError as reason:
            _log.warning("not redirected: %s", reason)
            return None

    def sign(self, url: str, digest: Digest, address: str | None) -> str | None:
        """Return a URL signed, or None where it cannot be signed, which is counted.

        :param url: what :meth:`edge_url` returned.
        :param digest: the blob's.
        :param address: the only client that the URL serves, as an IPv4 address; None for every client.
        """
        try:
            return self._signer.url(url, digest.hex, address)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not fail the pull)
            with self._lock:
                self.failures += 1
            _log.error("not redirected: the URL of %s could not be signed: %s", digest, error)
            return None

    def presign(self, key: str, digest: Digest) -> str | None:
        """Return a presigned URL of S3 for the object at *key*, or None where none can be made."""
        if self._presigned is None:
            return None
        if not has_whole_segments(key):
            _log.warning("not redirected: %s", _folded(key))
            return None
        try:
            return self._presigned.url(key, digest.hex)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not fail the pull)
            if self._throttle.allows():
                # The text of a foreign error may show what it signs with.
                is_known = isinstance(error, StorageError | Unusable)
                _log.error(
                    "sent to CloudFront, though near S3: the URL of %s could not be presigned: %s",
                    digest,
                    error if is_known else type(error).__name__,
                )
            return None

    def _edge_url(self, key: str) -> str:
        """Return the URL of an object at CloudFront, unsigned.

        :raises _UnreachableError: if CloudFront cannot reach it.
        """
        path = path_below(key, self._originpath)
        if path is None:
            raise _UnreachableError(f"key {key!r} is not below the Origin Path {self._originpath!r}")
        if not has_whole_segments(path[1:]):
            raise _UnreachableError(_folded(path[1:]))
        return self._baseurl + encode_key(path)


class _UnreachableError(Exception):
    """CloudFront does not reach an object; the message says why."""


def _folded(key: str) -> str:
    """Return why a key is not redirected to: clients and CloudFront may fold its segments."""
    return f"key {key!r} has an empty, '.' or '..' segment"
