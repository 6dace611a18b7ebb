"""GETs of blobs in front of a registry that says where a blob is, in place of answering.

What decides is the same as for any other app: the registry is asked with each request, and its own
authentication is in force. Only what an answer would be made of is left out: headers, a body, and reading
them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import PROBE_SECONDS
from cfmiddleware.tracing.childspan import asking
from cfmiddleware.wsgi.accessrecord import ACCESS
from cfmiddleware.wsgi.blobplace import BlobPlace, PlaceOf, PulledPlace

from .blobsizes import BlobSizes
from .bloburls import BlobURLs
from .misses import Miss, Misses
from .options import WrapperOptions
from .redirect import redirect_again, repeated_redirect

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.reference import BlobPath
    from cfmiddleware.signing.signer import Term
    from cfmiddleware.wsgi.accessrecord import AccessRecord
    from cfmiddleware.wsgi.repeatedheaders import Repeated
    from cfmiddleware.wsgi.types import App, StartResponse

_PROBE = PROBE_SECONDS.of()


def can_be_placed(options: WrapperOptions) -> bool:
    """Return whether where a blob is, and perhaps its size, is all that these options need to know.

    All other options look at the answer or at the client, and :class:`~cfmiddleware.middleware.pull.Pulls`
    does that.
    """
    return (
        options.probe == "get"
        and not (options.probecache or options.keepheaders or options.bindip)
        and not (options.networks or options.ipfilteredby != "none")
        and not options.minimumsize
        and options.maximumsize in (0, WrapperOptions.maximumsize)
    )


class PlacedPulls:
    """Answers GETs of blobs.

    :param app: the registry.
    :param place_of: asks it where a blob is.
    :param options: the wrapper's, for which :func:`can_be_placed` is true.
    :param urls: makes the URLs to redirect to.
    :param misses: told of each pull that the registry allowed and that was not redirected.
    :param sizes: told of each redirect.
    """

    def __init__(
        self,
        app: App,
        place_of: PlaceOf,
        options: WrapperOptions,
        urls: BlobURLs,
        misses: Misses,
        sizes: BlobSizes,
    ) -> None:
        self.app = app
        # The registry is this package's: it finds the span as the current one.
        self._place_of = asking(
            place_of, 2, lambda found: isinstance(found, (BlobPlace, PulledPlace)), named=False
        )
        self._root = options.rootdirectory
        self._largest = options.maximumsize if options.maximumsize and not options.unsigned else math.inf
        self._urls = urls
        self._holds = urls.holds
        self._misses = misses
        self._sizes = sizes
        # It depends on nothing but the options.
        self._url = lru_cache(maxsize=4096)(self._url_of)

    def answer(
        self, blob: BlobPath, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """Redirect the client to the blob or hand on what the registry says, or return None if it is to be
        asked like any other app.
        """
        repository, digest = blob
        counts = STATE.directory is not None
        if not counts:
            found = self._place_of(repository, digest, environ, start_response)
        else:
            if not STATE.has_begun:
                STATE.begin()
            began = perf_counter()
            found = self._place_of(repository, digest, environ, start_response)
            _PROBE.observe(perf_counter() - began)
        pulled = None
        if not isinstance(found, BlobPlace):
            if not isinstance(found, PulledPlace):
                return found
            found, pulled = found
        size = found.size
        if size is not None and size > self._largest:
            return None
        kept = found.kept
        if not (
            type(kept) is _Signed
            and kept.urls is self._urls
            and kept.digest == digest
            and self._holds(kept.term)
        ):
            signed = self._sign(found, digest)
            if isinstance(signed, Miss):
                return self.app(environ, self._misses.watching(signed, start_response))
            kept = found.kept = signed
        if pulled is not None:
            pulled()
        record: AccessRecord | None = environ.get(ACCESS)
        if record is not None:
            record.sent = "edge"
        if counts:
            self._sizes.count(blob, "edge", size)
        return redirect_again(start_response, kept.headers)

    def _sign(self, place: BlobPlace, digest: Digest) -> _Signed | Miss:
        """Return the redirect to a blob, or why there is none."""
        url = self._url(place.path, place.in_bucket)
        if isinstance(url, Miss):
            return url
        signed = self._urls.sign_lasting(url, digest)
        if isinstance(signed, Miss):
            return signed
        location, term = signed
        return _Signed(self._urls, digest, term, repeated_redirect(location, digest))

    def _url_of(self, path: str, in_bucket: bool) -> str | Miss:
        """Return the URL of a blob's object at CloudFront, unsigned, or why CloudFront cannot reach it."""
        path = path.lstrip("/")
        return self._urls.edge_url(path if in_bucket else f"{self._root}/{path}".lstrip("/"))


class _Signed(NamedTuple):
    """A redirect, kept beside the blob's place. It is used again only by who has made it, for the same
    digest, and while it is what would be made anew: its window lasts, and its key signs.

    :param urls: who has made it.
    :param digest: the digest that was asked for.
    :param term: for how long.
    :param headers: the redirect's.
    """

    urls: BlobURLs
    digest: Digest
    term: Term
    headers: Repeated
