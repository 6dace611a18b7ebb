"""Pulling, pushing and deleting manifests (OCI Distribution, "Pulling manifests" and following)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lab.registry_client import (
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DRIVERS,
    LAYER,
    OCI_INDEX,
    OCI_MANIFEST,
    ROOT,
    RegistryClient,
    descriptor,
    error_code,
    image_manifest,
)

from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.registry.manifests import MAX_SIZE
from cfmiddleware.registry.store import manifest as parser
from cfmiddleware.registry.store import turns
from cfmiddleware.storage.memory import MemoryDriver

ABSENT = Digest.of(b"never pushed")


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    return RegistryClient(DRIVERS[request.param](tmp_path))


@pytest.fixture
def manifest(client):
    """A manifest whose blobs are in the repository `app`."""
    return image_manifest(client.push_blob("app", b"{}"), [client.push_blob("app", b"layer")])


def encode(value):
    return json.dumps(value).encode()


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_manifest_comes_back_by_tag_and_by_digest_as_it_was_pushed(client, manifest, media_type):
    content = json.dumps({**manifest, "mediaType": media_type}, indent=3).encode() + b"\n"
    digest = Digest.of(content)
    answer = client.push_manifest("app", "v1.0", content, content_type=media_type)
    assert answer.status_code == 201
    assert urlsplit(answer.headers["Location"]).path == f"/v2/app/manifests/{digest}"
    assert answer.headers["Docker-Content-Digest"] == str(digest)
    for reference in ("v1.0", digest):
        pulled = client.get(f"/v2/app/manifests/{reference}", headers={"Accept": "text/plain"})
        assert (pulled.status_code, pulled.data) == (200, content)
        assert pulled.headers["Content-Type"] == media_type
        assert pulled.headers["Docker-Content-Digest"] == str(digest)
        head = client.head(f"/v2/app/manifests/{reference}")
        assert (head.status_code, head.headers, head.data) == (200, pulled.headers, b"")


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_comes_back_as_it_was_pushed(client, media_type):
    images = [client.push_image("app", f"only-{number}", bytes([65 + number])) for number in range(2)]
    entries = [descriptor(digest, OCI_MANIFEST) for digest in images]
    content = encode({"schemaVersion": 2, "mediaType": media_type, "manifests": entries})
    assert client.push_manifest("app", "all", content, content_type=media_type).status_code == 201
    pulled = client.get("/v2/app/manifests/all")
    assert (pulled.data, pulled.headers["Content-Type"]) == (content, media_type)


def test_a_type_that_the_manifest_does_not_say_is_read_from_what_it_has(client, manifest):
    del manifest["mediaType"]
    client.push_manifest("app", "image", manifest)
    client.push_manifest("app", "index", {"schemaVersion": 2, "manifests": []})
    assert client.get("/v2/app/manifests/image").headers["Content-Type"] == OCI_MANIFEST
    assert client.get("/v2/app/manifests/index").headers["Content-Type"] == OCI_INDEX


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_manifest_is_pushed_by_digest_in_either_algorithm(client, manifest, algorithm):
    content = encode(manifest)
    digest = Digest.of(content, algorithm)
    answer = client.push_manifest("app", str(digest), content)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
    pulled = client.get(f"/v2/app/manifests/{digest}")
    assert (pulled.data, pulled.headers["Docker-Content-Digest"]) == (content, str(digest))
    assert client.get("/v2/app/tags/list").json["tags"] == []


def test_a_manifest_pushed_by_digest_takes_tags_along(client, manifest):
    content = encode(manifest)
    digest = Digest.of(content, "sha512")
    answer = client.push_manifest("app", f"{digest}?tag=a&tag=b", content)
    assert answer.headers.getlist("OCI-Tag") == ["a", "b"]
    assert client.get("/v2/app/manifests/b").headers["Docker-Content-Digest"] == str(digest)


def test_bytes_that_are_not_those_of_the_digest_become_nothing(client, manifest):
    before = client.objects()
    for reference in (str(ABSENT), f"latest?digest={ABSENT}"):
        answer = client.push_manifest("app", reference, manifest)
        assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")
    assert client.objects() == before


def test_a_manifest_names_only_what_the_repository_has(client, manifest):
    manifest["layers"] += [descriptor(ABSENT), descriptor(Digest.of(b"nor this"))]
    before = client.objects()
    answer = client.push_manifest("app", "latest", manifest)
    assert (answer.status_code, error_code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")
    missing = [entry["digest"] for entry in answer.json["errors"][0]["detail"]]
    assert missing == [str(ABSENT), str(Digest.of(b"nor this"))]
    assert client.objects() == before


def test_a_blob_of_another_repository_is_not_enough(client, manifest):
    answer = client.push_manifest("other", "latest", manifest)
    assert error_code(answer) == "MANIFEST_BLOB_UNKNOWN"
    assert len(answer.json["errors"][0]["detail"]) == 2


def test_an_index_names_only_manifests_that_the_repository_has(client):
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(ABSENT, OCI_MANIFEST)]}
    answer = client.push_manifest("app", "latest", index)
    assert (answer.status_code, error_code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")


def test_an_index_may_name_an_artifact_that_was_pushed_as_a_blob(client):
    blob = client.push_blob("app", b"an artifact")
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(blob, "text/plain")]}
    assert client.push_manifest("app", "latest", index).status_code == 201


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ],
)
def test_a_layer_that_clients_get_elsewhere_need_not_be_pushed(client, manifest, media_type):
    manifest["layers"].append(descriptor(ABSENT, media_type, urls=["https://example.com/layer"]))
    assert client.push_manifest("app", "latest", manifest).status_code == 201


def test_a_subject_need_not_exist_and_is_confirmed(client, manifest):
    manifest["subject"] = descriptor(ABSENT, OCI_MANIFEST)
    answer = client.push_manifest("app", "latest", manifest)
    assert (answer.status_code, answer.headers["OCI-Subject"]) == (201, str(ABSENT))


def test_without_a_subject_none_is_confirmed(client, manifest):
    assert "OCI-Subject" not in client.push_manifest("app", "latest", manifest).headers


CONFIG_DESCRIPTOR = descriptor(ABSENT, CONFIG)

BAD = {
    "no JSON": b"{",
    "no object": b"[]",
    "not UTF-8": b"\xff\xfe{",
    "endless nesting": b'{"a":' + b"[" * 100_000,
    "empty": b"",
    "no fields": {},
    "no schema version": {"config": CONFIG_DESCRIPTOR, "layers": []},
    "Docker schema 1": {"schemaVersion": 1, "name": "app", "fsLayers": [], "history": []},
    "no config": {"schemaVersion": 2, "layers": []},
    "config no descriptor": {"schemaVersion": 2, "config": "x", "layers": []},
    "config without digest": {"schemaVersion": 2, "config": {"size": 1}, "layers": []},
    "a size of many digits": {
        "schemaVersion": 2,
        "config": CONFIG_DESCRIPTOR,
        "layers": [{"digest": str(ABSENT), "size": 1 << 63}],
    },
    "layers no list": {"schemaVersion": 2, "config": CONFIG_DESCRIPTOR, "layers": {}},
    "a bad digest": {"schemaVersion": 2, "config": {"digest": "sha256:x", "size": 1}, "layers": []},
    "both image and index": {
        "schemaVersion": 2,
        "config": CONFIG_DESCRIPTOR,
        "layers": [],
        "manifests": [CONFIG_DESCRIPTOR],
    },
    "a version that is no whole number": {
        "schemaVersion": 2.0,
        "mediaType": OCI_MANIFEST,
        "config": CONFIG_DESCRIPTOR,
        "layers": [],
    },
    "a type of the other kind": {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "manifests": []},
    "an unknown type": {"schemaVersion": 2, "mediaType": "text/plain", "manifests": []},
    "a type that is no text": {"schemaVersion": 2, "mediaType": [1], "manifests": []},
    "a bad subject": {"schemaVersion": 2, "manifests": [], "subject": "latest"},
    "manifests no list": {"schemaVersion": 2, "manifests": {}},
    "an entry that is none": {"schemaVersion": 2, "manifests": [None]},
    "an entry of no type": {"schemaVersion": 2, "manifests": [{**CONFIG_DESCRIPTOR, "mediaType": []}]},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_manifest_is_refused_as_such(what):
    client = RegistryClient(MemoryDriver())
    answer = client.push_manifest("app", "latest", BAD[what])
    assert (answer.status_code, error_code(answer)) == (400, "MANIFEST_INVALID")
    assert client.objects() == set()


def test_a_content_type_that_is_not_the_manifests_own_is_refused(client, manifest):
    answer = client.push_manifest("app", "latest", manifest, content_type=DOCKER_MANIFEST)
    assert (answer.status_code, error_code(answer)) == (400, "MANIFEST_INVALID")


def test_a_content_type_that_names_no_manifest_does_not_count(client, manifest):
    assert client.push_manifest("app", "latest", manifest, content_type="text/plain").status_code == 201


CUSTOM = "application/vnd.example.thing.v1+json"


@pytest.mark.parametrize("reference", ["latest", "digest"])
def test_a_manifest_of_any_type_comes_back_as_it_was_pushed(client, reference):
    for content in (encode({"mediaType": CUSTOM, "anything": 1}), encode({"anything": 2})):
        named = str(Digest.of(content)) if reference == "digest" else reference
        answer = client.push_manifest("app", named, content, content_type=f"{CUSTOM}; charset=utf-8")
        assert answer.status_code == 201
        pulled = client.get(f"/v2/app/manifests/{named}")
        assert (pulled.data, pulled.headers["Content-Type"]) == (content, CUSTOM)
        assert client.head(f"/v2/app/manifests/{named}").headers == pulled.headers


@pytest.mark.parametrize("media_type", [CUSTOM, OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_manifest_that_says_no_type_has_the_one_that_it_was_pushed_with(client, manifest, media_type):
    del manifest["mediaType"]
    client.push_manifest("app", "latest", manifest, content_type=media_type)
    assert client.get("/v2/app/manifests/latest").headers["Content-Type"] == media_type


def test_the_last_type_that_the_same_bytes_were_pushed_with_counts(client, manifest):
    del manifest["mediaType"]
    for media_type in (CUSTOM, OCI_MANIFEST):
        digest = client.push_manifest("app", "latest", manifest, content_type=media_type).headers[
            "Docker-Content-Digest"
        ]
        assert client.get(f"/v2/app/manifests/{digest}").headers["Content-Type"] == media_type


def test_what_a_manifest_of_another_type_refers_to_must_be_there_as_well(client):
    for field in ("layers", "blobs", "manifests"):
        answer = client.push_manifest(
            "app", "latest", {"mediaType": CUSTOM, field: [descriptor(ABSENT)]}, CUSTOM
        )
        assert (answer.status_code, error_code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_is_no_web_page(client):
    page = {"mediaType": "text/html", "page": "<script>alert(1)</script>"}
    for manifest, content_type in ((page, "text/html"), ({"page": page["page"]}, "image/svg+xml")):
        answer = client.push_manifest("app", "latest", manifest, content_type)
        assert (answer.status_code, error_code(answer)) == (400, "MANIFEST_INVALID")
    client.push_image("app", "latest")
    assert client.get("/v2/app/manifests/latest").headers["X-Content-Type-Options"] == "nosniff"


def test_a_type_that_is_no_media_type_is_refused(client):
    for content, content_type in (({"mediaType": "a thing"}, ""), ({}, "thing"), ({}, "a/b\tc/d")):
        answer = client.push_manifest("app", "latest", content, content_type)
        assert (answer.status_code, error_code(answer)) == (400, "MANIFEST_INVALID")


def test_a_descriptor_may_carry_its_content_along(client, manifest):
    manifest["config"]["data"] = "e30="
    manifest["somethingNew"] = {"unknown": True}
    assert client.push_manifest("app", "latest", manifest).status_code == 201
    assert client.get("/v2/app/manifests/latest").data == encode(manifest)


def test_an_image_in_sha512_has_nothing_in_sha256(client):
    config, layer = (client.push_blob("app", content, "sha512") for content in (b"{}", b"layer"))
    content = encode(image_manifest(config, [layer]))
    digest = Digest.of(content, "sha512")
    answer = client.push_manifest("app", f"latest?digest={digest}", content, OCI_MANIFEST)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
    assert answer.headers["Location"].endswith(f"/v2/app/manifests/{digest}")
    for reference in ("latest", digest):
        pulled = client.get(f"/v2/app/manifests/{reference}")
        assert (pulled.data, pulled.headers["Docker-Content-Digest"]) == (content, str(digest))
    assert not [path for path in client.objects() if "sha256" in path]
    assert client.get(f"/v2/app/manifests/{Digest.of(content)}").status_code == 404
    assert client.get(f"/v2/app/blobs/{Digest.of(b'layer')}").status_code == 404
    assert client.delete(f"/v2/app/manifests/{digest}").status_code == 202
    assert client.get("/v2/app/tags/list").json["tags"] == []


def test_a_manifest_has_at_most_4_mib(client, manifest):
    content = encode(manifest)
    full = content + b" " * (MAX_SIZE - len(content))
    assert client.push_manifest("app", "full", full).status_code == 201
    answer = client.push_manifest("app", "over", full + b" ")
    assert (answer.status_code, error_code(answer)) == (413, "SIZE_INVALID")


@pytest.mark.parametrize(("size", "left"), [(MAX_SIZE + 1, 0), (5 * MAX_SIZE, 5 * MAX_SIZE)])
def test_a_manifest_that_is_too_large_is_read_to_its_end_unless_it_is_far_too_large(client, size, left):
    body = io.BytesIO(b" " * size)
    answer = client.put("/v2/app/manifests/over", input_stream=body, content_length=size)
    assert answer.status_code == 413
    assert len(body.read()) == left


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("-x", "TAG_INVALID"),
        ("a" * 129, "TAG_INVALID"),
        ("sha256:1", "DIGEST_INVALID"),
        ("a:b", "DIGEST_INVALID"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_bad_reference_is_named_so(client, reference, code, method):
    answer = client.open(f"/v2/app/manifests/{reference}", method=method, data=b"{}")
    assert (answer.status_code, error_code(answer)) == (400, code)


@pytest.mark.parametrize("reference", ["latest", ABSENT])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_manifest_that_is_not_there_is_named_so(client, reference, method):
    answer = client.open(f"/v2/app/manifests/{reference}", method=method)
    assert (answer.status_code, error_code(answer)) == (404, "MANIFEST_UNKNOWN")


def test_a_manifest_that_the_client_has_is_not_sent_again(client):
    digest = client.push_image("app", "latest")
    answer = client.get("/v2/app/manifests/latest", headers={"If-None-Match": f'"{digest}"'})
    assert (answer.status_code, answer.data) == (304, b"")


def test_a_manifest_is_no_blob_and_a_blob_no_manifest(client):
    digest = client.push_image("app", "latest")
    blob = client.push_blob("app", b"{}")
    assert client.get(f"/v2/app/blobs/{digest}").status_code == 404
    assert client.get(f"/v2/app/manifests/{blob}").status_code == 404


def test_the_tree_is_the_one_that_distribution_makes(client, manifest):
    content = encode(manifest)
    before, digest = client.objects(ROOT), Digest.of(content)
    client.push_manifest("app", "v1", content)
    base = "repositories/app/_manifests"
    assert client.objects(ROOT) - before == {
        f"blobs/sha256/{digest.hex[:2]}/{digest.hex}/data",
        f"{base}/revisions/sha256/{digest.hex}/link",
        f"{base}/tags/v1/current/link",
        f"{base}/tags/v1/index/sha256/{digest.hex}/link",
    }
    assert client.driver.read(f"{ROOT}{base}/tags/v1/current/link") == str(digest).encode()


def test_a_schema_1_manifest_that_distribution_stored_is_still_served(client):
    content = encode({"schemaVersion": 1, "signatures": []})
    digest = Digest.of(content)
    client.driver.write(f"{ROOT}blobs/sha256/{digest.hex[:2]}/{digest.hex}/data", content)
    link = f"{ROOT}repositories/old/_manifests/revisions/sha256/{digest.hex}/link"
    client.driver.write(link, str(digest).encode())
    answer = client.get(f"/v2/old/manifests/{digest}")
    assert answer.headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v1+prettyjws"


# Deleting


def test_a_tag_is_deleted_without_its_manifest(client):
    digest = client.push_image("app", "v1")
    assert client.delete("/v2/app/manifests/v1").status_code == 202
    assert client.get("/v2/app/manifests/v1").status_code == 404
    assert client.get(f"/v2/app/manifests/{digest}").status_code == 200
    assert not [path for path in client.objects() if "/tags/" in path]
    assert client.delete("/v2/app/manifests/v1").status_code == 404


def test_a_manifest_is_deleted_with_every_tag_that_names_it(client):
    old = client.push_image("app", "latest", b"old")
    content = client.get("/v2/app/manifests/latest").data
    client.push_manifest("app", "v1", content)
    client.push_manifest("app", "moved", content)
    new = client.push_image("app", "moved", b"new")
    assert client.delete(f"/v2/app/manifests/{old}").status_code == 202
    assert client.get(f"/v2/app/manifests/{old}").status_code == 404
    assert client.get("/v2/app/tags/list").json["tags"] == ["moved"]
    assert client.get("/v2/app/manifests/moved").headers["Docker-Content-Digest"] == str(new)
    assert client.delete(f"/v2/app/manifests/{old}").status_code == 404


def test_a_tag_whose_manifest_is_gone_names_nothing(client):
    digest = client.push_image("app", "latest")
    client.driver.delete([f"{ROOT}repositories/app/_manifests/revisions/sha256/{digest.hex}/link"])
    assert client.get("/v2/app/manifests/latest").status_code == 404


class CountingDriver(MemoryDriver):
    """A driver that counts the bytes of manifests that were read."""

    def __init__(self):
        super().__init__()
        self.read_bytes = 0
        self.opened = self.closed = 0

    def open(self, path, offset=0, length=None):
        self.opened += path.endswith("/data")
        driver, reader = self, super().open(path, offset, length)
        if not path.endswith("/data"):
            return reader

        class Counting:
            size = reader.size
            __iter__ = lambda self: self  # noqa: E731
            close = lambda self: setattr(driver, "closed", driver.closed + 1)  # noqa: E731

            def __next__(self):
                chunk = next(reader)
                driver.read_bytes += len(chunk)
                return chunk

        return Counting()

    def read(self, path):
        content = super().read(path)
        self.read_bytes += len(content) * path.endswith("/data")
        return content


@pytest.fixture
def parsed(monkeypatch):
    """The sizes of the manifests that were parsed."""
    sizes, loads = [], json.loads

    def count(content, **options):
        sizes.append(len(content))
        return loads(content, **options)

    monkeypatch.setattr(parser.json, "loads", count)
    return sizes


def manifest_of(size):
    frame = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "x": ""})
    return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]


@pytest.mark.parametrize("size", [1000, MAX_SIZE])
def test_a_manifest_is_parsed_once_in_each_process(parsed, size):
    content = manifest_of(size)
    pushing = RegistryClient(CountingDriver())
    assert pushing.push_manifest("app", "latest", content, content_type=OCI_INDEX).status_code == 201
    pulling = RegistryClient(pushing.driver)  # as another process is
    for client, parses in ((pushing, 0), (pulling, 1)):
        parsed.clear()
        for url in ("/v2/app/manifests/latest", f"/v2/app/manifests/{Digest.of(content)}"):
            assert client.head(url).headers["Content-Length"] == str(size)
            pulled = client.get(url)
            assert (pulled.data, pulled.headers["Content-Type"]) == (content, OCI_INDEX)
        assert parsed == [size] * parses


@pytest.mark.parametrize("size", [1000, MAX_SIZE])
def test_a_head_of_a_known_manifest_reads_no_byte_of_it(size):
    client = RegistryClient(CountingDriver())
    client.push_manifest("app", "latest", manifest_of(size))
    client.get("/v2/app/manifests/latest")
    client.driver.read_bytes = 0
    unchanged = {"If-None-Match": f'"{Digest.of(manifest_of(size))}"'}
    assert client.head("/v2/app/manifests/latest").status_code == 200
    assert client.get("/v2/app/manifests/latest", headers=unchanged).status_code == 304
    assert client.driver.read_bytes == 0
    client.driver.delete([path for path, _ in client.driver.walk("/docker/") if path.endswith("/data")])
    assert client.head("/v2/app/manifests/latest").status_code == 404


def test_a_large_manifest_is_read_as_its_client_takes_it():
    client = RegistryClient(CountingDriver())
    client.push_manifest("app", "latest", manifest_of(MAX_SIZE))
    client.driver.read_bytes = 0
    answer = client.get("/v2/app/manifests/latest", buffered=False)
    chunks = iter(answer.response)
    assert len(next(chunks)) <= 1 << 16
    assert client.driver.read_bytes <= 2 << 16
    assert client.driver.opened == client.driver.closed + 1
    answer.close()
    assert client.driver.opened == client.driver.closed


def test_a_large_manifest_whose_type_cannot_be_read_leaves_nothing_open():
    client = RegistryClient(CountingDriver())
    content = manifest_of(MAX_SIZE).replace(b'"mediaType"', b'"medialess"')
    client.push_manifest("app", "latest", content, content_type=OCI_INDEX)
    read = client.driver.read

    def fail(path):
        if "/_types/" in path:
            raise StorageUnavailable("no")
        return read(path)

    client.driver.read = fail
    assert client.get("/v2/app/manifests/latest").status_code == 503
    assert client.driver.opened == client.driver.closed


def test_nothing_but_the_process_for_large_manifests_makes_objects_of_one(monkeypatch, tmp_path):
    """Python's parser keeps its lock, for which every other request of the process would wait."""
    call, loads, dumps, inside = turns.call_in_child, json.loads, json.dumps, []

    def called(*arguments, **keywords):
        inside.append(True)
        try:
            return call(*arguments, **keywords)
        finally:
            inside.pop()

    def loaded(content, **options):
        assert inside or len(content) < 1 << 16
        return loads(content, **options)

    def dumped(value, **options):
        text = dumps(value, **options)
        assert inside or len(text) < 1 << 16
        return text

    client = RegistryClient(MemoryDriver())
    config, subject = client.push_blob("app", b"{}"), ABSENT
    notes = {str(number): "" for number in range(100_000)}
    about = descriptor(subject, OCI_MANIFEST)
    content = encode({**image_manifest(config, [config]), "annotations": notes, "subject": about})
    other = Digest.of(content.replace(b"subject", b"nothing"))
    with monkeypatch.context() as patch:
        patch.setattr(turns, "call_in_child", called)
        patch.setattr(json, "loads", loaded)
        patch.setattr(json, "dumps", dumped)
        assert client.push_manifest("app", "v1", content).status_code == 201
        index = {"schemaVersion": 2, "manifests": [descriptor(Digest.of(content), OCI_MANIFEST)]}
        assert client.push_manifest("app", "v2", index, OCI_INDEX).status_code == 201
        anew = RegistryClient(client.driver)  # as another process is
        assert anew.get("/v2/app/manifests/v1").data == content
        assert anew.head("/v2/app/manifests/v1").headers["Content-Length"] == str(len(content))
        listed = anew.get(f"/v2/app/referrers/{subject}")
        assert anew.get(f"/v2/app/referrers/{subject}?artifactType=x").json["manifests"] == []
        assert anew.delete(f"/v2/app/manifests/{Digest.of(content)}").status_code == 202
        assert anew.put(f"/v2/app/manifests/{other}", data=content).status_code == 400
        assert anew.put("/v2/app/manifests/v3", data=b"[" + content + b"]").status_code == 400
    (found,) = listed.json["manifests"]
    assert (found["digest"], found["annotations"]) == (str(Digest.of(content)), notes)


class LookingDriver(MemoryDriver):
    """A driver that counts looks at links."""

    def __init__(self):
        super().__init__()
        self.looks = 0

    def stat(self, path):
        self.looks += 1
        return super().stat(path)


def test_very_many_missing_layers_are_not_all_looked_for():
    client = RegistryClient(LookingDriver())
    there = [client.push_blob("app", b"%d" % number) for number in range(150)]
    absent = [Digest.of(b"absent %d" % number) for number in range(3000)]
    client.driver.looks = 0
    answer = client.push_manifest("app", "v1", image_manifest(there[0], there[1:] + absent))
    assert error_code(answer) == "MANIFEST_BLOB_UNKNOWN"
    named = [entry["digest"] for entry in answer.json["errors"][0]["detail"]]
    assert named == [str(digest) for digest in absent[:100]]
    assert 250 <= client.driver.looks < 300


class DeletingDriver(MemoryDriver):
    """A driver on which a delete of a manifest comes between the steps of its push."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def write(self, path, content):
        super().write(path, content)
        if self.after in path:
            self.after = "never again"
            revisions = [path for path, _ in self.walk("/docker/") if "/revisions/" in path]
            self.delete(revisions)


@pytest.mark.parametrize("after", ["/index/", "/current/"])
def test_a_push_wins_against_a_delete_that_comes_between(after):
    client = RegistryClient(DeletingDriver(after))
    digest = client.push_image("app", "latest")
    assert client.get(f"/v2/app/manifests/{digest}").status_code == 200


class RecordingDriver(MemoryDriver):
    """A driver that remembers the order of what it writes and deletes."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def write(self, path, content):
        self.steps.append(path)
        super().write(path, content)

    def delete(self, paths):
        paths = list(paths)
        self.steps += [f"delete {path}" for path in paths]
        super().delete(paths)


def kinds(steps):
    words = ("/data", "/_layers/", "/revisions/", "/index/", "/current/")
    return [next(word for word in words if word in step).strip("/") for step in steps]


def test_everything_is_written_before_what_names_it_and_deleted_after():
    client = RegistryClient(RecordingDriver())
    digest = client.push_image("app", "latest")
    pushed = client.driver.steps[-4:]
    assert kinds(pushed) == ["data", "revisions", "index", "current"]
    client.driver.steps.clear()
    client.delete(f"/v2/app/manifests/{digest}")
    assert kinds(client.driver.steps) == ["revisions", "current", "index"]
    assert all(step.startswith("delete ") for step in client.driver.steps)


def test_nothing_is_deleted_where_deleting_is_off(client):
    digest = client.push_image("app", "latest")
    careful = RegistryClient(client.driver, delete=False)
    for reference in ("latest", digest):
        answer = careful.delete(f"/v2/app/manifests/{reference}")
        assert (answer.status_code, error_code(answer)) == (405, "UNSUPPORTED")
        assert answer.headers["Allow"] == "GET, HEAD, PUT"


# What Distribution 2.8.2 takes. A program in Go writes an empty list as null, and a number that it did not
# set not at all.
AS_CLIENTS_WRITE_THEM = {
    "layers null": {"layers": None},
    "no layers": {"layers": ...},
    "manifests null beside layers": {"manifests": None},
    "no mediaType": {"mediaType": ...},
    "mediaType empty": {"mediaType": ""},
    "annotations and subject null": {"annotations": None, "subject": None},
}


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
@pytest.mark.parametrize("what", AS_CLIENTS_WRITE_THEM)
def test_images_as_clients_write_them_come_back_byte_for_byte(client, manifest, what, media_type):
    fields = {**manifest, "mediaType": media_type, **AS_CLIENTS_WRITE_THEM[what]}
    content = encode({name: value for name, value in fields.items() if value is not ...})

    assert_comes_back(client, content, media_type)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
@pytest.mark.parametrize(
    "fields",
    [{"manifests": None}, {}, {"manifests": [], "layers": None, "config": None}, {"manifests": []}],
)
@pytest.mark.parametrize("stated", [True, False])
def test_indexes_as_clients_write_them_come_back_byte_for_byte(client, fields, media_type, stated):
    own = {"mediaType": media_type} if stated else {"mediaType": ""}

    assert_comes_back(client, encode({"schemaVersion": 2, **own, **fields}), media_type)


@pytest.mark.parametrize("size", [..., None, -1, 0, 12_345])
@pytest.mark.parametrize("name", ["config", "layers", "manifests", "subject"])
def test_the_size_in_a_descriptor_is_the_clients_affair(client, manifest, name, size):
    pushed = client.push_manifest("app", "entry", manifest).headers["Docker-Content-Digest"]

    def described(digest, media_type):
        fields = {"mediaType": media_type, "digest": str(digest), "size": size}
        return {key: value for key, value in fields.items() if value is not ...}

    media_type = OCI_INDEX if name == "manifests" else OCI_MANIFEST
    if name == "manifests":
        fields = {"schemaVersion": 2, "mediaType": media_type, "manifests": [described(pushed, OCI_MANIFEST)]}
    elif name == "layers":
        fields = {**manifest, "layers": [described(manifest["layers"][0]["digest"], LAYER)]}
    elif name == "config":
        fields = {**manifest, "config": described(manifest["config"]["digest"], CONFIG)}
    else:
        fields = {**manifest, "subject": described(pushed, OCI_MANIFEST)}

    assert_comes_back(client, encode(fields), media_type)


def assert_comes_back(client, content, media_type):
    answer = client.push_manifest("app", "latest", content, content_type=media_type)
    assert answer.status_code == 201, answer.text
    pulled = client.get("/v2/app/manifests/latest")
    assert (pulled.data, pulled.headers["Content-Type"]) == (content, media_type)
    again = client.push_manifest("app", "copy", pulled.data, content_type=pulled.headers["Content-Type"])
    assert again.headers["Docker-Content-Digest"] == str(Digest.of(content))


OTHER_TYPE = "application/vnd.example.thing.v1+json"


@pytest.mark.parametrize(
    ("fields", "content_type"),
    [
        ({"mediaType": OTHER_TYPE}, OTHER_TYPE),
        ({}, OTHER_TYPE),
        ({"mediaType": ""}, DOCKER_MANIFEST),
        ({}, DOCKER_LIST),
    ],
)
def test_what_distributions_collector_cannot_read_is_refused_on_request(manifest, fields, content_type):
    strict = RegistryClient(MemoryDriver(), required=parser.Required(layers=False, collectable=True))
    strict.push_blob("app", b"{}")
    content = {"manifests": []} if content_type == DOCKER_LIST else manifest
    content = {name: value for name, value in content.items() if name != "mediaType"}

    answer = strict.push_manifest("app", "x", {"schemaVersion": 2, **content, **fields}, content_type)

    assert (answer.status_code, error_code(answer)) == (400, "MANIFEST_INVALID")
    assert "validation.manifests.mediatypes" in answer.json["errors"][0]["message"]


@pytest.mark.parametrize("stated", [{"mediaType": OCI_MANIFEST}, {"mediaType": ""}, {}])
def test_what_distributions_collector_can_read_is_taken(manifest, stated):
    strict = RegistryClient(MemoryDriver(), required=parser.Required(layers=False, collectable=True))
    strict.push_blob("app", b"{}")
    fields = {name: value for name, value in manifest.items() if name != "mediaType"}

    answer = strict.push_manifest("app", "x", {**fields, **stated}, OCI_MANIFEST)

    assert answer.status_code == 201, answer.text


def test_what_a_put_would_refuse_is_refused_before_a_client_that_expects_sends_its_body():
    client, asked = RegistryClient(MemoryDriver()), Unasked()
    for path, length, status in [
        ("/v2/app/manifests/.x", 2, 400),
        ("/v2/app/manifests/sha256:x", 2, 400),
        ("/v2/app/manifests/x?tag=.x", 2, 400),
        ("/v2/app/manifests/x", MAX_SIZE + 1, 413),
    ]:
        given = {"CONTENT_LENGTH": str(length), "wsgi.input": asked}
        answer = client.put(path, headers=EXPECTING, environ_overrides=given)
        assert answer.status_code == status, path


EXPECTING = {"Expect": "100-continue"}


class Unasked(io.RawIOBase):
    """A body that nobody may ask for."""

    def read(self, size=-1):
        raise AssertionError("the body was asked for")
