"""What a stored manifest is made of, whatever its media type, and what of it must be there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.references import references
from cfmiddleware.registry.store.manifest import is_elsewhere


class Role(Enum):
    """What a part is to its manifest."""

    BLOB = "blob"  # a pull needs it
    ENTRY = "entry"  # of an index, which may be sparse
    OTHER = "other"  # in a field that nobody knows
    FREE = "free"  # a subject, or a layer that clients fetch from elsewhere: it need not be there


class Part(NamedTuple):
    """A part of a manifest.

    :param size: what the manifest says of its size in bytes; None if it says nothing.
    :param field: the field that names it.
    """

    digest: Digest
    role: Role
    size: int | None = None
    field: str = ""


def parts(content: bytes) -> list[Part] | None:
    """Return the parts of a manifest, or None if its bytes are not a JSON object."""
    found = references(content)
    if found is None:
        return None
    fields = json.loads(content)
    listed = list(dict.fromkeys(_listed(fields)))
    rest = found.digests - {part.digest for part in listed}
    return listed + [Part(digest, Role.OTHER) for digest in sorted(rest)]


def _listed(fields: Mapping[str, Any]) -> Iterator[Part]:
    yield from _part(fields.get("subject"), Role.FREE, "subject")
    yield from _part(fields.get("config"), Role.BLOB, "config")
    for name in ("layers", "blobs", "fsLayers"):
        for entry in _list(fields, name):
            role = Role.FREE if is_elsewhere(entry) else Role.BLOB
            yield from _part(entry, role, name, "blobSum" if name == "fsLayers" else "digest")
    for entry in _list(fields, "manifests"):
        yield from _part(entry, Role.ENTRY, "manifests")


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    return value if isinstance(value, list) else []


def _part(descriptor: Any, role: Role, field: str, name: str = "digest") -> Iterator[Part]:
    if not isinstance(descriptor, dict):
        return
    try:
        digest = Digest.parse(str(descriptor.get(name)))
    except ValueError:
        return
    size = descriptor.get("size")
    is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    yield Part(digest, role, size if is_size else None, field)
