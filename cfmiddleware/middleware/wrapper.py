"""A WSGI wrapper that sends a registry's blob downloads to CloudFront.

    app = CloudFrontMiddleware(app, baseurl="https://d111111abcdef8.cloudfront.net",
                               privatekey="/etc/registry/pk-K2JCJMDEHXQW5F.pem")

A GET of ``/v2/<name>/blobs/<digest>`` is put to the wrapped app. If the app would serve it, the answer is a
redirect to a CloudFront-signed URL of the blob's object; if not, it is the app's own. Everything else passes
through untouched, with the same environ.

It must not be put in front of an app whose authorisation happens behind a GET's first byte, nor, with
``probe="none"``, in front of anything that is not public.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Unpack

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError, StorageError
from cfmiddleware.ipfilter.filter import AddressFilter, aws_feed
from cfmiddleware.ipfilter.networks import Networks
from cfmiddleware.process.throttle import Seldom
from cfmiddleware.reference import BlobPath, parse_blob_path
from cfmiddleware.signing.keyring import KeyRing
from cfmiddleware.signing.originpath import encode_key, path_below
from cfmiddleware.signing.signer import URLSigner
from cfmiddleware.signing.windows import ExpiryWindow
from cfmiddleware.wsgi.accessrecord import ACCESS
from cfmiddleware.wsgi.client import client_address, client_text

from .bucket import Bucket
from .layout import Layout
from .options import WrapperKeywords, WrapperOptions
from .presigned import Presign, PresignedURLs, Unusable
from .probe import Probe, close, respond_or_redirect
from .probecache import ProbeCache, Yes, monotonic

if TYPE_CHECKING:
    from cfmiddleware.wsgi.accessrecord import AccessRecord
    from cfmiddleware.wsgi.types import App, Headers, StartResponse, Write

_log = logging.getLogger("cfmiddleware")

_REDIRECTS = frozenset(("301", "302", "303", "307", "308"))
_TOTAL = re.compile(r"bytes [0-9]+-[0-9]+/([0-9]+)")


class CloudFrontMiddleware:
    """Wrap a WSGI registry so that its blobs are downloaded from CloudFront.

    The options are given as keyword arguments, as Python values or as the strings of an ini file, or as
    :class:`WrapperOptions`, which says what each one does.

    :param app: the registry: any WSGI app.
    :param options: the options that have been read from a file. Not together with keyword arguments.
    :param presign: signs URLs of S3 for clients near the bucket: from an object's whole key and a Unix time
        to a URL and when it expires, which is not later. Required by ``ipfilteredby`` and ``networks``; a
        ``config.yml`` with ``storage.s3`` brings its own.
    :param clock: gives the time in Unix seconds.
    :param elapsed: gives seconds that never go backwards, for ``probecache``.
    :param named: the options, one by one.
    :raises ConfigError: for an option that cannot work, naming it.
    """

    def __init__(
        self,
        app: App,
        options: WrapperOptions | None = None,
        *,
        presign: Presign | None = None,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = monotonic,
        **named: Unpack[WrapperKeywords],
    ) -> None:
        if options is None:
            options = WrapperOptions.from_python(named)
        elif named:
            raise TypeError("the options are given twice: as an object, and as keyword arguments")
        for option in ("baseurl", "privatekey"):
            if not getattr(options, option):
                raise ConfigError(f"{option}: this option is required")
        for warning in options.warnings():
            _log.warning("%s", warning)
        self.app = app
        #: Signatures that could not be made; each of those pulls was served by the app.
        self.signing_failures = 0
        #: ``/`` and the directory of the bucket that the registry stands in, or an empty string.
        self.rootdirectory = options.rootdirectory
        #: The Origin Path that CloudFront must have.
        self.originpath = options.cloudfront_originpath
        self._layout = Layout(options.layout, self.rootdirectory)
        self._base = options.baseurl
        # A few objects are asked for over and over. What cannot be reached raises, and so is not kept.
        self._resource = lru_cache(maxsize=4096)(self._url_at_the_edge)
        self._prefix = options.prefix
        self._probe = options.probe
        self._yeses = ProbeCache(options.probecache, clock=elapsed) if options.probecache else None
        self._require_digest = options.requiredigest
        self._minimum_size = options.minimumsize
        self._bind = options.bindip
        self._proxies = options.trustedproxies
        self._bucket = Bucket(options.bucket, options.regionendpoint) if options.bucket else None
        #: The key that signs, looked after where it lies.
        self.keys = _key_ring(options.privatekey, options.keypairid)
        grid = ExpiryWindow(options.duration, options.window)
        self._signer = URLSigner(self.keys, grid, hash=options.hash, clock=clock)
        self._filter = _address_filter(options)
        options.check_presigner(is_there=presign is not None)
        self._presigned: PresignedURLs | None = None
        if self._filter is not None and presign is not None:
            self._presigned = PresignedURLs(presign, grid, clock=clock)
        self._seldom = Seldom()
        self._lock = threading.Lock()
        if self.rootdirectory:
            # Operators get this wrong, and nobody but CloudFront can tell.
            _log.info(
                "the Origin Path of the CloudFront distribution must be %r%s",
                self.originpath,
                "" if self.originpath != self.rootdirectory else '; if it is blank, set originpath: ""',
            )

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        if environ["REQUEST_METHOD"] == "GET":
            blob = parse_blob_path(environ.get("PATH_INFO", ""), self._prefix)
            if blob is not None and _as_sent(environ, self._prefix):
                return self._pull(blob, environ, start_response)
        return self.app(environ, start_response)

    def signed_blob(self, repository: str, digest: Digest, address: str | None = None) -> str:
        """Return the signed URL that a pull of a blob is redirected to, asking nobody.

        :param address: the IPv4 address to bind it to.
        :raises ConfigError: for a blob whose key is not below the Origin Path.
        """
        resource = self.resource(self._layout.key(repository, digest))
        if resource is None:
            raise ConfigError(f"{digest}: the key is not below the Origin Path {self.originpath!r}")
        return self._signer.url(resource, digest.hex, address)

    def signed(self, url: str, address: str | None = None) -> str:
        """Return *url*, which must be encoded already, signed."""
        return self._signer.url(url, Digest.of(url.encode()).hex, address)

    def close(self) -> None:
        """End what runs in the background of this process. It may be used on; what is known stays."""
        if self._filter is not None:
            self._filter.close()

    def _pull(
        self, blob: BlobPath, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer the GET of a blob: redirect, or hand on what the app says."""
        record: AccessRecord | None = environ.get(ACCESS)
        if record is not None:
            record.repository, record.sent = blob.repository, "app"
        near = self._filter is not None and self._filter.matches(client_text(environ, self._proxies))
        client = client_address(environ, self._proxies) if self._bind else None
        unbindable = isinstance(client, ipaddress.IPv6Address)
        if unbindable and not near:
            return self.app(environ, start_response)
        pull = _Pull(self, blob, None if client is None else str(client), near=near, edge=not unbindable)
        question = None if self._yeses is None else self._yeses.question(environ)
        if question is not None and question.yes is not None:
            # Everything but the app's yes is of this request: who is near, the address, the key that signs.
            if not (pull.find(question.yes.key) and pull.sign()):
                return self.app(environ, start_response)
            if record is not None and question.yes.user:
                record.user = question.yes.user
        elif self._probe == "none":
            if not (pull.find(self._layout.key(*blob)) and pull.sign()):
                return self.app(environ, start_response)
        else:
            if self._probe == "get" or not self._ask_by_head(pull, environ):
                response = respond_or_redirect(
                    self.app, environ, start_response, pull.probe, pull.judge, pull.sign
                )
                if response is not None:
                    return response
            if question is not None and self._yeses is not None:
                self._yeses.remember(question, Yes(pull.key, "" if record is None else record.user))
        if record is not None:
            record.sent = pull.sent
        return pull.send(start_response)

    def _ask_by_head(self, pull: _Pull, environ: dict[str, Any]) -> bool:
        """Whether the app said yes to a HEAD of the same request, and the redirect is at hand."""
        if environ.get("CONTENT_LENGTH", "") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ:
            return False  # the GET has a body, and a body can be read but once
        head = {**environ, "REQUEST_METHOD": "HEAD", "wsgi.input": BytesIO()}
        response = respond_or_redirect(self.app, head, _discard, pull.probe, pull.judge, pull.sign)
        if response is None:
            return True
        close(response)
        pull.probe = Probe()  # what was said of the HEAD's answer does not count for the GET's
        return False

    def key_in_bucket(self, blob: BlobPath, status: str, headers: Headers, probe: Probe) -> str | None:
        """Return the key of the object that an answer of the app's stands for, or None if it is no yes."""
        if probe.declined:
            return None
        code = status[:3]
        if code in ("200", "206"):
            if not self._is_the_blob(blob, headers) or self._is_small(headers, probe):
                return None
            if probe.key is not None:
                return probe.key.lstrip("/")
            if probe.path is not None:
                return f"{self.rootdirectory}/{probe.path.lstrip('/')}".lstrip("/")
            return self._layout.key(*blob)
        if code in _REDIRECTS and self._bucket is not None:
            # The app itself sends the client to this object, so the digest need not be said again. Flask and
            # Django put a small page for people into every redirect, so its type says nothing.
            locations = [value for name, value in headers if name.lower() == "location"]
            said = [value.strip() for name, value in headers if name.lower() == "docker-content-digest"]
            if len(locations) == 1 and _all_are(said, blob.digest):
                return self._bucket.key(locations[0])
        return None

    def resource(self, key: str) -> str | None:
        """Return the URL of an object at the edge, unsigned, or None if CloudFront cannot reach it."""
        try:
            return self._resource(key)
        except _NotReached as reason:
            _log.warning("not redirected: %s", reason)
            return None

    def _url_at_the_edge(self, key: str) -> str:
        """Return the same.

        :raises _NotReached: if CloudFront cannot reach it.
        """
        path = path_below(key, self.originpath)
        if path is None:
            raise _NotReached(f"key {key!r} is not below the Origin Path {self.originpath!r}")
        if not _is_whole(path[1:]):
            raise _NotReached(_FOLDED.format(path[1:]))
        return self._base + encode_key(path)

    def sign(self, resource: str, digest: Digest, address: str | None) -> str | None:
        """Return the signed URL, or None where it cannot be made, which is logged and counted."""
        try:
            return self._signer.url(resource, digest.hex, address)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not fail the pull)
            with self._lock:
                self.signing_failures += 1
            _log.error("not redirected: the URL of %s could not be signed: %s", digest, error)
            return None

    def presign(self, key: str, digest: Digest) -> str | None:
        """Return a presigned URL of S3 for the object at *key*, or None where there is none to be had."""
        if self._presigned is None:
            return None
        if not _is_whole(key):
            _log.warning("not redirected: %s", _FOLDED.format(key))
            return None
        try:
            return self._presigned.url(key, digest.hex)
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not fail the pull)
            if self._seldom():
                # What others raise may show what they sign with.
                known = isinstance(error, StorageError | Unusable)
                _log.error(
                    "sent to CloudFront, though near S3: the URL of %s could not be presigned: %s",
                    digest,
                    error if known else type(error).__name__,
                )
            return None

    def _is_the_blob(self, blob: BlobPath, headers: Headers) -> bool:
        """Whether the headers of a 200 are those of the blob asked for, and not of a page for people."""
        said = not self._require_digest
        for name, value in headers:
            field = name.lower()
            if field == "docker-content-digest":
                if value.strip() != str(blob.digest):
                    return False
                said = True
            elif field == "content-type" and value.strip().lower().startswith("text/html"):
                return False
        return said

    def _is_small(self, headers: Headers, probe: Probe) -> bool:
        """Whether the whole blob is known to be too small to be worth a second connection."""
        if not self._minimum_size:
            return False
        size = probe.size
        if size is None:
            fields = {name.lower(): value for name, value in headers}
            if "content-range" in fields:
                match = _TOTAL.fullmatch(fields["content-range"])
                size = int(match[1]) if match else None
            elif fields.get("content-length", "").isdecimal():
                size = int(fields["content-length"])
        return size is not None and size < self._minimum_size


class _Pull:
    """One GET of a blob: what is known of it, and the redirect once there is one."""

    __slots__ = (
        "_address",
        "_blob",
        "_edge",
        "_location",
        "_middleware",
        "_near",
        "_resource",
        "key",
        "probe",
        "sent",
    )

    def __init__(
        self,
        middleware: CloudFrontMiddleware,
        blob: BlobPath,
        address: str | None,
        *,
        near: bool,
        edge: bool,
    ) -> None:
        self._middleware = middleware
        self._blob = blob
        self._address = address
        self._near = near
        self._edge = edge
        self._resource: str | None = None
        self._location: str | None = None
        self.probe = Probe()
        #: The object's whole key in the bucket, once it is known.
        self.key = ""
        #: Where the redirect leads: ``edge`` or ``s3``.
        self.sent = "edge"

    def judge(self, status: str, headers: Headers) -> bool:
        """Whether the app said yes, and to an object that the client can be sent to."""
        key = self._middleware.key_in_bucket(self._blob, status, headers, self.probe)
        return key is not None and self.find(key)

    def find(self, key: str) -> bool:
        """Whether the client can be sent to *key*: if near S3, for now, and else if CloudFront reaches it."""
        self.key = key
        if self._near:
            return True
        self._resource = self._middleware.resource(key) if self._edge else None
        return self._resource is not None

    def sign(self) -> bool:
        """Whether the redirect is at hand: to S3 if near it and that can be, and else to CloudFront."""
        if self._near:
            self._location = self._middleware.presign(self.key, self._blob.digest)
            if self._location is not None:
                self.sent = "s3"
                return True
            self._near = False
            if not self.find(self.key):
                return False
        if self._resource is not None:
            self._location = self._middleware.sign(self._resource, self._blob.digest, self._address)
        return self._location is not None

    def send(self, start_response: StartResponse) -> Iterable[bytes]:
        """Answer with the redirect. It is the client's own, and dies with its signature: not for caches."""
        start_response(
            "307 Temporary Redirect",
            [
                ("Location", self._location or ""),
                ("Docker-Content-Digest", str(self._blob.digest)),
                ("Docker-Distribution-API-Version", "registry/2.0"),
                ("Cache-Control", "private, no-store"),
                ("Content-Length", "0"),
            ],
        )
        return []


def _as_sent(environ: Mapping[str, Any], prefix: str) -> bool:
    """Whether the path is what the client sent, letter by letter, as far as the server lets us know.

    Servers decode paths, and some fold slashes and dots or drop a fragment. An app that reads the path as
    sent would then be asked for something else than what is signed.
    """
    path = environ["PATH_INFO"][len(prefix) :]
    for uri in (environ.get("RAW_URI"), environ.get("REQUEST_URI")):
        if uri and uri != path:
            sent = uri.partition("?")[0]
            if not sent.endswith(path) or "%" in sent:
                return False
    return True


def _all_are(said: Iterable[str], digest: Digest) -> bool:
    """Whether all of the digests that an app said are the one asked for."""
    return all(text == str(digest) for text in said)


class _NotReached(Exception):
    """CloudFront does not reach an object; the message says why."""


_FOLDED = "key {!r} has an empty, '.' or '..' segment"


def _is_whole(key: str) -> bool:
    """Whether no segment of a key is one that clients and CloudFront may fold: the object would not be the
    one that was meant.
    """
    return not any(segment in ("", ".", "..") for segment in key.split("/"))


def _address_filter(options: WrapperOptions) -> AddressFilter | None:
    """Return what tells the clients near the bucket from the others, or None where no client is near."""
    if options.ipfilteredby == "none":
        return AddressFilter(Networks(options.networks)) if options.networks else None
    regions = options.awsregion if options.ipfilteredby == "awsregion" else None
    try:
        feed = aws_feed(regions, options.iprangesurl, options.iprangesfile, options.updatefrequency)
    except ConfigError as error:
        raise ConfigError(f"iprangesfile: {error}") from None
    return AddressFilter(Networks(options.networks), feed)


def _discard(status: str, headers: Headers, exc_info: object = None) -> Write:
    """Be a server that nobody is connected to."""
    return _drop


def _drop(data: bytes) -> None:
    """Take bytes for nobody."""


def _key_ring(privatekey: str, keypairid: str | None) -> KeyRing:
    try:
        return KeyRing.from_options(privatekey, keypairid)
    except ConfigError as error:
        message = str(error)
        if message.startswith(("privatekey: ", "keypairid: ")):
            raise
        raise ConfigError(f"privatekey: {message}") from None
