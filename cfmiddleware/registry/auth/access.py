"""What a request needs and what a client has: scopes (Docker Registry token authentication, "Scope")."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cfmiddleware.reference import is_name
from cfmiddleware.registry.requests import Request

if TYPE_CHECKING:
    from cfmiddleware.registry.routes import Route


class Access(NamedTuple):
    """Actions on one resource; ``str()`` gives the scope, such as ``repository:team/app:pull,push``."""

    type: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(self.actions)}"


#: The list of all repositories. Only the action ``*`` is ever asked for.
CATALOG = Access("registry", "catalog", ("*",))

_READING = ("GET", "HEAD")


@dataclass(frozen=True)
class Grant:
    """What a client that has authenticated may do.

    :param user: the user's name, for logs; empty if the client has no name.
    :param actions: the actions for each resource's type and name; None if everything is allowed.
    """

    user: str
    actions: Mapping[tuple[str, str], frozenset[str]] | None = field(default=None, repr=False)

    def allows(self, access: Access) -> bool:
        """Return whether all the actions are allowed; the action ``*`` stands for every other."""
        if self.actions is None:
            return True
        allowed = self.actions.get((access.type, access.name), frozenset())
        return "*" in allowed or allowed.issuperset(access.actions)

    def may_pull(self, repository: str) -> bool:
        """Return whether the client may read a repository."""
        return self.allows(_pull(repository))


class Authenticator(Protocol):
    """A way to tell clients from one another."""

    def authorize(self, request: Request) -> Grant:
        """Return what the client may do, which includes what *request* does.

        It does not read the body and does not change the environ.

        :raises RegistryError: ``UNAUTHORIZED`` (401) with a challenge, if the client has sent no credential,
            a wrong one, or one that is not enough.
        """
        ...


def needed(route: Route, method: str) -> tuple[Access, ...]:
    """Return what a request needs. ``/v2/`` needs nothing but a valid credential."""
    if route.resource == "base":
        return ()
    if not route.repository:
        return (CATALOG,)
    if method == "DELETE":
        return (Access("repository", route.repository, ("delete",)),)
    # Only a client that may continue an upload may read its state.
    if method in _READING and route.resource not in ("upload", "uploads"):
        return (_pull(route.repository),)
    return (Access("repository", route.repository, ("pull", "push")),)


def wanted(request: Request) -> tuple[Access, ...]:
    """Return what a challenge to *request* asks for: what it needs, and what it could use.

    A mount does not need the right to read its source: without it, it becomes an upload.
    """
    found = needed(request.route, request.method)
    source = mount_source(request)
    if source is not None and source != request.repository:
        found += (_pull(source),)
    return found


def mount_source(request: Request) -> str | None:
    """Return the repository that a request wants to mount a blob from, or None."""
    if request.route.resource != "uploads" or request.parameter("mount") is None:
        return None
    source = request.parameter("from")
    return source if source is not None and is_name(source) else None


def _pull(repository: str) -> Access:
    return Access("repository", repository, ("pull",))


@dataclass(eq=False, kw_only=True)
class GrantedRequest(Request):
    """A request, and what its client may do.

    :param grant: what the client may do; ``grant.user`` is its name, for logs.
    """

    grant: Grant

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """The query's parameters, without a mount from a repository that the client may not read.

        Such a request begins an upload like any other, so that no client learns what is in a repository that
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
