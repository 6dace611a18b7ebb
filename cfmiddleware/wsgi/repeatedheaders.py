"""Headers that are sent many times, such as those of a redirect until its signature's window ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .types import StartResponse


class Repeated:
    """Headers, and the form in which a server sends them, once it has made that.

    Safe to share between threads: who writes the form writes the same as any other.

    :param fields: the headers.
    """

    __slots__ = ("fields", "sent")

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self.fields = tuple(fields)
        #: The end of the head, and the length of the body that it says, as the server has sent them.
        self.sent: tuple[bytes, int | None] | None = None


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


class Repeating:
    """A server's response that takes repeated headers as they are, without a list for each answer.

    Its ``start_response`` is a method, by which an app finds it: whoever stands between the two has one of
    his own, and gets the list.
    """

    __slots__ = ()

    def start_again(self, status: str, repeated: Repeated) -> None:
        """Begin the answer as ``start_response`` does."""
        raise NotImplementedError


def start_repeated(start_response: StartResponse, status: str, repeated: Repeated) -> None:
    """Begin an answer with repeated headers, whatever server sends it."""
    server = getattr(start_response, "__self__", None)
    if isinstance(server, Repeating):
        server.start_again(status, repeated)
        return
    headers = RepeatedHeaders(repeated.fields)
    headers.repeated = repeated
    start_response(status, headers)
