"""A request, as the resources see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any
from urllib.parse import parse_qs, quote

from cfmiddleware.wsgi.origin import origin

from .routes import Route


@cache  # of the names that the resources ask for, none of which comes from a client
def _variable(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


@dataclass(eq=False)  # and not frozen, which makes it several times as slow to build
class Request:
    """A request and where the registry that got it is reached. It is not changed.

    :param environ: the WSGI environ; never changed.
    :param route: the resource that the path names.
    :param base: what stands in front of ``/v2/`` for the client, without a slash at its end.
    :param host: scheme and host to build absolute URLs with, or None for those of the request itself.
    :param relative: whether URLs are built without scheme and host.
    """

    environ: dict[str, Any] = field(repr=False)
    route: Route
    base: str = ""
    host: str | None = None
    relative: bool = False

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.environ["REQUEST_METHOD"])

    @property
    def repository(self) -> str:
        """The name of the repository that the path names."""
        return self.route.repository

    def header(self, name: str) -> str:
        """Return a header as it was sent, or an empty string."""
        return str(self.environ.get(_variable(name), ""))

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """The query's parameters with all their values."""
        return parse_qs(self.environ.get("QUERY_STRING", ""), keep_blank_values=True)

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        values = self.query.get(name)
        return values[0] if values else None

    def path_to(self, path: str) -> str:
        """Return the URL path of ``/v2/`` + *path*, quoted."""
        return self.base + "/v2/" + quote(path, safe="/:")

    def url_to(self, path: str) -> str:
        """Return the URL of ``/v2/`` + *path* for a ``Location`` header, absolute where that is possible."""
        return f"{self.front()}/v2/{quote(path, safe='/:')}"

    def front(self) -> str:
        """Return what stands in front of ``/v2/`` in URLs for a ``Location`` header."""
        if self.relative:
            return self.base
        return (origin(self.environ) if self.host is None else self.host) + self.base
