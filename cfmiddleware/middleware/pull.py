"""One GET of a blob: the app is asked, and its yes becomes a redirect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from time import perf_counter
from typing import TYPE_CHECKING, Any

from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import PROBE_CACHE, PROBE_SECONDS
from cfmiddleware.notifications.envelope import TELLER
from cfmiddleware.tracing.childspan import asking
from cfmiddleware.wsgi.accessrecord import ACCESS
from cfmiddleware.wsgi.client import client_text

from .binding import Binding
from .blobsizes import BlobSizes, content_length, counting_by_name
from .bloburls import BlobURLs
from .judge import Judge
from .keptheaders import KeptHeaders, remembered
from .layout import Layout
from .misses import Miss, Misses
from .options import WrapperOptions
from .probe import Probe, close, respond_or_redirect
from .probecache import Approval, ProbeCache
from .redirect import redirect

if TYPE_CHECKING:
    from cfmiddleware.ipfilter.filter import AddressFilter
    from cfmiddleware.reference import BlobPath
    from cfmiddleware.wsgi.accessrecord import AccessRecord
    from cfmiddleware.wsgi.types import App, Headers, StartResponse, Write

    # One way to find out whether the client may have the blob: returns the response to hand on, or None where
    # the pull has its redirect.
    Way = Callable[[App, "Pull", dict[str, Any], StartResponse], Iterable[bytes] | None]

_KNOWN, _NOT_KNOWN = PROBE_CACHE.of("hit"), PROBE_CACHE.of("miss")
_PROBE = PROBE_SECONDS.of()


class Pulls:
    """Answers the GETs of blobs.

    :param options: the wrapper's.
    :param layout: where blobs lie, for ``probe: none``.
    :param judge: reads the app's answers.
    :param urls: makes the URLs to redirect to.
    :param address_filter: which clients are near the bucket; None where no client is.
    :param cache: remembers the app's yes; None where it is asked each time.
    :param misses: told of each pull that the app allowed and that was not redirected.
    :param sizes: told of each redirect.
    """

    def __init__(
        self,
        options: WrapperOptions,
        layout: Layout,
        judge: Judge,
        urls: BlobURLs,
        address_filter: AddressFilter | None,
        cache: ProbeCache | None,
        misses: Misses,
        sizes: BlobSizes,
    ) -> None:
        self._sizes = sizes
        self._misses = misses
        self._layout = layout
        self._judge = judge
        self._urls = urls
        self._filter = address_filter
        self._keep = KeptHeaders(options.keepheaders) if options.keepheaders else None
        self._proxies = options.trustedproxies
        self._ask = asking(respond_or_redirect, 1, lambda response: response is None)
        self._binding = Binding(options.trustedproxies) if options.bindip else None
        ways: dict[str, Way] = {"get": self._by_get, "head": self._by_head, "none": self._unasked}
        self._way = ways[options.probe]
        if cache is not None:
            self._way = _Remembering(cache, self._way)

    def answer(
        self, app: App, blob: BlobPath, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Redirect the client to the blob, or hand on what *app* says."""
        if not STATE.has_begun and STATE.directory is not None:
            STATE.begin()
        record: AccessRecord | None = environ.get(ACCESS)
        if record is not None:
            record.repository, record.sent = blob.repository, "app"
        if STATE.is_named is not None and STATE.is_named(blob.repository):
            start_response = counting_by_name(blob.repository, start_response)
        near = self._filter is not None and self._filter.matches(client_text(environ, self._proxies))
        address: str | Miss | None = None
        if self._binding is not None:
            address = self._binding.address(environ, near=near)
            if isinstance(address, Miss) and not near:
                return app(environ, self._misses.watching(address, start_response))
        pull = Pull(self._judge, self._urls, self._keep, blob, address, near=near)
        response = self._way(app, pull, environ, start_response)
        if response is not None:
            if pull.miss is not None:
                self._misses.tell(pull.miss)
            return response
        if record is not None:
            record.sent = pull.sent
        teller = environ.get(TELLER)
        if teller is not None:
            size = pull.probe.size
            teller.size = max(0, content_length(pull.headers) if size is None else size)
        if "HTTP_RANGE" in environ:
            self._sizes.count_part(blob, pull.sent)
        else:
            self._sizes.count(blob, pull.sent, pull.probe.size, pull.headers)
        return pull.redirect(start_response)

    def _by_get(
        self, app: App, pull: Pull, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """Ask the app by the client's own GET."""
        if STATE.directory is None:
            return self._ask(app, environ, start_response, pull.probe, pull.judge, pull.sign)
        began = perf_counter()
        response = self._ask(app, environ, start_response, pull.probe, pull.judge, pull.sign)
        _PROBE.observe(perf_counter() - began)
        return response

    def _by_head(
        self, app: App, pull: Pull, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """Ask the app by a HEAD of the same request first, and by the GET unless it said yes."""
        # A GET with a body is not asked twice: a body can be read only once.
        if environ.get("CONTENT_LENGTH", "") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
            head = {**environ, "REQUEST_METHOD": "HEAD", "wsgi.input": BytesIO()}
            response = self._ask(app, head, _discard, pull.probe, pull.judge, pull.sign)
            if response is None:
                if pull.probe.pulled is not None:
                    pull.probe.pulled(environ)
                return None
            close(response)
            pull.ask_anew()  # what the app said beside its answer to the HEAD does not count for the GET
        return self._by_get(app, pull, environ, start_response)

    def _unasked(
        self, app: App, pull: Pull, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """Redirect every client without asking the app."""
        if pull.find(self._layout.key(*pull.blob)) and pull.sign():
            return None
        return app(environ, start_response)


class _Remembering:
    """Takes the app's earlier yes to the same request, and else another way, whose yes is remembered.

    Only the yes is remembered. Whether the client is near, its address and the key that signs are those of
    this request.
    """

    def __init__(self, cache: ProbeCache, way: Way) -> None:
        self._cache = cache
        self._way = way

    def __call__(
        self, app: App, pull: Pull, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes] | None:
        lookup = self._cache.look_up(environ)
        if lookup is None:
            return self._way(app, pull, environ, start_response)
        record: AccessRecord | None = environ.get(ACCESS)
        approval = lookup.approval
        if approval is None:
            _NOT_KNOWN.inc()
            response = self._way(app, pull, environ, start_response)
            if response is None:
                user = "" if record is None else record.user
                kept = remembered(pull.kept)
                self._cache.remember(
                    lookup, Approval(pull.key, user, pull.too_large, kept, pull.probe.pulled)
                )
            return response
        if not (pull.find(approval.key, approval.too_large) and pull.sign()):
            return app(environ, start_response)
        _KNOWN.inc()
        pull.kept = approval.kept
        if record is not None and approval.user:
            record.user = approval.user
        if approval.pulled is not None:
            approval.pulled(environ)
        return None


class Pull:
    """One GET of a blob: what is known of it, and its redirect once there is one.

    :param judge: reads the app's answer.
    :param urls: makes the URL to redirect to.
    :param keep: picks the headers of the app that the redirect has; None for none.
    :param blob: the blob that the client asks for.
    :param address: the address to bind the URL to, None for none, or why the client cannot be sent to
        CloudFront.
    :param near: whether the client is near the bucket.
    """

    __slots__ = (
        "_address",
        "_edge_url",
        "_judge",
        "_keep",
        "_location",
        "_near",
        "_signed",
        "_urls",
        "blob",
        "headers",
        "kept",
        "key",
        "miss",
        "probe",
        "sent",
        "too_large",
    )

    def __init__(
        self,
        judge: Judge,
        urls: BlobURLs,
        keep: KeptHeaders | None,
        blob: BlobPath,
        address: str | Miss | None,
        *,
        near: bool,
    ) -> None:
        self._judge = judge
        self._urls = urls
        self._keep = keep
        self._address = address
        self._near = near
        self._edge_url: str | None = None
        self._location: str | None = None
        self._signed: str | None = None  # the key that the location is for
        self.blob = blob
        self.probe = Probe(judge.needs_size(blob.digest), self._is_ready)
        #: The object's whole key in the bucket, once it is known.
        self.key = ""
        #: Its size in bytes if that is above ``maximumsize``, else 0.
        self.too_large = 0
        #: The headers of the app that the redirect has as well.
        self.kept: Sequence[tuple[str, str]] = ()
        #: Why there is no redirect, though the app allows the pull.
        self.miss: Miss | None = None
        #: Those of the app's answer with the whole blob.
        self.headers: Sequence[tuple[str, str]] = ()
        #: Where the redirect leads: ``edge`` or ``s3``.
        self.sent = "edge"

    def ask_anew(self) -> None:
        """Forget what the app said on the probe: it is asked another time."""
        self.probe = Probe(self._judge.needs_size(self.blob.digest), self._is_ready)

    def _is_ready(self) -> bool:
        """Return whether the redirect to the object that the app has named is at hand, whatever its size."""
        key = None if self.probe.needs_size else self._judge.named(self.probe)
        return key is not None and self.find(key) and self.sign()

    def judge(self, status: str, headers: Headers) -> bool:
        """Return whether the app said yes, and to an object that the client can be sent to."""
        found = self._judge.found(self.blob, status, headers, self.probe)
        if found is None or isinstance(found, Miss):
            self.miss = found
            return False
        self.miss = None
        self.headers = headers if status[:3] == "200" else ()
        if self._keep is not None:
            self.kept = self._keep.of(headers)
        return self.find(found) if isinstance(found, str) else self.find(*found)

    def find(self, key: str, too_large: int = 0) -> bool:
        """Return whether the client can be sent to the object at *key*.

        For a client near S3 that is assumed for now, and decided by :meth:`sign`. So it is for an object that
        is too large for CloudFront.
        """
        self.key, self.too_large = key, too_large
        if too_large:
            self._signed = None  # it may have been signed before its size was known
        if self._near or (too_large and self._urls.presigns and self._address is None):
            return True
        if too_large:
            said = f"{self.blob.digest} has {too_large} bytes, and nothing here presigns URLs of S3"
            if self._address is not None:
                said = f"{self.blob.digest} has {too_large} bytes, and URLs of S3 are not bound"
            url: str | Miss = Miss("too-large", said)
        elif isinstance(self._address, Miss):
            url = self._address
        else:
            url = self._urls.edge_url(key)
        if isinstance(url, Miss):
            self._edge_url, self.miss = None, url
            return False
        self._edge_url = url
        return True

    def sign(self) -> bool:
        """Return whether the redirect is at hand: to S3 for a client near it if possible, and else to
        CloudFront.
        """
        if self._location is not None and self._signed == self.key:
            return True
        self._signed = self.key
        if self._near or self.too_large:
            self._location = self._urls.presign(self.key, self.blob.digest)
            if self._location is not None:
                self.sent = "s3"
                return True
            if self.too_large:
                said = f"{self.blob.digest} has {self.too_large} bytes, and could not be presigned"
                self.miss = Miss("too-large", said)
                return False
            self._near = False
            if not self.find(self.key):
                return False
        if self._edge_url is not None and not isinstance(self._address, Miss):
            location = self._urls.sign(self._edge_url, self.blob.digest, self._address)
            if isinstance(location, Miss):
                self._location, self.miss = None, location
            else:
                self._location = location
        return self._location is not None

    def redirect(self, start_response: StartResponse) -> Iterable[bytes]:
        """Answer with the redirect."""
        return redirect(start_response, self._location or "", self.blob.digest, self.kept)


def _discard(status: str, headers: Headers, exc_info: object = None) -> Write:
    """Be the ``start_response`` of a server without a client."""
    return _drop


def _drop(data: bytes) -> None:
    """Be the ``write`` of a server without a client."""
