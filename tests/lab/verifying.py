"""Verifications as tests run them, and the faults that they must find."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.verify.faults import Fault, Kind, Note
from cfmiddleware.registry.verify.repositorycheck import Rules
from cfmiddleware.registry.verify.verifier import Verifier
from lab.collecting import VirtualClock
from lab.registry_client import LAYER, OCI_INDEX, OCI_MANIFEST, RegistryClient, descriptor

OLD_UUID = "11111111-2222-3333-4444-555555555555"


class Result(NamedTuple):
    """What a verification has found."""

    faults: list[Fault]
    notes: list[Note]
    verifier: Verifier


def verify(driver: Any, clock: VirtualClock | None = None, **given: Any) -> Result:
    """Verify a storage, without waiting."""
    clock = clock or VirtualClock()
    later = given.pop("later", 0.0)
    rules = Rules(**{name: given.pop(name) for name in Rules._fields if name in given})
    faults: list[Fault] = []
    notes: list[Note] = []
    given = {"clock": clock, "sleep": clock.sleep, "parallel": 4, **given}
    verifier = Verifier(driver, faults.append, notes.append, rules, **given)
    verifier.now = lambda: time.time() + later
    verifier.verify()
    return Result(sorted(faults, key=lambda fault: fault.says), sorted(notes), verifier)


def whole_image(client: RegistryClient, name: str = "app", tag: str = "v1") -> tuple[Digest, Digest]:
    """Push an image whose descriptors have the right sizes, and return the manifest's and the layer's
    digest.
    """
    contents = (b'{"of": "%s"}' % name.encode(), b"layer of " + name.encode())
    config, layer = (sized(client.push_blob(name, content), content) for content in contents)
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    return push(client, name, tag, manifest), Digest.parse(layer["digest"])


def sized(digest: Digest, content: bytes, media_type: str = LAYER) -> dict[str, Any]:
    """Return the descriptor of a content, with its size."""
    return descriptor(digest, media_type, len(content))


def push(client: RegistryClient, name: str, reference: str, manifest: Any) -> Digest:
    """Push a manifest, and return its digest."""
    answer = client.push_manifest(name, reference, manifest)
    assert answer.status_code == 201, answer.text
    return Digest.parse(answer.headers["Docker-Content-Digest"])


class Case(NamedTuple):
    """Something that is broken.

    :param make: breaks it, and returns texts that the other fields name in braces.
    :param says: what must be said, and nothing else.
    :param remedy: what an operator is told to do.
    :param every: whether it is only found when everything is read.
    :param later: after how many seconds it is broken.
    """

    make: Callable[[RegistryClient], dict[str, Any]]
    kind: Kind
    says: str
    remedy: str
    every: bool = False
    repository: str = "app"
    later: float = 0.0


def _link_without_data(client: RegistryClient) -> dict[str, Any]:
    digest = client.push_blob("app", b"lost")
    client.driver.delete([paths.blob_data(digest)])
    return {"digest": digest}


def _long_link_without_data(client: RegistryClient) -> dict[str, Any]:
    digest = client.push_blob("app", b"lost", "sha512")
    client.driver.delete([paths.blob_data(digest)])
    return {"digest": digest}


def _empty_link(client: RegistryClient) -> dict[str, Any]:
    digest = client.push_blob("app", b"a blob")
    path = paths.layer_link("app", digest)
    client.driver.write(path, b"")
    return {"digest": digest, "key": client.driver.key(path)}


def _crossed_link(client: RegistryClient) -> dict[str, Any]:
    digest, other = client.push_blob("app", b"a blob"), client.push_blob("app", b"another")
    path = paths.layer_link("app", digest)
    client.driver.write(path, str(other).encode())
    return {"digest": digest, "other": other, "key": client.driver.key(path)}


def _manifest_without_data(client: RegistryClient) -> dict[str, Any]:
    manifest, _ = whole_image(client)
    client.driver.delete([paths.blob_data(manifest)])
    return {"manifest": manifest}


def _unreadable_manifest(client: RegistryClient) -> dict[str, Any]:
    digest = Digest.of(b"no JSON")
    client.driver.write(paths.blob_data(digest), b"no JSON")
    client.driver.write(paths.revision_link("app", digest), str(digest).encode())
    return {"manifest": digest}


def _rotten_manifest(client: RegistryClient) -> dict[str, Any]:
    manifest, _ = whole_image(client)
    path = paths.blob_data(manifest)
    content = client.driver.read(path)
    client.driver.write(path, content.replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))
    return {"manifest": manifest, "key": client.driver.key(path), "size": len(content)}


def _layer_without_data(client: RegistryClient) -> dict[str, Any]:
    manifest, layer = whole_image(client)
    client.driver.delete([paths.blob_data(layer)])
    return {"manifest": manifest, "layer": layer}


def _layer_without_link(client: RegistryClient) -> dict[str, Any]:
    manifest, layer = whole_image(client)
    client.driver.delete([paths.layer_link("app", layer)])
    return {"manifest": manifest, "layer": layer}


def _config_without_data(client: RegistryClient) -> dict[str, Any]:
    manifest, _ = whole_image(client)
    config = Digest.of(b'{"of": "app"}')
    client.driver.delete([paths.blob_data(config)])
    return {"manifest": manifest, "config": config}


def _schema_1_without_layer(client: RegistryClient) -> dict[str, Any]:
    layer = Digest.of(b"never pushed")
    content = json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": str(layer)}]}).encode()
    manifest = Digest.of(content)
    client.driver.write(paths.blob_data(manifest), content)
    client.driver.write(paths.revision_link("app", manifest), str(manifest).encode())
    return {"manifest": manifest, "layer": layer}


def _wrong_size(client: RegistryClient) -> dict[str, Any]:
    config, layer = client.push_blob("app", b"{}"), client.push_blob("app", b"six and more")
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": sized(config, b"{}"),
        "layers": [descriptor(layer, LAYER, 6)],
    }
    return {"manifest": push(client, "app", "v1", manifest), "layer": layer}


def _wrong_size_in_index(client: RegistryClient) -> dict[str, Any]:
    child, _ = whole_image(client)
    size = len(client.driver.read(paths.blob_data(child)))
    entries = [descriptor(child, OCI_MANIFEST, size + 1)]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return {"manifest": push(client, "app", "all", index), "child": child, "said": size + 1, "size": size}


def _cut_layer(client: RegistryClient) -> dict[str, Any]:
    manifest, layer = whole_image(client)
    path = paths.blob_data(layer)
    client.driver.write(path, b"layer")
    return {"manifest": manifest, "layer": layer, "key": client.driver.key(path)}


def _rotten_blob(client: RegistryClient) -> dict[str, Any]:
    digest = client.push_blob("app", b"right")
    path = paths.blob_data(digest)
    client.driver.write(path, b"wrong")
    return {"digest": digest, "key": client.driver.key(path)}


def _empty_blob(client: RegistryClient) -> dict[str, Any]:
    digest = client.push_blob("app", b"right")
    path = paths.blob_data(digest)
    client.driver.write(path, b"")
    return {"digest": digest, "key": client.driver.key(path)}


def _crossed_algorithms(client: RegistryClient) -> dict[str, Any]:
    data, name = client.push_blob("app", b"a blob"), Digest.of(b"another", "sha512")
    client.driver.write(paths.layer_link("app", name), str(data).encode())
    return {"data": data, "name": name, "key": client.driver.key(paths.blob_data(data))}


def _tag_to_nothing(client: RegistryClient) -> dict[str, Any]:
    manifest, _ = whole_image(client)
    client.driver.delete([paths.revision_link("app", manifest)])
    return {"manifest": manifest}


def _empty_tag(client: RegistryClient) -> dict[str, Any]:
    whole_image(client)
    client.driver.write(paths.tag_current("app", "v1"), b"")
    return {}


def _tag_without_current(client: RegistryClient) -> dict[str, Any]:
    whole_image(client)
    client.driver.delete([paths.tag_current("app", "v1")])
    return {}


def _upload_without_start(client: RegistryClient) -> dict[str, Any]:
    client.driver.write(paths.upload("app", OLD_UUID) + "data", b"some bytes")
    return {}


def _upload_that_lost_a_piece(client: RegistryClient) -> dict[str, Any]:
    folder = paths.upload("app", OLD_UUID)
    client.driver.write(folder + "startedat", b"2026-01-01T00:00:00Z")
    head = {"pieces": [["piece-1", 5]], "size": 5, "digest": None}
    client.driver.write(folder + "state-00000001", json.dumps(head).encode() + b"\n")
    return {}


def _silent_upload(client: RegistryClient) -> dict[str, Any]:
    folder = paths.upload("app", OLD_UUID)
    client.driver.write(folder + "startedat", b"2026-01-01T00:00:00Z")
    client.driver.write(folder + "data", b"half")
    return {}


def _key(path: str) -> Callable[[RegistryClient], dict[str, Any]]:
    def make(client: RegistryClient) -> dict[str, Any]:
        client.driver.write(path, b"whose?")
        return {}

    return make


_AGAIN = "push the image again, or delete it: cfmiddleware delete CONFIG app@{manifest}"
_IT_AGAIN = "push it again, or delete it: cfmiddleware delete CONFIG app@{manifest}"
_TAG_AGAIN = "push it again, or delete it: cfmiddleware delete CONFIG app:v1"
_MEND_DATA = (
    "remove the object {key} and push an image with it again (clients send only what is not there); if "
    "CloudFront may have it, invalidate it there"
)
_PURGE = "nobody can pull it; `cfmiddleware purge CONFIG` removes it"
_WHOSE = "nothing removes it by itself; look whose it is"
_LINK_AGAIN = "push an image with it again, or remove the object {key}"
_COLLECT = "no manifest here needs it; the next `cfmiddleware gc` takes the link away"

#: How many seconds later than now the silent uploads are looked at.
LATER = 8 * 86400.0

CASES: dict[str, Case] = {
    "a link without data": Case(
        _link_without_data, Kind.LINK, "blob {digest}: its link is there, and its bytes are not", _COLLECT
    ),
    "a sha512 link without data": Case(
        _long_link_without_data,
        Kind.LINK,
        "blob {digest}: its link is there, and its bytes are not",
        _COLLECT,
    ),
    "an empty link": Case(_empty_link, Kind.WRONG_LINK, "blob {digest}: its link is empty", _LINK_AGAIN),
    "a link to other bytes": Case(
        _crossed_link,
        Kind.WRONG_LINK,
        "blob {digest}: its link names other bytes, {other}",
        _LINK_AGAIN,
        every=True,
    ),
    "a manifest without data": Case(
        _manifest_without_data, Kind.REVISION, "manifest {manifest}: its bytes are not there", _IT_AGAIN
    ),
    "a manifest that is not JSON": Case(
        _unreadable_manifest,
        Kind.MANIFEST,
        "manifest {manifest} is not a JSON object; nothing of the repository is garbage while it is there",
        "delete it: cfmiddleware delete CONFIG app@{manifest}",
    ),
    "a manifest of other bytes": Case(
        _rotten_manifest,
        Kind.DATA,
        "manifest {manifest}: its {size} bytes are not those of its digest",
        _MEND_DATA,
    ),
    "a layer without data": Case(
        _layer_without_data,
        Kind.PART,
        "manifest {manifest} needs {layer} (layers), which is not there",
        _AGAIN,
    ),
    "a layer without a link": Case(
        _layer_without_link,
        Kind.PART,
        "manifest {manifest} needs {layer} (layers), which the repository has no link to",
        _AGAIN,
    ),
    "a config without data": Case(
        _config_without_data,
        Kind.PART,
        "manifest {manifest} needs {config} (config), which is not there",
        _AGAIN,
    ),
    "a layer of schema 1 that is missing": Case(
        _schema_1_without_layer,
        Kind.PART,
        "manifest {manifest} needs {layer} (fsLayers), which is not there",
        _AGAIN,
    ),
    "a size in a manifest": Case(
        _wrong_size,
        Kind.SIZE,
        "manifest {manifest} says that {layer} has 6 bytes; it has 12",
        "its bytes are right and the manifest is not: build the image again, and push it",
    ),
    "a size in an index": Case(
        _wrong_size_in_index,
        Kind.SIZE,
        "manifest {manifest} says that {child} has {said} bytes; it has {size}",
        "its bytes are right and the manifest is not: build the image again, and push it",
    ),
    "a layer that was cut off": Case(
        _cut_layer,
        Kind.SIZE,
        "manifest {manifest} says that {layer} has 12 bytes; it has 5, and not those of its digest",
        _MEND_DATA,
    ),
    "a blob of other bytes": Case(
        _rotten_blob,
        Kind.DATA,
        "blob {digest}: its 5 bytes are not those of its digest",
        _MEND_DATA,
        every=True,
        repository="",
    ),
    "a blob without bytes": Case(
        _empty_blob,
        Kind.DATA,
        "blob {digest}: its 0 bytes are not those of its digest",
        _MEND_DATA,
        repository="",
    ),
    "a blob under another name": Case(
        _crossed_algorithms,
        Kind.DATA,
        "blob {data}: its 6 bytes are not those of {name}, as which they are linked",
        _MEND_DATA,
        every=True,
        repository="",
    ),
    "a tag to nothing": Case(
        _tag_to_nothing, Kind.TAG, "tag v1 names {manifest}, which is not there", _TAG_AGAIN
    ),
    "an empty tag": Case(_empty_tag, Kind.TAG, "tag v1: its link, or its manifest's, is empty", _TAG_AGAIN),
    "a tag that names nothing now": Case(
        _tag_without_current, Kind.TAG, "tag v1 has a history and names nothing now", _TAG_AGAIN
    ),
    "an upload without its start": Case(
        _upload_without_start,
        Kind.UPLOAD,
        f"upload {OLD_UUID}: nothing says when it began, so Distribution does not purge it",
        _PURGE,
        later=7200.0,
    ),
    "an upload that lost a piece": Case(
        _upload_that_lost_a_piece, Kind.UPLOAD, f"upload {OLD_UUID}: its piece-1 is gone", _PURGE
    ),
    "a silent upload": Case(
        _silent_upload,
        Kind.UPLOAD,
        f"upload {OLD_UUID}: nobody has written to it for 8 days",
        _PURGE,
        later=LATER,
    ),
    "a key beside the registry": Case(
        _key("/docker/registry/v1/x"),
        Kind.KEY,
        "docker/registry/v1/ (1 objects): no registry writes such a key",
        _WHOSE,
        repository="",
    ),
    "a key among the blobs": Case(
        _key("/docker/registry/v2/blobs/sha256/aa/data.bak"),
        Kind.KEY,
        "docker/registry/v2/blobs/sha256/aa/data.bak: no registry writes such a key",
        _WHOSE,
        repository="",
    ),
    "a key in a repository": Case(
        _key("/docker/registry/v2/repositories/app/_manifests/notes.txt"),
        Kind.KEY,
        "docker/registry/v2/repositories/app/_manifests/notes.txt: no registry writes such a key",
        _WHOSE,
    ),
    "a folder in a repository": Case(
        _key("/docker/registry/v2/repositories/app/_Trash/x/y"),
        Kind.KEY,
        "docker/registry/v2/repositories/app/_Trash/ (1 objects): no registry writes such a key",
        _WHOSE,
    ),
    "a file of an upload": Case(
        _key(f"/docker/registry/v2/repositories/app/_uploads/{OLD_UUID}/core"),
        Kind.KEY,
        f"docker/registry/v2/repositories/app/_uploads/{OLD_UUID}/core: no registry writes such a key",
        _WHOSE,
    ),
}
