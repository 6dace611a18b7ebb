"""Which resource a path names (OCI Distribution Specification, "Endpoints")."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.reference import is_name, is_tag, parse_blob_path

from . import errors

Resource = Literal["root", "base", "catalog", "blob", "uploads", "upload", "manifest", "tags", "referrers"]


class Route(NamedTuple):
    """A resource, and the repository that it belongs to.

    :param resource: the kind of resource.
    :param repository: the repository's name; empty if it belongs to none.
    :param reference: a digest, a tag or an upload's id as it is in the path; empty if there is none.
    """

    resource: Resource
    repository: str = ""
    reference: str = ""


_WITH_REFERENCE: dict[str, Resource] = {
    "blobs": "blob",
    "manifests": "manifest",
    "referrers": "referrers",
}


def parse_route(path: str, prefix: str = "") -> Route:
    """Read a path of the registry.

    :param path: the path as decoded by the server (``PATH_INFO``).
    :param prefix: what stands in front of ``/v2/``, without a slash at its end.
    :raises RegistryError: ``NAME_INVALID`` (400) if only the name is wrong, and 404 if the path is not the
        registry's.

    Paths are read from the right, so that a repository's name may hold words such as ``blobs`` itself.
    """
    blob = parse_blob_path(path, prefix)
    if blob is not None:  # what is asked for most
        return blob_route(*blob)
    if path in ("", "/", prefix, prefix + "/"):
        return Route("root")
    if not path.startswith(prefix + "/v2"):
        raise errors.no_such_path()
    rest = path[len(prefix) + len("/v2") :]
    if rest in ("", "/"):
        return Route("base")
    if rest == "/_catalog":
        return Route("catalog")
    if not rest.startswith("/"):
        raise errors.no_such_path()
    found = _parse_tail(rest)
    if found is None:
        raise errors.no_such_path()
    if not is_name(found.repository):
        raise errors.name_invalid()
    return found


def below_v2_without_slash(path: str, prefix: str = "") -> str | None:
    """Return what follows ``/v2/`` in a path that names a resource but for one slash at its end, without that
    slash; None for any other path. Distribution redirects such requests, whatever their method.

    :param path: a path that :func:`parse_route` refuses.
    """
    shorter = path[:-1]
    if not path.endswith("/") or not path.isascii():
        return None
    try:
        parse_route(shorter, prefix)
    except errors.RegistryError:
        return None
    return shorter.removeprefix(f"{prefix}/v2/") if shorter.startswith(f"{prefix}/v2/") else None


@lru_cache(maxsize=4096)
def blob_route(repository: str, digest: Digest) -> Route:
    """Return the route of a blob."""
    return Route("blob", repository, str(digest))


def _parse_tail(rest: str) -> Route | None:
    head, _, reference = rest.rpartition("/")
    front, _, kind = head.rpartition("/")
    name = front[1:]
    if kind == "tags" and reference == "list":
        return Route("tags", name)
    if kind == "blobs" and reference == "uploads":
        return Route("uploads", name)
    if kind == "uploads" and front.endswith("/blobs"):
        name = front[1 : -len("/blobs")]
        return Route("upload", name, reference) if reference else Route("uploads", name)
    resource = _WITH_REFERENCE.get(kind)
    if resource is None or not reference:
        return None
    return Route(resource, name, reference)


def parse_digest(text: str) -> Digest:
    """Read a digest that a client sent.

    :raises RegistryError: ``DIGEST_INVALID`` (400).
    """
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise errors.digest_invalid(str(error)) from None


def parse_reference(text: str) -> Digest | str:
    """Read a manifest's reference: a digest, or else a tag.

    :raises RegistryError: ``DIGEST_INVALID`` (400) for a text with a colon that is not a digest,
        ``TAG_INVALID`` (400) for any other that is not a tag.
    """
    if ":" in text:
        return parse_digest(text)
    return parse_tag(text)


def parse_tag(text: str) -> str:
    """Read a tag that a client sent.

    :raises RegistryError: ``TAG_INVALID`` (400).
    """
    if not is_tag(text):
        raise errors.tag_invalid()
    return text
