"""What a manifest says: its media type, what it refers to, what it is about (OCI Image Specification).

The layout has no place for a media type beside a manifest. Like Distribution, we read it from the manifest
itself; for a manifest that does not say it, it is kept in an object of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.registry.errors import RegistryError, manifest_invalid

from .urlrules import URLRules

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_DOCKER_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
_DOCKER_SCHEMA_1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

_IMAGES = {OCI_MANIFEST, DOCKER_MANIFEST}
_INDEXES = {OCI_INDEX, DOCKER_LIST}
_TYPES = _IMAGES | _INDEXES
_OCI = {OCI_MANIFEST, OCI_INDEX}

# What programs send that do not know a type; no manifest has it.
_GENERIC = {
    "",
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/json",
    "text/plain",
}

# The grammar of RFC 6838, 4.2. Only types of applications: a manifest of type text/html would be a web page
# at the registry's own address, written by a client that may push.
_MEDIA_TYPE = re.compile(r"application/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}+")

# Layers that a client fetches from elsewhere and need not push.
_NOT_DISTRIBUTED = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)


class Required(NamedTuple):
    """What a manifest that is pushed must be, and what must be in the repository before it.

    :param layers: whether the layers must be there; if not, an image may be sparse.
    :param platforms: the platforms, each an operating system and an architecture, whose entries of an index
        must be there; None for all platforms.
    :param collectable: whether it must be of a media type that Distribution's garbage collector can read. One
        manifest that it cannot read makes it stop.
    :param urls: which URLs its layers may name; None for any.
    """

    layers: bool = True
    platforms: frozenset[tuple[str, str]] | None = None
    collectable: bool = False
    urls: URLRules | None = None

    def wants(self, entry: Mapping[str, Any]) -> bool:
        """Return whether an entry of an index must be in the repository."""
        if self.platforms is None:
            return True
        platform = entry.get("platform")
        if not isinstance(platform, dict):
            return False
        return (str(platform.get("os")), str(platform.get("architecture"))) in self.platforms


class TypeInBytes(NamedTuple):
    """What a manifest's bytes say of its media type: whether they state it, and what it is or seems to be."""

    stated: bool
    media_type: str


class Manifest(NamedTuple):
    """A manifest or an index that may be stored.

    :param media_type: its own.
    :param in_bytes: what its bytes say of its media type.
    :param blobs: the blobs that it refers to and that must be in the repository.
    :param manifests: the manifests that it refers to and that must be in the repository.
    :param others: what must be in the repository as a blob or as a manifest.
    :param subject: the manifest that it is about, if any; it need not exist.
    :param artifact_type: what it is, as the list of referrers has it; empty if it does not say.
    :param annotations: those that its descriptor in a list of referrers has, as a JSON object; empty if there
        are none, and without a subject.
    """

    media_type: str
    in_bytes: TypeInBytes
    blobs: tuple[Digest, ...] = ()
    manifests: tuple[Digest, ...] = ()
    others: tuple[Digest, ...] = ()
    subject: Digest | None = None
    artifact_type: str = ""
    annotations: bytes = b""

    def encoded_descriptor(self, digest: Digest, size: int) -> bytes:
        """Return the descriptor that a list of referrers has (OCI Distribution, "Listing Referrers").

        It is as it is stored: on one line without spaces, its annotations at the end.
        """
        found: dict[str, Any] = {"mediaType": self.media_type, "size": size, "digest": str(digest)}
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        encoded = _encoded(found)
        return encoded[:-1] + b',"annotations":' + self.annotations + b"}" if self.annotations else encoded


def parse_manifest(content: bytes, content_type: str = "", required: Required | None = None) -> Manifest:
    """Read a manifest that a client pushes.

    :param content: its bytes.
    :param content_type: the request's ``Content-Type``; it counts only if a manifest can have it.
    :param required: what must be in the repository; everything by default.
    :raises RegistryError: ``MANIFEST_INVALID`` (400), with what is wrong.
    """
    return manifest_in(load(content), content_type, required)


def manifest_in(
    fields: dict[str, Any] | None, content_type: str = "", required: Required | None = None
) -> Manifest:
    """Do what :func:`parse_manifest` does, with what :func:`load` has returned."""
    if fields is None:
        raise manifest_invalid("the manifest is not a JSON object")
    sent = content_type.partition(";")[0].strip().lower()
    media_type = _checked_type(fields, sent)
    required = required or Required()
    if required.collectable:
        _check_collectable(fields, media_type)
    manifest = Manifest(
        media_type,
        _type_in(fields),
        subject=None if fields.get("subject") is None else _digest(fields["subject"], "subject"),
        artifact_type=_artifact_type(fields),
        annotations=_annotations(fields),
    )
    if media_type in _TYPES:
        _check_version(fields)
        if media_type in _IMAGES and fields.get("config") is None:
            raise manifest_invalid("config is missing")
    if required.urls is not None:
        _check_urls(fields, required.urls)
    manifests, others = _entries(fields, required)
    return manifest._replace(blobs=_blobs(fields, required), manifests=manifests, others=others)


def _check_urls(fields: dict[str, Any], rules: URLRules) -> None:
    """See that the layers name no URL that is not allowed."""
    urls: list[str] = []
    for name in ("layers", "blobs"):
        for number, layer in enumerate(_list(fields, name)):
            listed = layer.get("urls") if isinstance(layer, dict) else None
            if listed is not None and not (
                isinstance(listed, list) and all(isinstance(u, str) for u in listed)
            ):
                raise manifest_invalid(f"{name}[{number}].urls must be a list of URLs")
            urls += listed or []
    refused = rules.refused(urls)
    if refused:
        raise manifest_invalid(f"a layer may not be fetched from {refused} (validation.manifests.urls)")


def read_manifest(content: bytes) -> Manifest | None:
    """Read a stored manifest, which another registry may have stored. Return None if it cannot be read.

    What it refers to is left out: it counts only when a manifest is pushed.
    """
    fields = load(content)
    if fields is None:
        return None
    subject: Digest | None = None
    if fields.get("subject") is not None:
        try:
            subject = _digest(fields["subject"], "subject")
        except RegistryError:
            return None
    in_bytes = _type_in(fields)
    return Manifest(
        in_bytes.media_type,
        in_bytes,
        subject=subject,
        artifact_type=_artifact_type(fields),
        annotations=_annotations(fields),
    )


def type_in_bytes(content: bytes) -> TypeInBytes:
    """Return what a stored manifest's bytes say of its media type."""
    fields = load(content)
    return TypeInBytes(False, "application/octet-stream") if fields is None else _type_in(fields)


def _type_in(fields: dict[str, Any]) -> TypeInBytes:
    stated = fields.get("mediaType")
    is_schema_1 = fields.get("schemaVersion") == 1
    if isinstance(stated, str) and _MEDIA_TYPE.fullmatch(stated):
        media_type = stated
    elif is_schema_1:
        media_type = _DOCKER_SCHEMA_1_SIGNED if "signatures" in fields else _DOCKER_SCHEMA_1
    else:
        media_type = OCI_INDEX if _shape(fields) == "index" else OCI_MANIFEST
    return TypeInBytes(is_schema_1 or (isinstance(stated, str) and stated != ""), media_type)


def _shape(fields: Mapping[str, Any]) -> Literal["image", "index", "both", ""]:
    """Return what a manifest's fields make it.

    Programs in Go write an empty list as ``null``, or leave it out, and some write ``[]`` for fields that are
    another type's. So what is empty counts only where nothing else tells.
    """
    is_image = any(fields.get(name) not in (None, []) for name in ("config", "layers"))
    is_index = fields.get("manifests") not in (None, [])
    if not is_image and not is_index:
        is_image, is_index = "config" in fields or "layers" in fields, "manifests" in fields
        is_image = is_image and not is_index
    return "both" if is_image and is_index else "image" if is_image else "index" if is_index else ""


def indexed(content: bytes) -> list[Digest]:
    """Return what a stored index refers to; nothing if it is not an index."""
    fields = load(content) or {}
    entries = fields.get("manifests")
    found: list[Digest] = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            found.append(_digest(entry, "manifests"))
        except RegistryError:
            continue
    return found


def load(
    content: bytes, each: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> dict[str, Any] | None:
    """Return the JSON object that the bytes are, or None if they are none.

    :param each: is given each object in it, the inner ones first, and returns it.
    """
    try:
        fields = json.loads(content) if each is None else json.loads(content, object_hook=each)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _checked_type(fields: dict[str, Any], sent: str) -> str:
    stated = fields.get("mediaType")
    schema_1 = {_DOCKER_SCHEMA_1, _DOCKER_SCHEMA_1_SIGNED}
    if (
        fields.get("schemaVersion") == 1
        or sent in schema_1
        or (isinstance(stated, str) and stated in schema_1)
    ):
        raise manifest_invalid("Docker's schema 1 is not supported")
    shape = _shape(fields)
    if shape == "both":
        # A document that is both could be signed as the one and run as the other (CVE-2021-41190).
        raise manifest_invalid("a manifest has either config and layers, or manifests")
    if stated == "":  # which programs in Go write for a field that they did not set
        stated = None
    if stated is not None and not (isinstance(stated, str) and _MEDIA_TYPE.fullmatch(stated)):
        raise manifest_invalid(f"mediaType {str(stated)[:100]!r} is not of the form application/...")
    media_type: str
    if stated is not None:
        media_type = stated
        if sent != stated.lower() and (sent in _TYPES or stated.lower() in _GENERIC):
            raise manifest_invalid(f"Content-Type says {sent or 'nothing'}, the manifest itself {stated}")
    elif sent not in _GENERIC:
        if not _MEDIA_TYPE.fullmatch(sent):
            raise manifest_invalid("the Content-Type is not of the form application/...")
        media_type = sent
    elif shape:
        media_type = OCI_INDEX if shape == "index" else OCI_MANIFEST
    else:
        raise manifest_invalid("a manifest has config and layers, or manifests, or a media type of its own")
    if (media_type in _IMAGES and fields.get("manifests")) or (media_type in _INDEXES and shape == "image"):
        raise manifest_invalid(f"the media type {media_type} is not one of a manifest with these fields")
    return media_type


def _check_version(fields: dict[str, Any]) -> None:
    version = fields.get("schemaVersion")
    if version != 2 or not isinstance(version, int):  # 2.0 is a number that programs in Go do not read
        raise manifest_invalid("schemaVersion must be 2")


def _check_collectable(fields: dict[str, Any], media_type: str) -> None:
    """Refuse what Distribution's garbage collector cannot read, because it would stop there.

    It goes by the bytes: what the ``Content-Type`` said is not kept there.
    """
    if media_type not in _TYPES:
        raise manifest_invalid(
            f"the media type {media_type} is not accepted (validation.manifests.mediatypes: distribution)"
        )
    if media_type not in _OCI and not fields.get("mediaType"):
        raise manifest_invalid("mediaType is missing (validation.manifests.mediatypes: distribution)")


def _artifact_type(fields: dict[str, Any]) -> str:
    """Return ``artifactType``, or for an image the media type of its config."""
    own = fields.get("artifactType")
    if isinstance(own, str) and own:
        return own
    config = fields.get("config")
    media_type = config.get("mediaType") if isinstance(config, dict) else None
    return media_type if isinstance(media_type, str) else ""


def _annotations(fields: dict[str, Any]) -> bytes:
    # As bytes, because of megabytes of them many objects would be made.
    value = fields.get("annotations")
    if fields.get("subject") is None or not isinstance(value, dict):
        return b""
    texts = {name: text for name, text in value.items() if isinstance(text, str)}
    return _encoded(texts) if texts else b""


def _encoded(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _blobs(fields: dict[str, Any], required: Required) -> tuple[Digest, ...]:
    """Return the blobs that must be there: the config, the layers, and the blobs of an artifact manifest."""
    found = [_digest(fields["config"], "config")] if fields.get("config") is not None else []
    for name in ("layers", "blobs"):
        for number, layer in enumerate(_list(fields, name)):
            if not is_elsewhere(layer):
                digest = _digest(layer, f"{name}[{number}]")
                if required.layers:
                    found.append(digest)
    return _unique(found)


def _entries(fields: dict[str, Any], required: Required) -> tuple[tuple[Digest, ...], tuple[Digest, ...]]:
    """Return the entries of an index that must be there: manifests, and entries that may be blobs instead."""
    manifests: list[Digest] = []
    others: list[Digest] = []
    for number, entry in enumerate(_list(fields, "manifests")):
        digest = _digest(entry, f"manifests[{number}]")
        if required.wants(entry):
            # An index may name artifacts of any type, which clients push as blobs.
            (manifests if entry.get("mediaType") in _TYPES else others).append(digest)
    return _unique(manifests), _unique(others)


def _list(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise manifest_invalid(f"{name} must be a list")
    return value


def _digest(descriptor: Any, name: str) -> Digest:
    if not isinstance(descriptor, dict):
        raise manifest_invalid(f"{name} must be a descriptor")
    # Which number it is, and whether there is one, is the client's affair. The registry does not use it.
    size = descriptor.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or abs(size) >= 1 << 63):
        raise manifest_invalid(f"{name}.size must be a number of bytes")
    if not isinstance(descriptor.get("mediaType"), str | None):
        raise manifest_invalid(f"{name}.mediaType must be a text")
    try:
        return Digest.parse(str(descriptor.get("digest")))
    except ValueError as error:
        raise manifest_invalid(f"{name}.digest: {error}") from None


def is_elsewhere(layer: Any) -> bool:
    """Return whether a descriptor is that of a layer that clients fetch from elsewhere and need not push."""
    return isinstance(layer, dict) and str(layer.get("mediaType")).startswith(_NOT_DISTRIBUTED)


def _unique(digests: list[Digest]) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys(digests))
