"""The checks of a logical path that every driver makes before its storage sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cfmiddleware.errors import ConfigError, ObjectNotFound
from cfmiddleware.parse import exact_text
from cfmiddleware.reference import has_whole_segments

# A file's name cannot have a NUL, S3's XML cannot carry most of the others, and a newline would end a line of
# a log.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class InvalidPath(ObjectNotFound, ValueError):
    """No storage can have an object at such a path.

    To a caller that reads, it is an object that is not there. A caller that writes has made a mistake.
    """


def check_path(path: str) -> str:
    """Return *path* if an object can have it.

    :raises InvalidPath: unless it begins with a slash, does not end in one, has no empty, ``.`` or ``..``
        segment and no control character, and can be encoded in UTF-8.
    """
    # A listing has millions of them, nearly all of this kind: ASCII, and no segment that begins with a dot.
    if (
        path[:1] == "/"
        and path[-1] != "/"
        and "//" not in path
        and "/." not in path
        and path.isascii()
        and path.isprintable()
    ):
        return path
    if path[:1] != "/" or _CONTROL.search(path) or not has_whole_segments(path[1:]):
        raise InvalidPath(f"{path[:200]!r} is not a path of an object")
    if not path.isascii():
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InvalidPath(f"{path[:200]!r} is not a path of an object: it is not Unicode text") from None
    return path


def check_prefix(prefix: str) -> str:
    """Return *prefix* if objects can lie below it: ``/``, or an object's path and a slash.

    :raises InvalidPath: for any other text.
    """
    if prefix != "/":
        if prefix[-1:] != "/":
            raise InvalidPath(f"{prefix[:200]!r} is not a prefix: it does not end in a slash")
        check_path(prefix[:-1])
    return prefix


def check_range(offset: int, length: int | None) -> None:
    """Raise ValueError for a negative *offset* or *length*, in bytes, as a caller's mistake."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError("an offset or a length is negative")


def clean_root(rootdirectory: str) -> str:
    """Return *rootdirectory* of a bucket without slashes at its ends: ``team/prod``, or an empty string.

    :raises ValueError: if no object's path can begin with it.
    """
    root = rootdirectory.strip("/")
    if root:
        try:
            check_path("/" + root)
        except InvalidPath:
            raise ValueError("has an empty, . or .. segment, or a character that no key can have") from None
    return root


def sort_names(names: Iterable[str]) -> list[str]:
    """Return *names* once each and in the order of :meth:`Driver.list`: a slash at the end does not count."""
    return sorted(set(names), key=lambda name: (name.removesuffix("/"), name))


def root_option(value: object, name: str) -> str:
    """Read an option that is the directory of a bucket, and return it as :func:`clean_root` does."""
    written = exact_text(value, name)
    try:
        return clean_root(written)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
