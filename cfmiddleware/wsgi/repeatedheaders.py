"""Headers that are sent many times, such as those of a redirect until its signature's window ends."""

from __future__ import annotations

from collections.abc import Sequence


class Repeated:
    """Headers, and the form in which a server sends them, once it has made that.

    Safe to share between threads: who writes the form writes the same as any other.

    :param fields: the headers.
    """

    __slots__ = ("fields", "sent")

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self.fields = tuple(fields)
        #: Their lines, and the length of the body that they say, as the server has sent them.
        self.sent: tuple[str, int | None] | None = None


class RepeatedHeaders(list[tuple[str, str]]):
    """The list of headers that PEP 3333 wants, a new one for each answer, whose owner is whoever gets it.

    A server that knows this class, and finds in the list what was put there, may send what it has made of the
    same headers before.
    """

    # Filled by who makes it, and not by a constructor: one is made for each redirect.
    __slots__ = ("repeated",)

    repeated: Repeated

    def are_unchanged(self) -> bool:
        """Return whether nobody has changed the list. Headers that are the same objects are not compared."""
        return tuple(self) == self.repeated.fields
