"""What a manifest says: its media type, what it refers to, what it is about (OCI Image Specification).

The layout has no place for a media type beside a manifest; like Distribution, we read it from the manifest
itself, and so take only manifests whose type can be read there again.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.errors import RegistryError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_DOCKER_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
_DOCKER_SCHEMA_1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

_IMAGES = {OCI_MANIFEST, DOCKER_MANIFEST}
_INDEXES = {OCI_INDEX, DOCKER_LIST}
_TYPES = _IMAGES | _INDEXES

# Layers that a client fetches from elsewhere and need not push.
_NOT_DISTRIBUTED = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)


class Document(NamedTuple):
    """A manifest or an index that may be stored.

    :param media_type: its own.
    :param blobs: the blobs that it refers to and that must be in the repository.
    :param manifests: the manifests that it refers to and that must be in the repository.
    :param others: what must be in the repository as the one or the other.
    :param subject: the manifest that it is about, if any; it need not exist.
    """

    media_type: str
    blobs: tuple[Digest, ...]
    manifests: tuple[Digest, ...]
    others: tuple[Digest, ...]
    subject: Digest | None


def parse_document(content: bytes, content_type: str = "") -> Document:
    """Read a manifest that a client pushes.

    :param content: its bytes.
    :param content_type: the request's ``Content-Type``; it counts only where it names a manifest's type.
    :raises RegistryError: ``MANIFEST_INVALID`` (400), with what is wrong.
    """
    fields = _load(content)
    if fields is None:
        raise _invalid("the manifest is no JSON object")
    media_type = _checked_type(fields, content_type.partition(";")[0].strip().lower())
    if fields.get("schemaVersion") != 2:
        raise _invalid("schemaVersion must be 2")
    subject = fields.get("subject")
    about = None if subject is None else _digest(subject, "subject")
    if media_type in _INDEXES:
        return _index(fields, media_type, about)
    config = _digest(fields.get("config"), "config")
    layers = [
        _digest(layer, f"layers[{number}]")
        for number, layer in enumerate(_list(fields, "layers"))
        if not _is_elsewhere(layer)
    ]
    return Document(media_type, _unique([config, *layers]), (), (), about)


def _index(fields: dict[str, Any], media_type: str, subject: Digest | None) -> Document:
    manifests: list[Digest] = []
    others: list[Digest] = []
    for number, entry in enumerate(_list(fields, "manifests")):
        digest = _digest(entry, f"manifests[{number}]")
        # An index may name artifacts of any type, which clients push as blobs.
        (manifests if entry.get("mediaType") in _TYPES else others).append(digest)
    return Document(media_type, (), _unique(manifests), _unique(others), subject)


def media_type_of(content: bytes) -> str:
    """Return the media type of a manifest that is stored, whoever stored it."""
    fields = _load(content)
    if fields is None:
        return "application/octet-stream"
    stated = fields.get("mediaType")
    if isinstance(stated, str) and stated in _TYPES:
        return stated
    if fields.get("schemaVersion") == 1:
        return _DOCKER_SCHEMA_1_SIGNED if "signatures" in fields else _DOCKER_SCHEMA_1
    return OCI_INDEX if "manifests" in fields else OCI_MANIFEST


def _load(content: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _checked_type(fields: dict[str, Any], content_type: str) -> str:
    if fields.get("schemaVersion") == 1 or content_type in (_DOCKER_SCHEMA_1, _DOCKER_SCHEMA_1_SIGNED):
        raise _invalid("Docker's schema 1 is not supported")
    has_image, has_index = "config" in fields or "layers" in fields, "manifests" in fields
    if has_image == has_index:
        # What is both can be read as either, and signed as one and run as the other (CVE-2021-41190).
        raise _invalid("a manifest has either config and layers, or manifests")
    stated = fields.get("mediaType")
    media_type = stated if stated is not None else (OCI_INDEX if has_index else OCI_MANIFEST)
    if not isinstance(media_type, str) or media_type not in (_INDEXES if has_index else _IMAGES):
        raise _invalid(f"mediaType {str(media_type)[:100]!r} is not one of a manifest with these fields")
    if content_type in _TYPES and content_type != media_type:
        raise _invalid(f"Content-Type says {content_type}, the manifest itself {media_type}")
    return media_type


def _list(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise _invalid(f"{name} must be a list")
    return value


def _digest(descriptor: Any, name: str) -> Digest:
    if not isinstance(descriptor, dict):
        raise _invalid(f"{name} must be a descriptor")
    size = descriptor.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _invalid(f"{name}.size must be a number of bytes")
    if not isinstance(descriptor.get("mediaType", ""), str):
        raise _invalid(f"{name}.mediaType must be a text")
    try:
        return Digest.parse(str(descriptor.get("digest")))
    except ValueError as error:
        raise _invalid(f"{name}.digest: {error}") from None


def _is_elsewhere(layer: Any) -> bool:
    return isinstance(layer, dict) and str(layer.get("mediaType")).startswith(_NOT_DISTRIBUTED)


def _unique(digests: list[Digest]) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys(digests))


def _invalid(message: str) -> RegistryError:
    return RegistryError("MANIFEST_INVALID", 400, message)
