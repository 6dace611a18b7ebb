"""The errors that pass from room to room.

Each family is caught in one place: :class:`ConfigError` by the commands and by the server's factories,
:class:`StorageError` by the registry and the edge.
"""

from __future__ import annotations


class ConfigError(ValueError):
    """What an operator wrote cannot work.

    The message is one line: the file or the option, what is wrong and what would be right. It never holds a
    secret.

    :param message: the line. Names and values in it come from the operator, so every character that would end
        the line or move a terminal's cursor is shown as Python would write it.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))


def cannot_be_read(error: Exception) -> str:
    """Return ``cannot be read: `` and why, for the message about a file that *error* kept from being read."""
    if isinstance(error, UnicodeDecodeError):
        return "cannot be read: it is not UTF-8 text"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or type(error).__name__}"
    return "cannot be read: that is not a path"  # a ValueError: a zero byte, a surrogate


class StorageError(Exception):
    """A storage driver could not do what it was asked to do; the base of the three below."""


class ObjectNotFound(StorageError):
    """No object lies at the path."""


class ObjectExists(StorageError):
    """A create-only write found an object at the path. What was there is untouched."""


class StorageUnavailable(StorageError):
    """The storage did not answer, or refused, after all retries; the same request may succeed later."""
