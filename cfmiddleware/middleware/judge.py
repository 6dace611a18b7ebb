"""Whether an app's answer to a blob's GET is a yes, and which object of the bucket it stands for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cfmiddleware.process.cache import Cache

from .bucket import Bucket
from .elsewhere import elsewhere
from .layout import Layout
from .misses import Miss
from .options import WrapperOptions
from .probe import Probe

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.reference import BlobPath
    from cfmiddleware.wsgi.types import Headers

_REDIRECTS = frozenset(("301", "302", "303", "307", "308"))
_TOTAL = re.compile(r"bytes [0-9]+-[0-9]+/([0-9]+)")

_NO_DIGEST = Miss("no-digest", "the app answers 200 without Docker-Content-Digest")
_OTHER_DIGEST = Miss("other-digest", "the app's Docker-Content-Digest is not the digest that was asked for")

# Digests of which a process remembers that their blobs are of a size to be redirected.
_REMEMBERED = 50_000


class Found(NamedTuple):
    """An object of the bucket.

    :param key: its whole key.
    :param too_large: its size in bytes if that is above ``maximumsize``, else 0.
    """

    key: str
    too_large: int = 0


class Judge:
    """Reads what an app answers.

    :param options: the wrapper's.
    :param layout: where a blob lies that the app does not locate itself.
    """

    def __init__(self, options: WrapperOptions, layout: Layout) -> None:
        self._layout = layout
        self._root = options.rootdirectory
        self._bucket = Bucket(options.bucket, options.regionendpoint) if options.bucket else None
        self._require_digest = options.requiredigest
        self._minimum = options.minimumsize
        self._maximum = options.maximumsize
        if options.unsigned and self._maximum == WrapperOptions.maximumsize:
            self._maximum = 0  # it is CloudFront's limit, and not that of every network
        # Nobody's blobs are so large that each should be looked at, unless the operator says so.
        self._looks = 0 < options.maximumsize < WrapperOptions.maximumsize
        # The size of a digest never changes.
        self._sized: Cache[Digest, bool] = Cache(_REMEMBERED)

    def needs_size(self, digest: Digest) -> bool:
        """Return whether the size of a blob decides on its redirect, and is not known to be right."""
        return bool(self._minimum) or (self._looks and self._sized.get(digest) is None)

    def found(self, blob: BlobPath, status: str, headers: Headers, probe: Probe) -> Found | Miss | None:
        """Return the object that an answer stands for.

        :returns: None for an answer that refuses the blob, and why there is no redirect for one that gives it
            and is handed on nevertheless.

        :param blob: the blob that was asked for.
        :param status: the status line of the answer.
        :param headers: the headers of the answer.
        :param probe: what the app said beside its answer.
        """
        code = status[:3]
        if code in ("200", "206"):
            if probe.declined:
                return Miss("declined")
            miss = self._unlike_the_blob(blob.digest, headers)
            if miss is not None:
                return miss
            named = self.named(probe)
            key = self._layout.key(*blob) if named is None else named
            return self._of_size(key, blob.digest, self._size(headers, probe))
        if code in _REDIRECTS:
            if probe.declined:
                return Miss("declined")
            key_or_miss = self._key_of_redirect(blob.digest, headers)
            if isinstance(key_or_miss, Miss):
                return key_or_miss
            # The headers are those of the redirect itself.
            return self._of_size(key_or_miss, blob.digest, probe.size)
        return None

    def named(self, probe: Probe) -> str | None:
        """Return the key of the object that the app named beside its answer, or None if it named none."""
        if probe.key is not None:
            return probe.key.lstrip("/")
        if probe.path is not None:
            return f"{self._root}/{probe.path.lstrip('/')}".lstrip("/")
        return None

    def _unlike_the_blob(self, digest: Digest, headers: Headers) -> Miss | None:
        """Return why the headers of a 200 are not those of the blob, but perhaps of a page for people."""
        is_named = not self._require_digest
        for name, value in headers:
            field = name.lower()
            if field == "docker-content-digest":
                if value.strip() != str(digest):
                    return _OTHER_DIGEST
                is_named = True
            elif field == "content-type" and value.strip().lower().startswith("text/html"):
                return Miss("html", "the app answers a blob's path with a page (Content-Type: text/html)")
        return None if is_named else _NO_DIGEST

    def _size(self, headers: Headers, probe: Probe) -> int | None:
        """Return the size of the whole blob as far as the app says it."""
        if probe.size is not None or not (self._minimum or self._maximum):
            return probe.size
        fields = {name.lower(): value for name, value in headers}
        if "content-range" in fields:
            match = _TOTAL.fullmatch(fields["content-range"])
            return int(match[1]) if match else None
        length = fields.get("content-length", "")
        return int(length) if length.isdecimal() else None

    def _of_size(self, key: str, digest: Digest, size: int | None) -> Found | Miss:
        """Return the object, or that it is too small to be worth a second connection."""
        if size is None:
            return Found(key)
        if size < self._minimum:
            return Miss("small")
        if self._maximum and size > self._maximum:
            return Found(key, size)
        if self._looks and self._sized.get(digest) is None:
            self._sized.put(digest, True)
        return Found(key)

    def _key_of_redirect(self, digest: Digest, headers: Headers) -> str | Miss:
        """Return the key that the app's own redirect leads to, or why it is handed on as it is.

        The app itself sends the client to this object, so it need not name the digest. Flask and Django put a
        small page for people into every redirect, so the content's type says nothing.
        """
        locations = []
        for name, value in headers:
            field = name.lower()
            if field == "docker-content-digest" and value.strip() != str(digest):
                return _OTHER_DIGEST
            if field == "location":
                locations.append(value)
        if len(locations) != 1:
            return Miss("unclear-redirect", f"the app's redirect has {len(locations)} Location headers")
        key = None if self._bucket is None else self._bucket.key(locations[0])
        return elsewhere(locations[0], self._bucket) if key is None else key
