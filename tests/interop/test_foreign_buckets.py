"""Buckets that Distribution, cosign, buildkit and others have written: a collection leaves what they need,
and takes what a slow and simple collector takes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from lab import schema1
from lab.collecting import collect
from lab.docker_registry import require_docker_registry, running_with
from lab.registry_client import CONFIG, DOCKER_MANIFEST, LAYER, OCI_INDEX, OCI_MANIFEST, RegistryClient
from lab.servers import S3Server
from lab.serving import Answer, ask
from lab.slowcollector import what_is_there, what_stays
from lab.verifying import verify

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.registry.store.manifest import Required

pytestmark = pytest.mark.servers

EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
IN_TOTO = "application/vnd.in-toto+json"


class Theirs:
    """A Distribution, asked over HTTP as its clients do.

    :param url: its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request below `/v2/`, and follow the redirects."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = ask(method, f"{self.url}/v2/{path}", body, named)
        while answer.status == 307:
            answer = ask(method, answer.headers["Location"])
        return answer

    def blob(self, name: str, content: bytes, media_type: str = LAYER, algorithm: str = "") -> dict[str, Any]:
        """Push a blob, and return its descriptor."""
        digest = Digest.of(content, algorithm or "sha256")
        started = ask("POST", f"{self.url}/v2/{name}/blobs/uploads/")
        assert started.status == 202, started
        sent = ask(
            "PATCH", started.headers["Location"], content, {"Content-Type": "application/octet-stream"}
        )
        assert sent.status == 202, sent
        location = sent.headers["Location"]
        done = ask("PUT", f"{location}{'&' if urlsplit(location).query else '?'}digest={digest}", b"")
        assert done.status == 201, done
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}

    def manifest(self, name: str, reference: str, manifest: Any, media_type: str = "") -> dict[str, Any]:
        """Push a manifest by tag, or by its digest where there is none, and return its descriptor."""
        content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        media_type = media_type or manifest["mediaType"]
        digest = Digest.of(content)
        path = f"{name}/manifests/{reference or digest}"
        answer = self.ask("PUT", path, content, Content_Type=media_type)
        assert answer.status == 201, answer
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}


class Ours(Theirs):
    """A registry of ours on the same storage, without a server; it takes what Distribution refuses."""

    def __init__(self, driver: Any) -> None:
        self._client = RegistryClient(driver, required=Required(platforms=frozenset()))

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._client.open(f"/v2/{path}", method=method, data=body, headers=named)
        return Answer(answer.status_code, answer.headers, answer.data)  # type: ignore[arg-type]

    def blob(self, name: str, content: bytes, media_type: str = LAYER, algorithm: str = "") -> dict[str, Any]:
        digest = self._client.push_blob(name, content, algorithm or "sha256")
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}


class Storage(NamedTuple):
    """A storage, and those who write to it."""

    driver: Any
    theirs: Theirs
    ours: Ours
    tick: float


def configuration(storage: dict[str, Any], directory: Path) -> Any:
    tree = {"version": "0.1", "storage": storage}
    return Config(tree, "config.yml", directory).driver()


@contextlib.contextmanager
def running_theirs(directory: Path, place: dict[str, Any], tick: float, **more: Any) -> Iterator[Storage]:
    with running_with(
        directory / "theirs",
        storage={**place, "delete": {"enabled": True}, **more},
        compatibility={"schema1": {"enabled": True}},
    ) as registry:
        driver = configuration(place, directory)
        yield Storage(driver, Theirs(f"http://{registry.address}"), Ours(driver), tick)


@pytest.fixture(params=["filesystem", "ceph"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    require_docker_registry()
    if request.param == "filesystem":
        place, tick = {"filesystem": {"rootdirectory": str(tmp_path / "data")}}, 0.05
    else:
        s3: S3Server = request.getfixturevalue("ceph")
        place, tick = {"s3": s3.driver_options(s3.new_bucket(), rootdirectory="/team")}, 1.1
    with running_theirs(tmp_path, place, tick) as found:
        yield found


# What is written. Each returns the tags and digests that must be whole ever after, while tags lead to them.


def image(by: Theirs, name: str, tag: str, text: str, media_type: str = OCI_MANIFEST) -> dict[str, Any]:
    config = by.blob(name, f'{{"image": "{text}"}}'.encode(), CONFIG)
    layers = [by.blob(name, content) for content in (b"a base that all share", f"layer {text}".encode())]
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers}
    return by.manifest(name, tag, manifest)


def docker_images(storage: Storage) -> list[str]:
    image(storage.theirs, "plain/app", "v1", "one", DOCKER_MANIFEST)
    image(storage.theirs, "plain/app", "v2", "two")
    gone = image(storage.theirs, "plain/app", "gone", "three")
    assert storage.theirs.ask("DELETE", f"plain/app/manifests/{gone['digest']}").status == 202
    image(storage.theirs, "plain/app", "moved", "before")
    image(storage.theirs, "plain/app", "moved", "after")
    storage.theirs.blob("plain/app", b"nobody's")
    storage.theirs.blob("plain", b"of a repository without manifests")
    return ["plain/app:v1", "plain/app:v2", "plain/app:moved"]


def cosign(storage: Storage) -> list[str]:
    """Signatures under tags made of the digest, as cosign 2 pushes them, and with a subject, as others do."""
    by, name = storage.theirs, "signed/app"
    subject = image(by, name, "v1", "signed")
    tags = []
    for kind in ("sig", "att", "sbom"):
        config = by.blob(name, f'{{"of": "{kind}"}}'.encode(), CONFIG)
        layer = by.blob(
            name, f"payload of {kind}".encode(), "application/vnd.dev.cosign.simplesigning.v1+json"
        )
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        tag = f"{subject['digest'].replace(':', '-')}.{kind}"
        by.manifest(name, tag, manifest)
        tags.append(f"{name}:{tag}")
    referrers = []
    for number in range(2):
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": SIGNATURE,
            "config": by.blob(name, b"{}", EMPTY_CONFIG),
            "layers": [by.blob(name, f"signature {number}".encode(), SIGNATURE)],
            "subject": subject,
            "annotations": {"number": str(number)},
        }
        referrers.append(by.manifest(name, "", manifest))
    # The referrers tag schema, for a registry without the API: an index under a tag.
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": referrers[:1]}
    by.manifest(name, subject["digest"].replace(":", "-"), index)
    return [f"{name}:v1", *tags, *(f"{name}@{one['digest']}" for one in referrers)]


def buildkit(storage: Storage) -> list[str]:
    """An index with an attestation for each platform, which names its image in an annotation alone."""
    by, name = storage.theirs, "built/app"
    entries = []
    for architecture in ("amd64", "arm64"):
        built = image(by, name, "", architecture)
        entries.append({**built, "platform": {"os": "linux", "architecture": architecture}})
        config = by.blob(name, f'{{"attests": "{architecture}"}}'.encode(), CONFIG)
        layers = [
            {
                **by.blob(name, f"{kind} of {architecture}".encode(), IN_TOTO),
                "annotations": {"in-toto.io/p": kind},
            }
            for kind in ("provenance", "sbom")
        ]
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        attested = {
            "vnd.docker.reference.digest": built["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        }
        entries.append(
            {
                **by.manifest(name, "", manifest),
                "platform": {"os": "unknown", "architecture": "unknown"},
                "annotations": attested,
            }
        )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    by.manifest(name, "latest", index)
    return [f"{name}:latest"]


def artifacts(storage: Storage) -> list[str]:
    """Artifacts whose types Distribution does not know, so that ours has to take them."""
    by, name = storage.ours, "artifacts/chart"
    helm = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": storage.theirs.blob(name, b'{"name": "chart"}', "application/vnd.cncf.helm.config.v1+json"),
        "layers": [
            storage.theirs.blob(name, b"a chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
        ],
    }
    storage.theirs.manifest(name, "helm", helm)
    old = {
        "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
        "artifactType": "application/vnd.x",
        "blobs": [by.blob(name, b"of an artifact manifest")],
    }
    by.manifest(name, "old", old)
    new = {
        "mediaType": "application/vnd.example.thing.v3+json",
        "parts": {"deep": [{"deeper": by.blob(name, b"in a field that nobody knows")}]},
    }
    by.manifest(name, "new", new)
    return [f"{name}:helm", f"{name}:old", f"{name}:new"]


def indexes(storage: Storage) -> list[str]:
    """An index in an index, and one whose other platforms were never pushed."""
    by, name = storage.theirs, "many/app"
    inner = by.manifest(
        name,
        "",
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [image(by, name, "", "in the inner index")],
        },
    )
    by.manifest(name, "nested", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner]})
    here = image(storage.ours, name, "", "the one that is here")
    never = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"never pushed")), "size": 7}
    sparse = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [here, never]}
    storage.ours.manifest(name, "sparse", sparse)
    return [f"{name}:nested", f"{name}:sparse"]


def old_docker(storage: Storage) -> list[str]:
    by, name = storage.theirs, "old/app"
    layers = [Digest.parse(by.blob(name, b"an old layer %d" % number)["digest"]) for number in range(2)]
    signed, _ = schema1.signed_manifest(name, "v1", layers)
    by.manifest(name, "v1", signed, schema1.MEDIA_TYPE)
    return [f"{name}:v1"]


def long_digests(storage: Storage) -> list[str]:
    """Distribution keeps the bytes of a sha512 blob under its sha256, and links one to the other."""
    by, name = storage.theirs, "long/app"
    layer = by.blob(name, b"a layer with a long name", algorithm="sha512")
    config = by.blob(name, b'{"long": true}', CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    by.manifest(name, "v1", manifest)
    by.blob(name, b"a long name that nobody uses", algorithm="sha512")
    return [f"{name}:v1"]


WRITERS: tuple[Callable[[Storage], list[str]], ...] = (
    docker_images,
    cosign,
    buildkit,
    artifacts,
    indexes,
    old_docker,
    long_digests,
)


def pull(by: Theirs, image: str, found: dict[str, int]) -> None:
    """Pull what a tag or a digest names with all its parts, and note each and how many bytes it has."""
    mark = "@" if "@" in image else ":"
    name, _, reference = image.partition(mark)
    types = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, schema1.MEDIA_TYPE]
    answer = by.ask("GET", f"{name}/manifests/{reference}", Accept=", ".join(types))
    assert answer.status == 200, (image, answer)
    digest = answer.headers["Docker-Content-Digest"]
    manifest = json.loads(answer.body)
    if "signatures" not in manifest:  # which Distribution writes anew each time
        assert Digest.of(answer.body) == Digest.parse(digest)
    found[digest] = len(answer.body) if "signatures" not in manifest else 0
    deep = [entry["deeper"] for entry in manifest.get("parts", {}).get("deep", [])]
    blobs = [*manifest.get("layers", []), *manifest.get("blobs", []), *deep]
    blobs += [manifest["config"]] if "config" in manifest else []
    blobs += [{"digest": layer["blobSum"]} for layer in manifest.get("fsLayers", [])]
    for entry in manifest.get("manifests", []):
        if entry["digest"] != str(Digest.of(b"never pushed")):
            pull(by, f"{name}@{entry['digest']}", found)
    for entry in blobs:
        blob = by.ask("GET", f"{name}/blobs/{entry['digest']}")
        wanted = Digest.parse(entry["digest"])
        assert blob.status == 200, (image, entry, blob)
        assert Digest.of(blob.body, wanted.algorithm) == wanted
        found[entry["digest"]] = len(blob.body)


def pulled(by: Theirs, images: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in images:
        pull(by, one, found)
    return found


def collect_twice(storage: Storage, delete_untagged: bool) -> None:
    """Collect links, and then bytes. S3's times are whole seconds, and what is of this moment is not old."""
    for _ in range(2):
        time.sleep(storage.tick)
        collect(storage.driver, deleteuntagged=delete_untagged)


@pytest.mark.parametrize("delete_untagged", [False, True])
def test_every_image_is_whole_and_what_stays_is_what_a_simple_collector_keeps(
    storage: Storage, delete_untagged: bool
):
    images = [image for write in WRITERS for image in write(storage)]
    # Distribution has no answer for manifests of types that it does not know.
    theirs = [one for one in images if one not in ("artifacts/chart:old", "artifacts/chart:new")]
    before = pulled(storage.ours, images), pulled(storage.theirs, theirs)
    faults = verify(storage.driver, every=True)
    assert faults.faults == []
    assert [note.says.partition(":")[2] for note in faults.notes if "sparse" in note.says]
    stays = what_stays(storage.driver, delete_untagged=delete_untagged)
    assert stays < what_is_there(storage.driver)

    collect_twice(storage, delete_untagged)

    assert what_is_there(storage.driver) == stays
    assert (pulled(storage.ours, images), pulled(storage.theirs, theirs)) == before
    assert verify(storage.driver, every=True).faults == []
    collect_twice(storage, delete_untagged)
    assert what_is_there(storage.driver) == stays
