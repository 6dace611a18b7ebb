"""A WSGI wrapper that sends a registry's blob downloads to CloudFront.

    app = CloudFrontMiddleware(app, baseurl="https://d111111abcdef8.cloudfront.net",
                               privatekey="/etc/registry/pk-K2JCJMDEHXQW5F.pem")

A GET of ``/v2/<name>/blobs/<digest>`` is put to the wrapped app. If the app would serve it, the response is
a redirect to a CloudFront-signed URL of the blob's object; if not, it is the app's own response. Everything
else passes through untouched, with the same environ.

It must not be put in front of an app whose authorisation happens behind a GET's first byte, nor, with
``probe="none"``, in front of anything that is not public.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from cfmiddleware import logs
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.ipfilter.filter import AddressFilter, Everybody, aws_feed
from cfmiddleware.ipfilter.networks import Networks
from cfmiddleware.process.onceintree import once_in_tree
from cfmiddleware.reference import parse_blob_path
from cfmiddleware.signing.keyring import KeyRing
from cfmiddleware.signing.keys import signs_slowly
from cfmiddleware.signing.signer import URLSigner
from cfmiddleware.signing.unsigned import Unsigned
from cfmiddleware.signing.windows import ExpiryWindow

from .blobsizes import BlobSizes
from .bloburls import BlobURLs
from .judge import Judge
from .layout import Layout
from .misses import Miss, Misses
from .options import WrapperKeywords, WrapperOptions
from .placedpulls import PlacedPulls, can_be_placed
from .presigned import Presign, PresignedURLs
from .probecache import ProbeCache, monotonic
from .pull import Pulls
from .rewriteoptions import RewriteOptions

if TYPE_CHECKING:
    from cfmiddleware.reference import BlobPath
    from cfmiddleware.wsgi.blobplace import PlaceOf
    from cfmiddleware.wsgi.types import App, StartResponse

_log = logging.getLogger("cfmiddleware")

_REWRITTEN = Miss("rewritten-path", "the path of a blob is not, letter by letter, what the client sent")


class CloudFrontMiddleware:
    """Wrap a WSGI registry so that its blobs are downloaded from CloudFront.

    The options are given as keyword arguments, as Python values or as the strings of an ini file, or as
    :class:`WrapperOptions`, which says what each one does.

    :param app: the registry: any WSGI app.
    :param options: the options that have been read from a file. Not together with keyword arguments.
    :param presign: signs URLs of S3 for clients near the bucket: from an object's whole key and a Unix time
        to a URL and when it expires, which is not later. Required by ``ipfilteredby`` and ``networks``; a
        ``config.yml`` with ``storage.s3`` brings its own.
    :param rewrites: what is changed in the URLs, presigned ones excepted, before a client gets them.
    :param clock: gives the time in Unix seconds.
    :param elapsed: gives seconds that never go backwards, for ``probecache``.
    :param sizes: counts redirects and their bytes for Prometheus.
    :param place_of: asks *app* where a blob is, in place of asking for the blob; None for an app that only
        speaks WSGI. It is asked while :attr:`app` is the app that was given here, and not what has been put
        in front of it since.
    :param named: the options, one by one.
    :raises ConfigError: for an option that cannot work, naming it.
    """

    def __init__(
        self,
        app: App,
        options: WrapperOptions | None = None,
        *,
        presign: Presign | None = None,
        rewrites: tuple[RewriteOptions, ...] = (),
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = monotonic,
        sizes: BlobSizes | None = None,
        place_of: PlaceOf | None = None,
        **named: Unpack[WrapperKeywords],
    ) -> None:
        if options is None:
            options = WrapperOptions.from_python(named)
        elif named:
            raise TypeError("the options are given twice: as an object, and as keyword arguments")
        options.check_required()
        logs.enable()
        self.app = app
        #: ``/`` and the directory of the bucket that the registry stands in, or an empty string.
        self.rootdirectory = options.rootdirectory
        #: The Origin Path that CloudFront must have.
        self.originpath = options.cloudfront_originpath
        #: What stands in front of ``/v2/``.
        self.prefix = self._prefix = options.prefix
        self._layout = Layout(options.layout, self.rootdirectory)
        #: The key that signs, looked after where it lies; None where nothing is signed.
        self.keys = key_ring(options.privatekey, options.keypairid) if options.privatekey else None
        for warning in options.warnings():  # not before: the id may be the key itself, by mistake
            _log.warning("%s", warning)
        if self.keys is not None and signs_slowly() and once_in_tree("signs-slowly"):
            _log.warning(
                "cryptography is not installed: each signature takes the package rsa some 60 times longer; "
                "pip install 'cfmiddleware[server]' brings it"
            )
        window = ExpiryWindow(options.duration, options.window)
        self._signer: URLSigner | Unsigned = (
            Unsigned() if self.keys is None else URLSigner(self.keys, window, hash=options.hash, clock=clock)
        )
        self._filter = _address_filter(options)
        options.check_presigner(is_there=presign is not None)
        presigned = None if presign is None else PresignedURLs(presign, window, clock=clock)
        self._urls = BlobURLs(options.baseurl, self.originpath, self._signer, presigned, rewrites)
        self._misses = Misses()
        sizes = sizes or BlobSizes()
        self._placed: PlacedPulls | None = None
        if place_of is not None and can_be_placed(options):
            self._placed = PlacedPulls(app, place_of, options, self._urls, self._misses, sizes)
        self._pulls = Pulls(
            options,
            self._layout,
            Judge(options, self._layout),
            self._urls,
            self._filter,
            ProbeCache(options.probecache, clock=elapsed) if options.probecache else None,
            self._misses,
            sizes,
        )
        if options.baseurl and (self.rootdirectory or self.originpath):
            # Operators get this wrong, and only CloudFront could tell. Where nobody has set up logging, as
            # under Flask and Django, or no level, Python shows only warnings.
            _log.log(
                logging.INFO if _log.hasHandlers() and _log.isEnabledFor(logging.INFO) else logging.WARNING,
                "baseurl must lead to %r of the bucket%s"
                if options.unsigned
                else "the Origin Path of the CloudFront distribution must be %r%s",
                self.originpath,
                "" if self.originpath != self.rootdirectory else '; if it is blank, set originpath: ""',
            )

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        if environ["REQUEST_METHOD"] == "GET":
            path = environ.get("PATH_INFO", "")
            placed = self._placed
            kept = None
            if placed is not None:
                if placed.app is self.app:
                    kept = placed.kept.get(path) or placed.recall(path)
                else:
                    placed = None
            # A path that was redirected before names the same blob; see _is_as_sent for the rest.
            if kept is not None and environ.get("RAW_URI") == path and "REQUEST_URI" not in environ:
                blob: BlobPath | None = kept.blob
                is_as_sent = True
            else:
                blob = parse_blob_path(path, self._prefix)
                is_as_sent = blob is not None and _is_as_sent(environ, self._prefix)
            if blob is not None and is_as_sent:
                if placed is not None:
                    answer = placed.answer(blob, environ, start_response, kept)
                    if answer is not None:
                        return answer
                return self._pulls.answer(self.app, blob, environ, start_response)
            if "/blobs/sha" in path:
                miss = _REWRITTEN if blob is not None else self._elsewhere(path)
                if miss is not None:
                    start_response = self._misses.watching(miss, start_response)
        return self.app(environ, start_response)

    @property
    def not_redirected(self) -> dict[str, int]:
        """How many pulls of this process the app allowed and the wrapper did not redirect, by reason.

        The reasons are those of the page on wrapping; each is there from the start, with 0.
        """
        return self._misses.counts

    @property
    def signing_failures(self) -> int:
        """Signatures that could not be made; the app served each of those pulls."""
        return self._misses.counts["signing"]

    def signed_blob(self, repository: str, digest: Digest, address: str | None = None) -> str:
        """Return the signed URL that a pull of a blob is redirected to, without asking the app.

        :param address: the IPv4 address to bind it to.
        :raises ConfigError: for a blob whose key is not below the Origin Path.
        """
        url = self._urls.edge_url(self._layout.key(repository, digest))
        if isinstance(url, Miss):
            raise ConfigError(f"{digest}: {url.said}")
        return self._signer.url(url, digest.hex, address)

    def signed(self, url: str, address: str | None = None) -> str:
        """Return *url*, which must be encoded already, signed."""
        return self._signer.url(url, Digest.of(url.encode()).hex, address)

    def _elsewhere(self, path: str) -> Miss | None:
        """Return why a blob is not redirected that the app may serve below another prefix."""
        prefix = path.partition("/v2/")[0]
        if prefix == self._prefix or parse_blob_path(path, prefix) is None:
            return None
        return Miss(
            "other-prefix", f"the app serves a blob below {prefix[:100]!r}, and prefix is {self._prefix!r}"
        )

    def close(self) -> None:
        """End what runs in the background of this process. The wrapper may still be used afterwards."""
        if self._filter is not None:
            self._filter.close()


def _is_as_sent(environ: Mapping[str, Any], prefix: str) -> bool:
    """Return whether the path is what the client sent, letter by letter, as far as the server shows it.

    Servers decode paths, and some fold slashes and dots or drop a fragment. An app that reads the path as it
    was sent would then be asked for another blob than the one that is signed.
    """
    path = environ["PATH_INFO"][len(prefix) :]
    if environ.get("RAW_URI") == path and "REQUEST_URI" not in environ:  # as nearly always
        return True
    for uri in (environ.get("RAW_URI"), environ.get("REQUEST_URI")):
        if uri and uri != path:
            sent = uri.partition("?")[0]
            if not sent.endswith(path) or "%" in sent:
                return False
    return True


def _address_filter(options: WrapperOptions) -> AddressFilter | None:
    """Return what tells the clients near the bucket from the others, or None where no client is near."""
    if options.ipfilteredby == "all":
        return Everybody()
    if options.ipfilteredby == "none":
        return AddressFilter(Networks(options.networks)) if options.networks else None
    regions = options.awsregion if options.ipfilteredby == "awsregion" else None
    try:
        feed = aws_feed(regions, options.iprangesurl, options.iprangesfile, options.updatefrequency)
    except ConfigError as error:
        raise ConfigError(f"iprangesfile: {error}") from None
    return AddressFilter(Networks(options.networks), feed)


def key_ring(privatekey: str, keypairid: str | None) -> KeyRing:
    """Return the keys that the two options name.

    :raises ConfigError: where none can sign. The message begins with the option's name.
    """
    try:
        return KeyRing.from_options(privatekey, keypairid)
    except ConfigError as error:
        message = str(error)
        if message.startswith(("privatekey: ", "keypairid: ")):
            raise
        raise ConfigError(f"privatekey: {message}") from None
