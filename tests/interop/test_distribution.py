"""Distribution and this registry on one bucket of a real gateway: each serves what the other wrote."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml
from lab.clients import ClientError, Skopeo
from lab.docker_registry import DockerRegistry, require_docker_registry, running_docker_registry
from lab.images import Image, Index, blob_file, blobs_in, make_image
from lab.registry_client import CONFIG, LAYER, OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest
from lab.servers import CFMIDDLEWARE, S3Server, free_ports, running
from lab.serving import Answer, ask

from cfmiddleware.digest import Digest

pytestmark = pytest.mark.clients


class Registry(NamedTuple):
    """One of the two, asked over HTTP."""

    address: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request below `/v2/`."""
        return ask(method, f"http://{self.address}/v2/{path}", body, headers)

    def get(self, path: str) -> Answer:
        """GET a path below `/v2/`, and follow the redirects."""
        answer = self.ask("GET", path, headers={"Accept": OCI_MANIFEST})
        while answer.status == 307:
            answer = ask("GET", answer.headers["Location"])
        return answer

    def start(self, repository: str) -> str:
        """Begin an upload and return its URL."""
        answer = self.ask("POST", f"{repository}/blobs/uploads/")
        assert answer.status == 202, answer.body
        return str(answer.headers["Location"])

    def patch(self, url: str, content: bytes) -> str:
        """Send the next bytes of an upload and return its next URL."""
        answer = ask("PATCH", url, content, {"Content-Type": "application/octet-stream"})
        assert answer.status == 202, answer.body
        return str(answer.headers["Location"])

    def finish(self, url: str, digest: Digest) -> None:
        """Make a blob of what was uploaded."""
        parts = urlsplit(url)
        query = f"{parts.query}&digest={digest}" if parts.query else f"digest={digest}"
        answer = ask("PUT", parts._replace(query=query).geturl(), b"")
        assert answer.status == 201, answer.body

    def push(self, repository: str, content: bytes, algorithm: str = "sha256") -> Digest:
        """Push a blob as docker does."""
        digest = Digest.of(content, algorithm)
        self.finish(self.patch(self.start(repository), content), digest)
        return digest

    def push_manifest(self, repository: str, reference: str, manifest: Mapping[str, Any]) -> Digest:
        """Push a manifest."""
        content = json.dumps(manifest).encode()
        headers = {"Content-Type": OCI_MANIFEST}
        answer = self.ask("PUT", f"{repository}/manifests/{reference}", content, headers)
        assert answer.status == 201, answer.body
        return Digest.of(content)

    def tags(self, repository: str) -> list[str]:
        """Return the tags that a repository lists, sorted."""
        return sorted(json.loads(self.get(f"{repository}/tags/list").body).get("tags") or [])

    def repositories(self) -> list[str]:
        """Return the repositories that the catalog lists, in its order."""
        listed: list[str] = json.loads(self.get("_catalog?n=1000").body)["repositories"]
        return listed


class Bucket(NamedTuple):
    """A bucket with a registry of either kind on it.

    :param root: the root directory of both, with a slash at its end, or nothing.
    """

    s3: S3Server
    name: str
    root: str
    ours: Registry
    edge_port: int
    theirs: Registry
    distribution: DockerRegistry

    def has_data(self, digest: Digest | str) -> bool:
        """Whether the bytes that a digest names are in the bucket."""
        return self.root + data_key(digest) in self.s3.keys(self.name)


def data_key(digest: Digest | str) -> str:
    """Return the key of the bytes that a digest names, below the root directory."""
    algorithm, _, hexadecimal = str(digest).partition(":")
    return f"docker/registry/v2/blobs/{algorithm}/{hexadecimal[:2]}/{hexadecimal}/data"


@contextlib.contextmanager
def running_both(directory: Path, s3: S3Server, rootdirectory: str) -> Iterator[Bucket]:
    """Run both registries, ours with an edge, on a new bucket."""
    name = s3.new_bucket()
    key = str(directory / "pk-KTEST")
    subprocess.run([CFMIDDLEWARE, "keygen", "--type", "ecdsa", "--out", key], check=True, capture_output=True)
    port, edge_port = free_ports(2)
    cloudfront = {"baseurl": f"http://127.0.0.1:{edge_port}", "privatekey": f"{key}.pem"}
    root = {"rootdirectory": f"/{rootdirectory}"} if rootdirectory else {}
    configuration = {
        "version": 0.1,
        "storage": {"s3": s3.driver_options(name, **root), "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "middleware": {"storage": [{"name": "cloudfront", "options": cloudfront}]},
        "edge": {"addr": f"127.0.0.1:{edge_port}", "publickeys": {"KTEST": f"{key}.pub.pem"}},
    }
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump(configuration))
    command = [CFMIDDLEWARE, "serve", str(file)]
    with (
        running_docker_registry(directory, s3, name, rootdirectory) as distribution,
        running(command, directory / "ours", ports=[port, edge_port]),
    ):
        yield Bucket(
            s3,
            name,
            f"{rootdirectory}/" if rootdirectory else "",
            Registry(f"127.0.0.1:{port}"),
            edge_port,
            Registry(distribution.address),
            distribution,
        )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("", marks=pytest.mark.long, id="at the root"),
        pytest.param("team/prod", id="in a directory"),
    ],
)
def bucket(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ceph: S3Server
) -> Iterator[Bucket]:
    """A bucket that every test shares; each takes a repository of its own."""
    require_docker_registry()
    with running_both(tmp_path_factory.mktemp("both"), ceph, request.param) as both:
        yield both


@pytest.fixture
def own_bucket(tmp_path: Path, ceph: S3Server) -> Iterator[Bucket]:
    """A bucket with nothing in it that is not the test's."""
    require_docker_registry()
    with running_both(tmp_path, ceph, "team/prod") as both:
        yield both


class Ways(NamedTuple):
    """Who writes, and who then has to make of it what the writer does."""

    writer: Registry
    reader: Registry
    repository: str


@pytest.fixture(params=["ours to theirs", "theirs to ours"])
def ways(request: pytest.FixtureRequest, bucket: Bucket) -> Ways:
    repository = f"r{abs(hash(request.node.nodeid)):x}/app"
    if request.param == "ours to theirs":
        return Ways(bucket.ours, bucket.theirs, repository)
    return Ways(bucket.theirs, bucket.ours, repository)


def pushed_image(registry: Registry, repository: str, *tags: str) -> tuple[Digest, Digest]:
    """Push an image under tags, and return the digests of its manifest and of its one layer."""
    layer = registry.push(repository, f"layer of {repository} {tags}".encode())
    config = registry.push(repository, b"{}")
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, CONFIG, 2),
        "layers": [descriptor(layer, LAYER)],
    }
    digests = {registry.push_manifest(repository, tag, manifest) for tag in tags}
    return digests.pop(), layer


# Pushes and pulls.


def test_an_image_that_one_took_is_pulled_from_the_other(
    ways: Ways, skopeo: Skopeo, image: Image, tmp_path: Path
):
    skopeo.push(image.layout, f"{ways.writer.address}/{ways.repository}:1")
    skopeo.pull(f"{ways.reader.address}/{ways.repository}:1", tmp_path / "by-tag")
    skopeo.pull(f"{ways.reader.address}/{ways.repository}@{image.manifest}", tmp_path / "by-digest")

    assert blobs_in(tmp_path / "by-tag") == blobs_in(image.layout)
    assert blobs_in(tmp_path / "by-digest") == blobs_in(image.layout)


def test_every_platform_that_one_took_is_pulled_from_the_other(
    ways: Ways, skopeo: Skopeo, index: Index, tmp_path: Path
):
    skopeo.push(index.layout, f"{ways.writer.address}/{ways.repository}:1", "--all")
    skopeo.pull(f"{ways.reader.address}/{ways.repository}:1", tmp_path / "back", "--all")

    assert blobs_in(tmp_path / "back") == blobs_in(index.layout)
    pushed = blob_file(index.layout, index.digest).read_text()
    assert skopeo.raw_manifest(f"{ways.reader.address}/{ways.repository}:1") == pushed


def test_docker_manifests_that_one_took_are_pulled_from_the_other(
    ways: Ways, skopeo: Skopeo, other_image: Image
):
    skopeo.push(other_image.layout, f"{ways.writer.address}/{ways.repository}:1", "--format", "v2s2")

    by_writer, by_reader = (
        skopeo.raw_manifest(f"{registry.address}/{ways.repository}:1") for registry in ways[:2]
    )
    assert by_reader == by_writer
    assert json.loads(by_reader)["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"


def test_a_repository_that_both_write_has_what_both_wrote(ways: Ways):
    before, _ = pushed_image(ways.writer, ways.repository, "first")
    after, _ = pushed_image(ways.reader, ways.repository, "second", "first")

    for registry in (ways.writer, ways.reader):
        for reference, digest in (("first", after), ("second", after), (before, before)):
            answer = registry.get(f"{ways.repository}/manifests/{reference}")
            assert answer.headers["Docker-Content-Digest"] == str(digest)


def test_an_image_of_one_is_built_upon_through_the_other_without_its_layers_being_sent(ways: Ways):
    layer = ways.writer.push(ways.repository, b"the layer of " + ways.repository.encode())

    mount = f"mount={layer}&from={ways.repository}"
    mounted = ways.reader.ask("POST", f"{ways.repository}/more/blobs/uploads/?{mount}")

    assert mounted.status == 201
    assert ways.writer.get(f"{ways.repository}/more/blobs/{layer}").status == 200


def test_what_distribution_keeps_under_another_name_is_mounted_so_that_it_serves_it(bucket: Bucket):
    content = b"a blob to mount by its sha512 digest"
    alias = bucket.theirs.push("alias/source", content, "sha512")

    mounted = bucket.ours.ask("POST", f"alias/target/blobs/uploads/?mount={alias}&from=alias/source")

    assert mounted.status == 201
    for digest in (alias, Digest.of(content)):
        assert bucket.theirs.get(f"alias/target/blobs/{digest}").body == content
        assert bucket.ours.get(f"alias/target/blobs/{digest}").status in (200, 307)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_of_either_algorithm_is_pulled_from_the_other(ways: Ways, algorithm: str):
    content = f"blob of {ways.repository}".encode() * 1000
    digest = ways.writer.push(ways.repository, content, algorithm)

    answer = ways.reader.get(f"{ways.repository}/blobs/{digest}")

    assert (answer.status, answer.body) == (200, content)


def test_what_distribution_keeps_as_sha256_is_ours_under_both_names(bucket: Bucket):
    content = b"a blob that was pushed by its sha512 digest"
    named = bucket.theirs.push("alias/app", content, "sha512")

    for digest in (named, Digest.of(content)):
        answer = bucket.ours.ask("GET", f"alias/app/blobs/{digest}")
        assert answer.status == 307
        assert answer.headers["Docker-Content-Digest"] == str(digest)
        # Where the data is, whatever it is called.
        signed = urlsplit(answer.headers["Location"])
        assert signed.netloc == f"127.0.0.1:{bucket.edge_port}"
        assert signed.path == "/" + data_key(Digest.of(content))
        assert ask("GET", answer.headers["Location"]).body == content


def test_an_image_with_sha512_layers_is_pulled_from_the_other(ways: Ways):
    config = ways.writer.push(ways.repository, b'{"of": "%s"}' % ways.repository.encode())
    layer = ways.writer.push(ways.repository, b"a layer", "sha512")
    pushed = ways.writer.push_manifest(ways.repository, "1", image_manifest(config, [layer]))

    answer = ways.reader.get(f"{ways.repository}/manifests/1")

    assert Digest.of(answer.body) == pushed
    assert ways.reader.get(f"{ways.repository}/blobs/{layer}").body == b"a layer"


def test_blobs_that_distribution_wrote_come_from_the_edge(bucket: Bucket, skopeo: Skopeo, image: Image):
    skopeo.push(image.layout, f"{bucket.theirs.address}/edge/app:1")

    for digest in image.blobs:
        answer = bucket.ours.ask("GET", f"edge/app/blobs/{digest}")
        signed = urlsplit(answer.headers["Location"])
        # The root directory is the edge's Origin Path, and no part of the URL.
        assert (answer.status, signed.path) == (307, "/" + data_key(digest))
        assert signed.netloc == f"127.0.0.1:{bucket.edge_port}"
        assert ask("GET", answer.headers["Location"]).body == blob_file(image.layout, digest).read_bytes()


def test_a_blob_of_another_repository_is_no_blob_of_this_one(ways: Ways):
    digest = ways.writer.push(ways.repository, b"only there")

    assert ways.reader.get(f"{ways.repository}/other/blobs/{digest}").status == 404


# Lists.


def test_both_list_the_same_tags(ways: Ways):
    pushed_image(ways.writer, ways.repository, "v1", "v1.0", "v1-alpine", "v10", "latest")

    listed = [ways.writer.tags(ways.repository), ways.reader.tags(ways.repository)]
    assert listed == [["latest", "v1", "v1-alpine", "v1.0", "v10"]] * 2


def test_both_list_the_same_repositories(own_bucket: Bucket):
    ours = [(own_bucket.ours, name) for name in ("a", "a/b", "b/c/d")]
    theirs = [(own_bucket.theirs, name) for name in ("a-b", "a/c", "b")]
    for registry, name in ours + theirs:
        registry.push(name, b"{}")

    assert own_bucket.ours.repositories() == ["a", "a-b", "a/b", "a/c", "b", "b/c/d"]
    assert sorted(own_bucket.theirs.repositories()) == own_bucket.ours.repositories()


# Deletes.


def test_an_image_deleted_through_one_is_gone_through_the_other(ways: Ways):
    other, _ = pushed_image(ways.writer, ways.repository, "stays")
    digest, _ = pushed_image(ways.writer, ways.repository, "goes", "goes-too")

    deleted = ways.reader.ask("DELETE", f"{ways.repository}/manifests/{digest}")

    assert deleted.status == 202
    for registry in (ways.writer, ways.reader):
        for reference in (digest, "goes", "goes-too"):
            assert registry.get(f"{ways.repository}/manifests/{reference}").status == 404
        assert registry.get(f"{ways.repository}/manifests/stays").status == 200
        assert registry.get(f"{ways.repository}/manifests/{other}").status == 200


def test_tags_of_an_image_that_ours_deleted_are_listed_by_neither(bucket: Bucket):
    pushed_image(bucket.theirs, "deleted/by-ours", "stays")
    digest, _ = pushed_image(bucket.theirs, "deleted/by-ours", "goes")

    bucket.ours.ask("DELETE", f"deleted/by-ours/manifests/{digest}")

    assert bucket.ours.tags("deleted/by-ours") == ["stays"]
    assert bucket.theirs.tags("deleted/by-ours") == ["stays"]


def test_tags_of_an_image_that_distribution_deleted_are_not_listed_by_ours(bucket: Bucket):
    pushed_image(bucket.ours, "deleted/by-theirs", "stays")
    digest, _ = pushed_image(bucket.ours, "deleted/by-theirs", "goes")

    bucket.theirs.ask("DELETE", f"deleted/by-theirs/manifests/{digest}")

    # Distribution goes by directories, and leaves the tag's own behind: it may list what it cannot serve.
    assert bucket.ours.tags("deleted/by-theirs") == ["stays"]


def test_a_tag_that_ours_deleted_is_gone_and_its_image_stays(bucket: Bucket):
    digest, _ = pushed_image(bucket.theirs, "untagged/app", "goes", "stays")

    assert bucket.ours.ask("DELETE", "untagged/app/manifests/goes").status == 202

    for registry in (bucket.ours, bucket.theirs):
        assert registry.tags("untagged/app") == ["stays"]
        assert registry.get("untagged/app/manifests/goes").status == 404
        assert registry.get(f"untagged/app/manifests/{digest}").status == 200


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_deleted_through_one_is_gone_through_the_other(ways: Ways, algorithm: str):
    digest = ways.writer.push(ways.repository, f"{ways.repository} {algorithm}".encode(), algorithm)

    deleted = ways.reader.ask("DELETE", f"{ways.repository}/blobs/{digest}")

    assert deleted.status == 202
    for registry in (ways.writer, ways.reader):
        assert registry.get(f"{ways.repository}/blobs/{digest}").status == 404


def test_what_one_deleted_is_pushed_again_through_the_other(ways: Ways):
    digest, layer = pushed_image(ways.writer, ways.repository, "1")
    ways.writer.ask("DELETE", f"{ways.repository}/manifests/{digest}")
    ways.writer.ask("DELETE", f"{ways.repository}/blobs/{layer}")

    pushed_image(ways.reader, ways.repository, "1")

    for registry in (ways.writer, ways.reader):
        assert registry.tags(ways.repository) == ["1"]
        assert registry.get(f"{ways.repository}/manifests/1").status == 200
        assert registry.get(f"{ways.repository}/blobs/{layer}").status == 200


# Uploads.


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_referrers_that_were_pushed_through_distribution_are_found(bucket: Bucket, algorithm: str):
    repository = f"referrers/{algorithm}"
    config = bucket.theirs.push(repository, b"{}")
    subject = Digest.of(b"the subject of " + algorithm.encode(), algorithm)
    about = image_manifest(config, [], subject=descriptor(subject, OCI_MANIFEST), annotations={"a": "b"})
    digest = bucket.theirs.push_manifest(repository, "signature", about)
    listed = f"{repository}/referrers/{subject}"
    assert json.loads(bucket.ours.get(listed).body)["manifests"] == []  # nobody keeps a list of it
    # What clients do who are not told that the registry does it ("Referrers Tag Schema").
    entry = {"mediaType": OCI_MANIFEST, "digest": str(digest), "size": len(json.dumps(about))}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    tag = f"{subject.algorithm}-{subject.hex[:64]}"
    pushed = bucket.theirs.ask(
        "PUT", f"{repository}/manifests/{tag}", json.dumps(index).encode(), {"Content-Type": OCI_INDEX}
    )
    assert pushed.status == 201, pushed.body
    (found,) = json.loads(bucket.ours.get(listed).body)["manifests"]
    assert found == {**entry, "artifactType": CONFIG, "annotations": {"a": "b"}}


def test_distribution_passes_over_what_is_ours_alone(own_bucket: Bucket):
    config = own_bucket.ours.push("a", b"{}")
    about = image_manifest(config, [], subject=descriptor(Digest.of(b"subject"), OCI_MANIFEST))
    digest = own_bucket.ours.push_manifest("a", "v1", about)
    assert own_bucket.theirs.repositories() == ["a"]
    assert own_bucket.theirs.tags("a") == ["v1"]
    assert Digest.of(own_bucket.theirs.get("a/manifests/v1").body) == digest


def test_an_upload_is_nothing_to_the_other_until_it_is_finished(ways: Ways):
    pushed_image(ways.reader, ways.repository, "1")
    content = b"begun here and finished here"
    upload = ways.writer.patch(ways.writer.start(ways.repository), content)
    path = urlsplit(upload).path.removeprefix("/v2/")

    # Nothing that the other does with the upload's name helps or harms it.
    assert ways.reader.ask("GET", path).status in {400, 404}
    assert ways.reader.ask("PUT", f"{path}?digest={Digest.of(content)}", b"").status in {400, 404}
    assert ways.reader.get(f"{ways.repository}/blobs/{Digest.of(content)}").status == 404
    assert ways.reader.tags(ways.repository) == ["1"]
    ways.writer.finish(upload, Digest.of(content))

    assert ways.reader.get(f"{ways.repository}/blobs/{Digest.of(content)}").body == content


def test_a_repository_with_nothing_but_an_upload_is_listed_by_neither(own_bucket: Bucket):
    own_bucket.ours.patch(own_bucket.ours.start("begun/by-ours"), b"some bytes")
    own_bucket.theirs.patch(own_bucket.theirs.start("begun/by-theirs"), b"some bytes")

    assert own_bucket.ours.repositories() == []
    assert own_bucket.theirs.repositories() == []


# Distribution's garbage collector.


def test_distributions_garbage_collector_deletes_nothing_that_an_image_needs(
    own_bucket: Bucket, skopeo: Skopeo, image: Image, index: Index, tmp_path: Path
):
    ours = own_bucket.ours
    skopeo.push(image.layout, f"{ours.address}/kept/app:1")
    skopeo.push(index.layout, f"{ours.address}/kept/index:1", "--all")
    layer = ours.push("kept/long", b"a layer with a long name", "sha512")
    config = ours.push("kept/long", b"{}")
    ours.push_manifest("kept/long", "1", image_manifest(config, [layer]))
    short = ours.patch(ours.start("kept/app"), b"an upload under way")
    content = bytes(12 << 20)
    long = ours.patch(ours.start("kept/app"), content)

    own_bucket.distribution.collect_garbage()

    skopeo.pull(f"{ours.address}/kept/app:1", tmp_path / "app")
    skopeo.pull(f"{ours.address}/kept/index:1", tmp_path / "index", "--all")
    assert blobs_in(tmp_path / "app") == blobs_in(image.layout)
    assert blobs_in(tmp_path / "index") == blobs_in(index.layout)
    assert ours.get("kept/long/manifests/1").status == 200
    assert ours.get(f"kept/long/blobs/{layer}").body == b"a layer with a long name"
    ours.finish(long, Digest.of(content))
    # The bytes of a short one are gone, which its client is told. Nothing refers to them yet.
    digest = Digest.of(b"an upload under way")
    assert ask("PUT", f"{short}?digest={digest}", b"").status == 404
    assert ours.get(f"kept/app/blobs/{digest}").status == 404
    assert ours.push("kept/app", b"an upload under way") == digest


def test_distributions_garbage_collector_deletes_what_ours_no_longer_needs(
    own_bucket: Bucket, skopeo: Skopeo, other_image: Image, tmp_path: Path
):
    unwanted = make_image(tmp_path / "unwanted", seed=7, big_layer=50_000)
    repository = f"{own_bucket.ours.address}/app"
    skopeo.push(other_image.layout, f"{repository}:wanted")
    skopeo.push(unwanted.layout, f"{repository}:unwanted")
    skopeo.delete(f"{repository}:unwanted")

    own_bucket.distribution.collect_garbage()

    gone = {unwanted.manifest, *unwanted.blobs} - set(other_image.blobs)
    assert not [digest for digest in gone if own_bucket.has_data(digest)]
    # The links to blobs stay, in Distribution's way. A pull is redirected by the link and finds nothing;
    # a push asks with HEAD, which looks at the data.
    for digest in gone - {unwanted.manifest}:
        assert own_bucket.ours.get(f"app/blobs/{digest}").status in (403, 404)
        assert own_bucket.ours.ask("HEAD", f"app/blobs/{digest}").status == 404
    with pytest.raises(ClientError, match="manifest unknown"):
        skopeo.inspect(f"{repository}:unwanted")
    skopeo.pull(f"{repository}:wanted", tmp_path / "back")
    assert blobs_in(tmp_path / "back") == blobs_in(other_image.layout)
    # What is gone can be pushed again.
    skopeo.push(unwanted.layout, f"{repository}:unwanted")
    skopeo.pull(f"{repository}:unwanted", tmp_path / "again")
    assert blobs_in(tmp_path / "again") == blobs_in(unwanted.layout)
