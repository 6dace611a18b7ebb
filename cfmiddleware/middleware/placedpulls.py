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
from typing import TYPE_CHECKING, Any, cast

from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import PROBE_SECONDS
from cfmiddleware.tracing.childspan import asking
from cfmiddleware.wsgi.accessrecord import ACCESS
from cfmiddleware.wsgi.blobplace import BlobPlace, PlaceOf, PulledPlace
from cfmiddleware.wsgi.repeatedheaders import Repeated

from .blobsizes import BlobSizes
from .bloburls import BlobURLs
from .misses import Miss, Misses
from .options import WrapperOptions
from .redirect import redirect_again, redirect_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cfmiddleware.reference import BlobPath
    from cfmiddleware.signing.signer import Term
    from cfmiddleware.wsgi.accessrecord import AccessRecord
    from cfmiddleware.wsgi.types import App, StartResponse

_PROBE = PROBE_SECONDS.of()

# Redirects are remembered until there are so many, and then those of them that are asked for again while as
# many others come.
_KEPT = 5000


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
            place_of, 1, lambda found: isinstance(found, (BlobPlace, PulledPlace)), named=False
        )
        self._root = options.rootdirectory
        self._largest = options.maximumsize if options.maximumsize and not options.unsigned else math.inf
        self._urls = urls
        self._holds = urls.holds
        self._misses = misses
        self._sizes = sizes
        # It depends on nothing but the options.
        self._url = lru_cache(maxsize=4096)(self._url_of)
        #: The redirects that were asked for of late, by the path of the request. A path names one blob.
        self.kept: dict[str, Kept] = {}
        self._older: dict[str, Kept] = {}

    def recall(self, path: str) -> Kept | None:
        """Return a redirect that has not been asked for of late, which it now has, or None."""
        kept = self._older.get(path)
        if kept is not None:
            self._keep(path, kept)
        return kept

    def _keep(self, path: str, kept: Kept) -> None:
        if len(self.kept) >= _KEPT:
            self._older, self.kept = self.kept, {}
        self.kept[path] = kept

    def answer(
        self,
        blob: BlobPath,
        environ: dict[str, Any],
        start_response: StartResponse,
        kept: Kept | None = None,
    ) -> Iterable[bytes] | None:
        """Redirect the client to the blob or hand on what the registry says, or return None if it is to be
        asked like any other app.

        :param kept: the redirect that the path was answered with before, for the same blob. Whether it may be
            sent now is looked at here.
        """
        last = None if kept is None else kept.place
        counts = STATE.directory is not None
        if not counts:
            found = self._place_of(blob, environ, start_response, last)
        else:
            if not STATE.has_begun:
                STATE.begin()
            began = perf_counter()
            found = self._place_of(blob, environ, start_response, last)
            _PROBE.observe(perf_counter() - began)
        pulled = None
        if type(found) is PulledPlace:
            place, pulled = found
        elif type(found) is BlobPlace:
            place = found
        else:
            return cast("Iterable[bytes] | None", found)
        if kept is None or place is not last or not self._holds(kept.term):
            if place.size is not None and place.size > self._largest:
                return None
            made = self._redirect(blob, place, kept)
            if isinstance(made, Miss):
                return self.app(environ, self._misses.watching(made, start_response))
            kept = made
            path = environ["PATH_INFO"]
            if "%" not in path:  # it is compared with what was sent, in which that means something else
                self._keep(path, kept)
        if pulled is not None:
            pulled()
        record: AccessRecord | None = environ.get(ACCESS)
        if record is not None:
            record.sent = "edge"
        if counts:
            self._sizes.count(blob, "edge", place.size)
        return redirect_again(start_response, kept)

    def _redirect(self, blob: BlobPath, place: BlobPlace, kept: Kept | None) -> Kept | Miss:
        """Return the redirect to a blob, or why there is none.

        :param kept: an earlier one of the same blob.
        """
        if kept is not None and kept.place == place and self._holds(kept.term):
            again = Kept(kept.fields, blob, place, kept.term)
            again.sent = kept.sent
            return again
        url = self._url(place.path, place.in_bucket)
        if isinstance(url, Miss):
            return url
        signed = self._urls.sign_lasting(url, blob.digest)
        if isinstance(signed, Miss):
            return signed
        location, term = signed
        return Kept(redirect_headers(location, blob.digest), blob, place, term)

    def _url_of(self, path: str, in_bucket: bool) -> str | Miss:
        """Return the URL of a blob's object at CloudFront, unsigned, or why CloudFront cannot reach it."""
        path = path.lstrip("/")
        return self._urls.edge_url(path if in_bucket else f"{self._root}/{path}".lstrip("/"))


class Kept(Repeated):
    """A redirect, and what it was made of. It is sent again while the registry says the same place, and while
    it is what would be made anew: its window lasts, and its key signs. Nothing of it changes.

    :param blob: what was asked for.
    :param place: what the registry said.
    :param term: how long it is what would be signed.
    """

    __slots__ = ("blob", "place", "term")

    def __init__(
        self, fields: Sequence[tuple[str, str]], blob: BlobPath, place: BlobPlace, term: Term
    ) -> None:
        super().__init__(fields)
        self.blob = blob
        self.place = place
        self.term = term
