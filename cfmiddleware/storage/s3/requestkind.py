"""The kind of a request to S3, by which Amazon asks its price (Amazon S3, "Pricing")."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

# What lists: the query of a GET of the bucket as a whole, or of an upload.
_LISTS = frozenset(("list-type", "uploads", "uploadId", "versions"))


def kind_of(method: str, url: str) -> str:
    """Return one of :data:`cfmiddleware.storage.requestmeter.KINDS`."""
    query = parse_qs(urlsplit(url).query, keep_blank_values=True).keys()
    if method == "DELETE" or (method == "POST" and "delete" in query):
        return "delete"
    if method == "GET":
        return "list" if query & _LISTS else "get"
    return "head" if method == "HEAD" else "put"
