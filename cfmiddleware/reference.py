"""Repository names, tags and the paths below ``/v2/`` (OCI Distribution Specification, "Pulling manifests"),
and the segments of objects' keys.

Everything here runs in time linear in its input, because any client may send a path. The patterns use
possessive quantifiers, which never give back what they took and so cannot backtrack.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from .digest import Digest

#: Distribution's limit on a repository's name, in characters.
MAX_NAME_LENGTH = 255

_COMPONENT = r"[a-z0-9]++(?:(?:\.|_{1,2}+|-++)[a-z0-9]++)*+"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*+")
_FOLDED_SEGMENTS = frozenset(("", ".", ".."))
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}+")


def is_name(text: str) -> bool:
    """Return whether *text* is a repository's name: lower-case components, separated by ``/``."""
    return len(text) <= MAX_NAME_LENGTH and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether *text* is a tag: at most 128 characters, not beginning with a dot or a dash."""
    return _TAG.fullmatch(text) is not None


def has_whole_segments(key: str) -> bool:
    """Return whether no segment of an object's key is empty, ``.`` or ``..``.

    Clients, proxies and CloudFront may fold such segments and S3 does not, so that another object would be
    served than the one that was meant.

    :param key: the key without a slash in front.
    """
    return _FOLDED_SEGMENTS.isdisjoint(key.split("/"))


class BlobPath(NamedTuple):
    """What a blob's path names."""

    repository: str
    digest: Digest


# The longest tail is "/blobs/sha512:" and 128 digits.
_BLOB_TAIL = re.compile(r"/blobs/(?:(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128}))\Z")
_TAIL_LENGTHS = (len("/blobs/sha256:") + 64, len("/blobs/sha512:") + 128)
_MAX_BLOB_PATH = len("/v2/") + MAX_NAME_LENGTH + _TAIL_LENGTHS[1]


def parse_blob_path(path: str, prefix: str = "") -> BlobPath | None:
    """Read ``<prefix>/v2/<name>/blobs/<digest>``, or return None for any other path.

    :param path: the path as decoded by the server (``PATH_INFO``).
    :param prefix: where the registry is mounted, without a slash at its end.

    The path is matched whole and from the right, so that a name may hold ``/blobs/`` itself.
    """
    if prefix:
        if not path.startswith(prefix):
            return None
        path = path[len(prefix) :]
    if len(path) > _MAX_BLOB_PATH or not path.startswith("/v2/"):
        return None
    return _parse_blob_path(path)


# A few blobs are asked for over and over. Nothing long is kept: the length has been checked.
@lru_cache(maxsize=4096)
def _parse_blob_path(path: str) -> BlobPath | None:
    for length in _TAIL_LENGTHS:
        tail = _BLOB_TAIL.match(path, max(0, len(path) - length))
        if tail is not None:
            name = path[len("/v2/") : tail.start()]
            if not is_name(name):
                return None
            return BlobPath(name, Digest(tail[1] or tail[3], tail[2] or tail[4]))
    return None
