"""What may be broken in a storage, and what an operator does about it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """A kind of fault, by its name."""

    LINK = "link without data"
    WRONG_LINK = "wrong link"
    REVISION = "manifest without data"
    MANIFEST = "unreadable manifest"
    PART = "missing part"
    SIZE = "wrong size"
    DATA = "wrong data"
    TAG = "tag to nothing"
    UPLOAD = "half-written upload"
    KEY = "unknown key"
    UNREADABLE = "unreadable object"


class Fault(NamedTuple):
    """Something that is broken.

    :param repository: whose it is; empty for what belongs to the whole storage.
    :param says: what is wrong.
    :param remedy: what an operator does about it.
    """

    kind: Kind
    repository: str
    says: str
    remedy: str


class Note(NamedTuple):
    """Something that is as it may be, and that an operator may want to know.

    :param repository: whose it is.
    :param says: what is so.
    """

    repository: str
    says: str


def shown(text: str) -> str:
    """Return a text of the storage in one line: what would end a line or move a cursor is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
