"""What a push needs to know of a manifest, from one reading of its bytes."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from cfmiddleware.digest import Digest

from .collect.condemned import of_data, of_repository
from .collect.references import load_with_references
from .store.manifest import Manifest, Required, manifest_in


class Understood(NamedTuple):
    """What a manifest says.

    :param lines: what no garbage collection may take, as lines of an announcement.
    :param told: what an event says of the things that it refers to, as JSON; None where it was not asked for.
    """

    manifest: Manifest
    lines: frozenset[str]
    told: str | None


def understand(
    content: bytes, content_type: str, required: Required, repository: str, digest: Digest, *, tell: bool
) -> Understood:
    """Read a manifest that a client pushes.

    :param digest: its own.
    :param tell: whether an event says what it refers to.
    :raises RegistryError: ``MANIFEST_INVALID`` (400), with what is wrong.
    """
    fields, found = load_with_references(content)
    manifest = manifest_in(fields, content_type, required)
    digests = {digest, *(found.digests if found is not None else ())}
    lines = frozenset(line for one in digests for line in (of_repository(repository, one), of_data(one)))
    # Loaded only where it is needed, because large manifests are read in a process that is begun for each.
    envelope = import_module("cfmiddleware.notifications.envelope") if tell else None
    return Understood(manifest, lines, None if envelope is None else envelope.references(fields))
