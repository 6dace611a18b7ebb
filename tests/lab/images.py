"""Real images for real clients, made from the standard library alone.

An image is what the OCI Image Specification calls an image layout: a directory with `oci-layout`,
`index.json` and the blobs by their digests. The same seed gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

#: Big enough for several reads, chunks and parts; small enough for a test.
BIG_LAYER = 6 * 2**20


class Image(NamedTuple):
    """One platform's image: where its layout lies and what it is made of, as `sha256:...` texts."""

    layout: Path
    manifest: str
    config: str
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]

    @property
    def blobs(self) -> tuple[str, ...]:
        """What a pull downloads as blobs: the configuration and every layer."""
        return (self.config, *self.layers)

    def size(self, digest: str) -> int:
        """Return the size of one of the image's blobs in bytes."""
        return blob_file(self.layout, digest).stat().st_size


class Index(NamedTuple):
    """An image for several platforms, all in one layout."""

    layout: Path
    digest: str
    images: tuple[Image, ...]


def blob_file(layout: Path, digest: str) -> Path:
    """Return the file of a digest in an image layout."""
    algorithm, _, hexadecimal = digest.partition(":")
    return layout / "blobs" / algorithm / hexadecimal


def blobs_in(layout: Path) -> dict[str, bytes]:
    """Return every blob of a layout by the digest that its file's name says."""
    return {f"sha256:{file.name}": file.read_bytes() for file in (layout / "blobs" / "sha256").iterdir()}


def make_image(layout: Path, seed: int = 0, *, big_layer: int = BIG_LAYER) -> Image:
    """Make an image of four layers at *layout*: a few texts, random bytes, a program, one tiny file.

    :param big_layer: how many incompressible bytes the second layer holds.
    """
    _begin(layout)
    image, descriptor = _add_image(layout, seed, "amd64", big_layer)
    _write_index_json(layout, descriptor)
    return image


def make_index(layout: Path, seed: int = 0, architectures: Sequence[str] = ("amd64", "arm64")) -> Index:
    """Make an image for several platforms at *layout*. They share their first layer."""
    _begin(layout)
    made = [_add_image(layout, seed + number, name, 2**18) for number, name in enumerate(architectures)]
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [descriptor for _, descriptor in made]}
    descriptor = _add_blob(layout, INDEX_TYPE, _json(index))
    _write_index_json(layout, descriptor)
    return Index(layout, descriptor["digest"], tuple(image for image, _ in made))


def make_docker_archive(image: Image, path: Path, tag: str) -> None:
    """Write *image* as the tar file that `docker save` writes, its layers uncompressed.

    :param tag: the name that the image is loaded under, such as `localhost/app:1`.
    """
    layers = [f"{diff_id.removeprefix('sha256:')}.tar" for diff_id in image.diff_ids]
    config = f"{image.config.removeprefix('sha256:')}.json"
    with tarfile.open(path, "w") as archive:
        _add_file(archive, config, blob_file(image.layout, image.config).read_bytes())
        for name, digest in zip(layers, image.layers, strict=True):
            _add_file(archive, name, gzip.decompress(blob_file(image.layout, digest).read_bytes()))
        _add_file(archive, "manifest.json", _json([{"Config": config, "RepoTags": [tag], "Layers": layers}]))


def _begin(layout: Path) -> None:
    (layout / "blobs" / "sha256").mkdir(parents=True)
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def _write_index_json(layout: Path, descriptor: dict[str, Any]) -> None:
    named = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (layout / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [named]}))


def _add_image(layout: Path, seed: int, architecture: str, big: int) -> tuple[Image, dict[str, Any]]:
    contents = random.Random(seed)
    tars = [
        _layer({"etc/motd": b"welcome\n" * 500, "etc/os-release": b"NAME=test\n", "srv/": b""}),
        _layer({"srv/data.bin": contents.randbytes(big)}),
        _layer({"bin/app": b"#!/bin/sh\necho hello\n", "srv/notes.txt": contents.randbytes(20_000)}, 0o755),
        _layer({"etc/seed": f"{seed} {architecture}\n".encode()}),
    ]
    layers = [_add_blob(layout, LAYER_TYPE, gzip.compress(layer, 6, mtime=0)) for layer in tars]
    diff_ids = tuple(_digest(layer) for layer in tars)
    config = {
        "created": "2020-01-01T00:00:00Z",
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/app"], "Labels": {"seed": str(seed)}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            {"created": "2020-01-01T00:00:00Z", "created_by": f"layer {n}"} for n in range(len(tars))
        ],
    }
    config_descriptor = _add_blob(layout, CONFIG_TYPE, _json(config))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config_descriptor,
        "layers": layers,
    }
    descriptor = _add_blob(layout, MANIFEST_TYPE, _json(manifest))
    image = Image(
        layout,
        descriptor["digest"],
        config_descriptor["digest"],
        tuple(layer["digest"] for layer in layers),
        diff_ids,
    )
    return image, {**descriptor, "platform": {"architecture": architecture, "os": "linux"}}


def _layer(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            _add_file(archive, name, content, mode)
    return out.getvalue()


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    # A TarInfo's defaults (owner 0, time 0) are the same everywhere, unlike a file's own.
    member = tarfile.TarInfo(name.rstrip("/"))
    member.size = len(content)
    member.mode = mode
    if name.endswith("/"):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(member, io.BytesIO(content))


def _add_blob(layout: Path, media_type: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    blob_file(layout, digest).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
