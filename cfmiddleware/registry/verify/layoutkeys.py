"""Which keys registries write below a repository: this one, and Distribution since its first version."""

from __future__ import annotations

import re

from cfmiddleware.digest import Digest
from cfmiddleware.reference import is_tag

_DIGEST = r"(sha256/[0-9a-f]{64}|sha512/[0-9a-f]{128})"

_LAYER = re.compile(rf"_layers/{_DIGEST}/link")
_REVISION = re.compile(rf"_manifests/revisions/{_DIGEST}/link")
_CURRENT = re.compile(r"_manifests/tags/([^/]+)/current/link")
_INDEX = re.compile(rf"_manifests/tags/([^/]+)/index/{_DIGEST}/link")

# Distribution before 2.4 kept the signatures of schema 1 beside the manifest.
_OTHERS = (
    re.compile(rf"_manifests/revisions/{_DIGEST}/signatures/{_DIGEST}/link"),
    re.compile(rf"_referrers/{_DIGEST}/(?:sha256-[0-9a-f]{{64}}|sha512-[0-9a-f]{{128}})"),
    re.compile(rf"_types/{_DIGEST}"),
)

# Objects of an upload, ours and Distribution's.
_OF_UPLOAD = re.compile(
    r"startedat|cancelled|purging|algorithm-[a-z0-9]+|state-[0-9]{8}|piece-[0-9a-f-]{36}"
    r"|data|hashstates/[a-z0-9]+/[0-9]+"
)

#: The folders of a repository.
FOLDERS = frozenset(("_layers/", "_manifests/", "_uploads/", "_referrers/", "_types/"))


def layer_in(key: str) -> Digest | None:
    """Return the blob whose link a key below a repository is."""
    return _digest(_LAYER.fullmatch(key))


def revision_in(key: str) -> Digest | None:
    """Return the manifest whose link a key below a repository is."""
    return _digest(_REVISION.fullmatch(key))


def current_in(key: str) -> str | None:
    """Return the tag whose current link a key below a repository is."""
    found = _CURRENT.fullmatch(key)
    return found[1] if found is not None and is_tag(found[1]) else None


def indexed_in(key: str) -> str | None:
    """Return the tag in whose history a key below a repository is."""
    found = _INDEX.fullmatch(key)
    return found[1] if found is not None and is_tag(found[1]) else None


def is_known(key: str) -> bool:
    """Return whether a key below a repository is one of the others that registries write, uploads apart."""
    return any(pattern.fullmatch(key) for pattern in _OTHERS)


def is_of_upload(name: str) -> bool:
    """Return whether registries write an object of that name in the folder of an upload."""
    return _OF_UPLOAD.fullmatch(name) is not None


def _digest(found: re.Match[str] | None) -> Digest | None:
    return None if found is None else Digest(*found[1].split("/"))
