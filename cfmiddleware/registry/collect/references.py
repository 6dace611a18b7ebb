"""What a stored manifest refers to, whatever its media type (OCI Image Specification, "Descriptors").

A collector that does not know a type must not take away what it names. So every descriptor at any depth
counts, known field or not: a layer, a config, an entry of an index, a subject, or what somebody invents next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store.manifest import load

# The field of a descriptor that has its digest, and that of a layer in Docker's schema 1.
_DIGEST_FIELDS = ("digest", "blobSum")


class References(NamedTuple):
    """What a manifest refers to.

    :param digests: everything that it names, its subject included.
    :param subject: the manifest that it is about, or None.
    """

    digests: frozenset[Digest]
    subject: Digest | None = None


def references(content: bytes) -> References | None:
    """Return what a manifest refers to, or None if its bytes are not a JSON object."""
    return load_with_references(content)[1]


def load_with_references(content: bytes) -> tuple[dict[str, Any] | None, References | None]:
    """Return a manifest's JSON object and what it refers to; None and None if its bytes are not one."""
    holders: list[dict[str, Any]] = []

    # Called for each object, while they are parsed: there may be half a million, which takes as long to walk
    # through as to parse.
    def look(value: dict[str, Any]) -> dict[str, Any]:
        if "digest" in value or "blobSum" in value:
            holders.append(value)
        return value

    fields = load(content, look)
    if fields is None:
        return None, None
    named = (_digest(value.get(name)) for value in holders for name in _DIGEST_FIELDS)
    subject = fields.get("subject")
    return fields, References(
        frozenset(digest for digest in named if digest is not None),
        _digest(subject.get("digest")) if isinstance(subject, dict) else None,
    )


def _digest(text: Any) -> Digest | None:
    try:
        return Digest.parse(text) if isinstance(text, str) else None
    except ValueError:
        return None
