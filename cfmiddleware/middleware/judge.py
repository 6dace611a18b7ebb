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
_HTML = Miss("html", "the app answers a blob's path with a page (Content-Type: text/html)")
_SMALL, _DECLINED = Miss("small"), Miss("declined")
_OTHER_DIGEST = Miss("other-digest", "the app's Docker-Content-Digest is not the digest that was asked for")

# Digests of which a process remembers that their blobs are of a size to be redirected.
_REMEMBERED = 50_000


class TooLarge(NamedTuple):
    """An object that is larger than what CloudFront serves.

    :param key: its whole key.
    :param size: its size in bytes.
    """

    key: str
    size: int


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

    def found(
        self, blob: BlobPath, status: str, headers: Headers, probe: Probe
    ) -> str | TooLarge | Miss | None:
        """Return the key of the object that an answer stands for.

        :returns: None for an answer that refuses the blob, and why there is no redirect for one that gives it
            and is handed on nevertheless.

        :param blob: the blob that was asked for.
        :param status: the status line of the answer.
        :param headers: the headers of the answer.
        :param probe: what the app said beside its answer.
        """
        code = status[:3]
        if code in ("200", "206"):
            return _DECLINED if probe.declined else self._of_answer(blob, headers, probe)
        if code in _REDIRECTS:
            return _DECLINED if probe.declined else self._of_redirect(blob.digest, headers, probe)
        return None

    def named(self, probe: Probe) -> str | None:
        """Return the key of the object that the app named beside its answer, or None if it named none."""
        if probe.key is not None:
            return probe.key.lstrip("/")
        if probe.path is not None:
            return f"{self._root}/{probe.path.lstrip('/')}".lstrip("/")
        return None

    def _of_answer(self, blob: BlobPath, headers: Headers, probe: Probe) -> str | TooLarge | Miss:
        """Return the key for a 200, or why its headers are not those of the blob."""
        is_named = not self._require_digest
        length = part = ""
        for name, value in headers:
            field = name.lower()
            if field == "docker-content-digest":
                if value.strip() != str(blob.digest):
                    return _OTHER_DIGEST
                is_named = True
            elif field == "content-type":
                if value.strip().lower().startswith("text/html"):
                    return _HTML
            elif field == "content-length":
                length = value
            elif field == "content-range":
                part = value
        if not is_named:
            return _NO_DIGEST
        key = self.named(probe)
        if key is None:
            key = self._layout.key(*blob)
        size = _whole_size(length, part) if probe.size is None else probe.size
        return key if size is None else self._of_size(key, blob.digest, size)

    def _of_size(self, key: str, digest: Digest, size: int) -> str | TooLarge | Miss:
        """Return the object's key, or that it is too small to be worth a second connection."""
        if size < self._minimum:
            return _SMALL
        if self._maximum and size > self._maximum:
            return TooLarge(key, size)
        if self._looks and self._sized.get(digest) is None:
            self._sized.put(digest, True)
        return key

    def _of_redirect(self, digest: Digest, headers: Headers, probe: Probe) -> str | TooLarge | Miss:
        """Return the key that the app's own redirect leads to, or why it is handed on as it is."""
        key = self._key_of_redirect(digest, headers)
        # The headers say the size of the redirect itself.
        if isinstance(key, Miss) or probe.size is None:
            return key
        return self._of_size(key, digest, probe.size)

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


def _whole_size(length: str, part: str) -> int | None:
    """Return the size of the whole blob as far as ``Content-Length`` and ``Content-Range`` say it."""
    if part:
        match = _TOTAL.fullmatch(part)
        return int(match[1]) if match else None
    return int(length) if length.isdecimal() else None
