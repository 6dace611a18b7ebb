"""A request whose client has shown who it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from cfmiddleware.registry.requests import Request

from .access import Grant, mount_source


@dataclass(eq=False, kw_only=True)
class GrantedRequest(Request):
    """A request, and what its client may do.

    :param grant: what the client may do; ``grant.user`` is its name, for logs.
    """

    grant: Grant

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """The query's parameters, without a mount from a repository that the client may not read.

        Such a request begins an upload like any other, so that nobody learns what lies in a repository that
        is closed to them (OCI Distribution, "Mounting a blob from another repository": 202 is an answer).
        """
        plain = Request(self.environ, self.route)
        source = mount_source(plain)
        if source is None or self.grant.may_pull(source):
            return plain.query
        return {name: values for name, values in plain.query.items() if name not in ("mount", "from")}


def granted(request: Request, grant: Grant) -> GrantedRequest:
    """Return *request* with what its client may do."""
    fields = {item.name: getattr(request, item.name) for item in dataclasses.fields(request)}
    return GrantedRequest(**fields, grant=grant)
