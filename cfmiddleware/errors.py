"""The errors that pass from room to room.

Each family is caught in one place: :class:`ConfigError` by the commands and by the server's factories,
:class:`StorageError` by the registry and the edge.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import ClassVar

# Names that files have and secrets do not: with an ending, or a word for what is in the file.
_FILE = re.compile(
    r"[A-Za-z0-9_.-]{1,64}\.[a-z][a-z0-9]{1,7}"
    r"|(?=.*(?:key|cert|pem|bundle|passw|jwk|token|secret|users|ranges))[a-z][a-z_-]{0,39}"
)
# Nobody's secret has so few characters.
_SHORTEST = 4
_WORDS = re.compile(r"[a-z]{1,20}(?:[/_-][a-z]{1,20}){1,9}")
_DIRECTORY = re.compile(r"[A-Za-z0-9_.-]{1,39}")


class ConfigError(ValueError):
    """What an operator wrote cannot work.

    The message is one line: the file or the option, what is wrong and what would be right. It never holds a
    secret.

    :param message: the line. Names and values in it come from the operator, so every character that would end
        the line or move a terminal's cursor is shown as Python would write it.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


class StorageNotReached(ConfigError):
    """The storage cannot be reached when the program starts. It may be later: nothing says that the
    configuration is wrong.
    """


def cannot_be_read(error: Exception) -> str:
    """Return ``cannot be read: `` and why, for the message about a file that *error* kept from being read."""
    if isinstance(error, UnicodeDecodeError):
        return "cannot be read: it is not UTF-8 text"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or type(error).__name__}"
    return "cannot be read: that is not a path"  # a ValueError: a zero byte, a surrogate


def shown_path(path: str | os.PathLike[str]) -> str:
    """Return a path as a message may show it, for a file that could not be read.

    A key without its ``BEGIN`` line, or a password, may have been given as the path. So what is below the
    directories that are there is shortened, unless it is named as files are.
    """
    text = os.fspath(path)
    there, missing = text, ""
    while there and not _is_there(there):
        there = os.path.dirname(there) if there != os.path.dirname(there) else ""
        missing = text[len(there) :].lstrip("/")
    *directories, name = missing.split("/")
    is_named = _FILE.fullmatch(name) and all(_DIRECTORY.fullmatch(part) for part in directories)
    if len(missing) <= _SHORTEST or is_named or (directories and _WORDS.fullmatch(missing)):
        return text
    return f"{text[: len(text) - len(missing)]}{missing[: min(8, len(missing) // 4)]}..."


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a zero byte, a surrogate
        return False


class StorageError(Exception):
    """A storage driver could not do what it was asked to do; the base of those below."""


class ObjectNotFound(StorageError):
    """No object lies at the path."""


class ObjectExists(StorageError):
    """A create-only write found an object at the path. What was there is untouched."""


class StorageUnavailable(StorageError):
    """The storage did not answer, or refused, after all retries; the same request may succeed later.

    The message is for the log. *told* is what clients are told: the kind of the failure, and nothing of the
    storage's inside.
    """

    told: ClassVar[str] = "the storage cannot be reached; try again later"

    #: Whether it lasts until an operator does something, so that to try again does not help.
    lasting: bool = False


class StorageFull(StorageUnavailable):
    """There is no room in the storage, or none left of a quota. What needs none goes on."""

    told = "the storage is full"


class BeingCollected(StorageUnavailable):
    """What a request refers to is about to be deleted, by a garbage collection that does not end."""

    told = "a garbage collection deletes what the request refers to; try again later"


class StorageReadOnly(StorageUnavailable):
    """The storage is mounted read-only. Reading goes on."""

    told = "the storage cannot be written to at present; try again later"


class StorageClockWrong(StorageUnavailable):
    """The storage refuses what is signed here, because one of the two clocks is wrong."""

    told = "the storage refuses the registry, whose clock is wrong; try again later"


class StorageRefused(StorageUnavailable):
    """The storage answered that this may not be done, or that it cannot do it."""

    told = "the storage refuses what the registry asks of it; the registry's log says why"
    lasting = True


class StorageFailed(StorageUnavailable):
    """The storage answered that it has failed itself."""

    told = "the storage has failed; try again later"


class NotDeleted(StorageUnavailable):
    """Of the objects that were to be deleted some are still there; all others are gone.

    :param storage: what refused, for the message.
    :param codes: the paths of those that are left, and what the storage said of each.
    :param lasting: whether it would refuse again.
    """

    told = "the storage did not delete everything; try again later"

    def __init__(self, storage: str, codes: Mapping[str, str], *, lasting: bool) -> None:
        path, code = next(iter(codes.items()))
        super().__init__(f"{storage} did not delete {len(codes)} objects, the first {path}: {code}")
        self.codes = codes
        self.lasting = lasting
