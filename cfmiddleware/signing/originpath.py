"""Keys of a bucket, and the paths under which CloudFront reaches them.

The Origin Path is what CloudFront puts in front of every path before it asks the bucket, so the path to sign
is the key *below* the Origin Path, encoded once.
"""

from __future__ import annotations

from urllib.parse import quote

from cfmiddleware.errors import ConfigError
from cfmiddleware.reference import has_whole_segments


def encode_key(key: str) -> str:
    """Percent-encode an object's key for the path of a URL, once.

    Only ASCII letters, digits and ``-._~/`` stay literal, so that no program on the way rewrites it.

    :raises ValueError: if UTF-8 cannot encode *key*.
    """
    return quote(key, safe="-._~/")


def directory(text: str, option: str) -> str:
    """Return a directory of the bucket as ``/`` and its segments, or an empty string for the bucket's root.

    :param text: with or without slashes at its ends, as operators write it.
    :param option: the option's name, for the error.
    :raises ConfigError: for empty, ``.`` and ``..`` segments and control characters, which a URL's path
        cannot carry unchanged.
    """
    path = text.strip("/")
    if not path:
        return ""
    if not has_whole_segments(path) or not path.isprintable():
        raise ConfigError(
            f"{option}: {text!r} is not a directory of a bucket; write it like /team/prod, without empty, "
            "'.' or '..' segments"
        )
    return "/" + path


def path_below(key: str, originpath: str) -> str | None:
    """Return the path that CloudFront must be asked for to get *key*, or None if it cannot reach it.

    :param key: an object's key, without a slash in front.
    :param originpath: the distribution's Origin Path: empty, or ``/`` and whole segments.

    ``/team/prod`` is above ``team/prod/docker/...`` but not above ``team/production/docker/...``.
    """
    path = "/" + key
    if not path.startswith(originpath + "/") or path == originpath + "/":
        return None
    return path[len(originpath) :]
