"""Lists in pages (OCI Distribution, "Listing tags")."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from . import errors
from .requests import Request


class Page(NamedTuple):
    """The part of a list that a client wants.

    :param limit: how many entries at most, or None for all.
    :param last: the entry that comes before the first one wanted; it need not exist. Empty for the beginning.
    """

    limit: int | None
    last: str


def parse_page(request: Request) -> Page:
    """Read the parameters ``n`` and ``last``.

    :raises RegistryError: ``PAGINATION_NUMBER_INVALID`` (400) if ``n`` is not a number.
    """
    text = request.parameter("n")
    if text is not None and not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise errors.pagination_invalid()
    return Page(None if text is None else int(text), request.parameter("last") or "")


def next_link(request: Request, path: str, limit: int, last: str) -> dict[str, str]:
    """Return the ``Link`` header to the page after the entry *last* (RFC 8288)."""
    return {"Link": f'<{request.path_to(path)}?n={limit}&last={quote(last, safe="")}>; rel="next"'}
