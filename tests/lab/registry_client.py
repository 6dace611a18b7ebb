"""A registry without a server, and the few requests that most tests of it begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from werkzeug.test import Client, TestResponse

from cfmiddleware.digest import Digest
from cfmiddleware.registry.app import Registry
from cfmiddleware.registry.store.paths import UPLOAD_SECRET
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver
from cfmiddleware.storage.memory import MemoryDriver

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"

#: The drivers that every test of a resource runs over.
DRIVERS: dict[str, Callable[[Path], Any]] = {
    "inmemory": lambda path: MemoryDriver(),
    "filesystem": FilesystemDriver,
}

ROOT = "/docker/registry/v2/"


class RegistryClient(Client):
    """A client of a registry over a driver."""

    def __init__(self, driver: Any, **options: Any) -> None:
        self.driver = driver
        self.registry = Registry(driver, **{"delete": True, **options})
        super().__init__(self.registry)

    def objects(self, below: str = "/docker/") -> set[str]:
        """Return the path of every object that the driver has below a prefix, without that prefix; but not
        the secret, which is made once and stays.
        """
        paths = (path for path, _ in self.driver.walk(below))
        return {path.removeprefix(below) for path in paths if path != UPLOAD_SECRET}

    def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> Digest:
        """Push a blob in one request."""
        digest = Digest.of(content, algorithm)
        answer = self.post(f"/v2/{name}/blobs/uploads/?digest={digest}", data=content)
        assert answer.status_code == 201, answer.text
        return digest

    def start(self, name: str, query: str = "") -> str:
        """Begin an upload and return its URL."""
        answer = self.post(f"/v2/{name}/blobs/uploads/{query}")
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    def push_manifest(self, name: str, reference: str, manifest: Any, content_type: str = "") -> TestResponse:
        """Push a manifest: bytes as they are, anything else as JSON."""
        content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        return self.put(f"/v2/{name}/manifests/{reference}", data=content, content_type=content_type)

    def push_image(self, name: str, tag: str, seed: bytes = b"") -> Digest:
        """Push an image of one layer under a tag, and return its manifest's digest."""
        manifest = image_manifest(
            self.push_blob(name, b"{}" + seed),
            [self.push_blob(name, b"layer" + seed)],
            annotations={"for": tag},
        )
        answer = self.push_manifest(name, tag, manifest)
        assert answer.status_code == 201, answer.text
        return Digest.parse(answer.headers["Docker-Content-Digest"])


def descriptor(digest: Digest, media_type: str = LAYER, size: int = 1, **more: Any) -> dict[str, Any]:
    """Return a descriptor; nobody checks its size."""
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def image_manifest(config: Digest, layers: list[Digest], **more: Any) -> dict[str, Any]:
    """Return an OCI image manifest."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        **more,
    }


def error_code(answer: TestResponse) -> str:
    """Return the code of an error answer, having checked that its body is what the specification says."""
    (entry,) = answer.json["errors"]
    assert set(entry) == {"code", "message", "detail"}
    assert entry["message"]
    assert "\n" not in entry["message"]
    return str(entry["code"])
