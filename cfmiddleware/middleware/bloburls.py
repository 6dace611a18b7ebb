"""From an object's key to the URL to redirect to: signed for CloudFront, or presigned for S3."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from cfmiddleware.errors import StorageError
from cfmiddleware.metrics.names import SIGNATURES
from cfmiddleware.process.throttle import Throttle
from cfmiddleware.reference import has_whole_segments
from cfmiddleware.signing.originpath import encode_key, path_below

from .misses import Miss
from .presigned import PresignedURLs, Unusable
from .rewriteoptions import RewriteOptions, in_turn

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.signing.signer import Term, URLSigner
    from cfmiddleware.signing.unsigned import Unsigned

_log = logging.getLogger("cfmiddleware")


class BlobURLs:
    """Makes the URLs of blobs. What cannot be made never fails a pull.

    :param baseurl: the distribution's URL, without a slash at its end; empty where there is none.
    :param originpath: the distribution's Origin Path: empty, or ``/`` and whole segments.
    :param signer: signs URLs of CloudFront.
    :param presigned: presigns URLs of S3; None where no client is sent there.
    :param rewrites: what is changed in signed URLs of CloudFront.
    """

    def __init__(
        self,
        baseurl: str,
        originpath: str,
        signer: URLSigner | Unsigned,
        presigned: PresignedURLs | None,
        rewrites: tuple[RewriteOptions, ...] = (),
    ) -> None:
        self._baseurl = baseurl
        self._originpath = originpath
        self._signer = signer
        self._presigned = presigned
        self._rewrites = rewrites
        #: Returns whether what was signed in a term is what :meth:`sign` returns now.
        self.holds = signer.holds
        # A few objects are asked for over and over. An unreachable one raises, and so is not kept.
        self._reachable_url = lru_cache(maxsize=4096)(self._edge_url)
        self._throttle = Throttle()

    def edge_url(self, key: str) -> str | Miss:
        """Return the URL of an object at CloudFront, unsigned, or why CloudFront cannot reach it."""
        try:
            return self._reachable_url(key)
        except _UnreachableError as error:
            return error.miss

    def sign(self, url: str, digest: Digest, address: str | None) -> str | Miss:
        """Return a URL signed, or why it cannot be signed.

        :param url: what :meth:`edge_url` returned.
        :param digest: the blob's.
        :param address: the only client that the URL serves, as an IPv4 address; None for every client.
        """
        try:
            return self._rewritten(self._signer.url(url, digest.hex, address))
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not fail the pull)
            return _unsigned(digest, error)

    def sign_lasting(self, url: str, digest: Digest) -> tuple[str, Term] | Miss:
        """Return a URL signed for every client, and the term in which :meth:`sign` returns the same; or why
        it cannot be signed.
        """
        try:
            signed, term = self._signer.lasting(url, digest.hex)
            return self._rewritten(signed), term
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not fail the pull)
            return _unsigned(digest, error)

    @property
    def presigns(self) -> bool:
        """Whether URLs of S3 can be presigned at all."""
        return self._presigned is not None

    def presign(self, key: str, digest: Digest) -> str | None:
        """Return a presigned URL of S3 for the object at *key*, or None where none can be made."""
        if self._presigned is None:
            return None
        if not has_whole_segments(key):
            return None
        try:
            return self._presigned.url(key, digest.hex)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not fail the pull)
            if self._throttle.allows():
                # The text of a foreign error may show what it signs with.
                is_known = isinstance(error, StorageError | Unusable)
                _log.error(
                    "not sent to S3: the URL of %s could not be presigned: %s",
                    digest,
                    error if is_known else type(error).__name__,
                )
            return None

    def _rewritten(self, signed: str) -> str:
        return in_turn(self._rewrites, signed) if self._rewrites else signed

    def _edge_url(self, key: str) -> str:
        """Return the URL of an object at CloudFront, unsigned.

        :raises _UnreachableError: if CloudFront cannot reach it.
        """
        if not self._baseurl:
            raise _UnreachableError(Miss("presigning", f"the URL of {key!r} could not be presigned"))
        path = path_below(key, self._originpath)
        if path is None:
            said = f"key {key!r} is not below the Origin Path {self._originpath!r}"
            raise _UnreachableError(Miss("origin-path", said))
        if not has_whole_segments(path[1:]):
            said = f"key {path[1:]!r} has an empty, '.' or '..' segment"
            raise _UnreachableError(Miss("key-segments", said))
        return self._baseurl + encode_key(path)


def _unsigned(digest: Digest, error: Exception) -> Miss:
    SIGNATURES.inc("failed")
    return Miss("signing", f"the URL of {digest} could not be signed: {error}")


class _UnreachableError(Exception):
    """CloudFront does not reach an object."""

    def __init__(self, miss: Miss) -> None:
        self.miss = miss
