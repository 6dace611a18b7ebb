"""What a stored manifest refers to, whatever its media type (OCI Image Specification, "Descriptors").

A collector that does not know a type must not take away what it names. So every descriptor at any depth
counts, known field or not: a layer, a config, an entry of an index, a subject, or what somebody invents next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from cfmiddleware.digest import Digest

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
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    subject = fields.get("subject")
    return References(
        frozenset(_named(fields)), _digest(subject.get("digest")) if isinstance(subject, dict) else None
    )


def _named(fields: Any) -> Iterator[Digest]:
    # Not by recursion: what may be nested as deep as json reads it is walked as deep.
    waiting = [fields]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name in _DIGEST_FIELDS:
                digest = _digest(value.get(name))
                if digest is not None:
                    yield digest
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _digest(text: Any) -> Digest | None:
    try:
        return Digest.parse(text) if isinstance(text, str) else None
    except ValueError:
        return None
