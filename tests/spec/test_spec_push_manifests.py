"""OCI Distribution Specification, "Push": manifests, of every kind of content that it names."""

from __future__ import annotations

import base64
import json

import pytest
from lab.spec_client import (
    ALGORITHMS,
    EMPTY,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    describe,
    descriptor,
    index,
    manifest,
    some_bytes,
)
from lab.spec_servers import Setup, serving

from cfmiddleware.digest import Digest

BOTH = pytest.mark.parametrize("algorithm", ALGORITHMS)

ARTIFACT = "application/vnd.example.sbom.v1"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
MISSING = describe(Digest.of(b"never pushed"), OCI_MANIFEST, 123)


def image(repo):
    return repo.image()


def image_without_layers(repo):
    return repo.image(layers=0)


def image_of_many_layers(repo):
    return repo.image(layers=5)


def image_with_a_large_manifest(repo):
    return repo.image(annotations={f"large-{number}": "A" * 10_000 for number in range(390)})


def image_with_data(repo):
    repo.push_blob(EMPTY)
    data = base64.b64encode(EMPTY).decode()
    return manifest(config=descriptor(EMPTY, OCI_CONFIG, data=data), layers=[])


def image_with_unknown_fields(repo):
    return repo.image(**{"org.example.field": {"a": [1, None]}})


def image_with_layers_from_elsewhere(repo):
    layers = [
        descriptor(some_bytes(9), media_type, urls=["https://store.example.com/layer"])
        for media_type in (NONDISTRIBUTABLE, f"{NONDISTRIBUTABLE}+gzip")
    ]
    fields = json.loads(repo.image())
    return json.dumps({**fields, "layers": [*layers, *fields["layers"]]}).encode()


def image_in_unusual_json(repo):
    return b"\n" + json.dumps(json.loads(repo.image()), indent=3, sort_keys=True).encode() + b" \r\n"


def two_platforms(repo, **more):
    platforms = [{"os": "linux", "architecture": one} for one in ("amd64", "arm64")]
    return index([{**repo.push_image().descriptor, "platform": one} for one in platforms], **more)


def nested_index(repo):
    content = two_platforms(repo)
    digest = repo.push_manifest(Digest.of(content), content)
    return index([describe(digest, OCI_INDEX, len(content))])


def empty_index(repo):
    return index([], annotations={"for": repo.name})


def artifact(repo, **more):
    """An artifact as the OCI Image Specification has it: an empty config, a type, and a layer of its own."""
    repo.push_blob(EMPTY)
    content = f"the components of {repo.name}".encode()
    repo.push_blob(content)
    layers = [descriptor(content, ARTIFACT)]
    return manifest(
        **{"artifactType": ARTIFACT, "config": descriptor(EMPTY, OCI_EMPTY), "layers": layers, **more}
    )


def artifact_without_content(repo):
    return artifact(repo, layers=[descriptor(EMPTY, OCI_EMPTY)])


def artifact_index(repo):
    return two_platforms(repo, artifactType=ARTIFACT)


def image_with_a_subject(repo):
    return repo.image(subject=repo.push_image().descriptor)


def index_with_a_subject(repo):
    return two_platforms(repo, subject=repo.push_image().descriptor)


def artifact_with_a_subject_that_is_not_there(repo):
    return artifact(repo, subject=MISSING)


KINDS = [
    image,
    image_without_layers,
    image_of_many_layers,
    image_with_a_large_manifest,
    image_with_data,
    image_with_unknown_fields,
    image_with_layers_from_elsewhere,
    image_in_unusual_json,
    two_platforms,
    nested_index,
    empty_index,
    artifact,
    artifact_without_content,
    artifact_index,
    image_with_a_subject,
    index_with_a_subject,
    artifact_with_a_subject_that_is_not_there,
]


class TestPushingManifests:
    """Section "Pushing Manifests" (end-7a)."""

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_everything_is_pushed_and_pulled_listed_and_deleted(self, repo, kind):
        content = kind(repo)
        media_type, digest = json.loads(content)["mediaType"], Digest.of(content)
        for reference in (str(digest), "latest"):
            answer = repo.put_manifest(reference, content)
            assert answer.status == 201, answer
            assert answer.headers["Docker-Content-Digest"] == str(digest)
            pulled = repo.ask("GET", answer.headers["Location"])
            assert (pulled.status, pulled.body) == (200, content)
            assert pulled.headers["Content-Type"] == media_type
            head = repo.manifest(reference, "HEAD")
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))
        assert repo.tags().json()["tags"] == ["latest"]
        for reference in ("latest", str(digest)):
            assert repo.manifest(reference, "DELETE").status == 202
            assert repo.manifest(reference, "HEAD").status == 404

    @BOTH
    def test_an_index_and_all_below_it_may_be_of_one_algorithm(self, repo, algorithm):
        pushed = repo.push_image(algorithm=algorithm)
        content = index([pushed.descriptor])
        digest = Digest.of(content, algorithm)
        answer = repo.put_manifest(digest, content)
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
        assert repo.ask("GET", answer.headers["Location"]).body == content
        assert repo.manifest(digest).headers["Docker-Content-Digest"] == str(digest)
        other = "sha256" if algorithm == "sha512" else "sha512"
        assert repo.manifest(Digest.of(content, other)).status == 404

    def test_parameters_of_the_content_type_are_ignored(self, repo):
        content = repo.image()
        assert repo.put_manifest("v1", content, f"{OCI_MANIFEST}; charset=utf-8").status == 201
        assert repo.manifest("v1").headers["Content-Type"] == OCI_MANIFEST

    def test_a_type_that_the_registry_does_not_know_is_kept(self, repo):
        media_type = "application/vnd.example.manifest.v9+json"
        content = json.dumps({"schemaVersion": 2, "mediaType": media_type}).encode()
        assert repo.put_manifest("v1", content).status == 201
        answer = repo.manifest("v1")
        assert (answer.headers["Content-Type"], answer.body) == (media_type, content)

    def test_a_tag_moves_to_what_is_pushed_last(self, repo):
        first, second = repo.push_image("v1"), repo.push_image("v1")
        assert repo.manifest("v1").headers["Docker-Content-Digest"] == str(second.digest)
        assert repo.manifest(first.digest).body == first.content

    @BOTH
    def test_bytes_that_are_not_the_digests_are_refused(self, repo, algorithm):
        content = repo.image(algorithm=algorithm)
        digest = Digest.of(content, algorithm)
        answer = repo.put_manifest(digest, content + b"  ")
        assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")
        assert repo.manifest(digest).status == 404

    @pytest.mark.parametrize("digest", ["sha256:baddigeststring", "md5:d41d8cd98f00b204e9800998ecf8427e"])
    def test_a_digest_that_is_none_is_400(self, repo, digest):
        answer = repo.put_manifest(digest, repo.image())
        assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"schemaVersion": 2, "layers": 1}'])
    def test_what_is_no_manifest_is_refused(self, repo, content):
        answer = repo.put_manifest("v1", content, OCI_MANIFEST)
        assert (answer.status, answer.code()) == (400, "MANIFEST_INVALID")
        assert repo.manifest("v1").status == 404

    def test_dockers_schema_1_is_refused(self, repo):
        """Section "Legacy Docker support error codes"."""
        content = json.dumps({"schemaVersion": 1, "name": repo.name, "tag": "v1", "fsLayers": []}).encode()
        media_type = "application/vnd.docker.distribution.manifest.v1+json"
        answer = repo.put_manifest("v1", content, media_type)
        assert (answer.status, answer.code()) == (400, "MANIFEST_INVALID")

    def test_a_manifest_of_more_than_4_mib_is_413(self, repo):
        content = repo.image(annotations={"large": "A" * (4 << 20)})
        answer = repo.put_manifest("v1", content)
        assert (answer.status, answer.code()) == (413, "SIZE_INVALID")

    def test_a_manifest_of_4_mib_is_taken(self, repo):
        content = repo.image()
        content += b" " * ((4 << 20) - len(content))
        assert repo.put_manifest("v1", content).status == 201
        assert repo.manifest("v1").body == content

    def test_the_blobs_that_are_not_there_are_named(self, repo):
        """Section "Push": ``MANIFEST_BLOB_UNKNOWN``."""
        absent = [descriptor(some_bytes(9), OCI_LAYER) for _ in range(2)]
        fields = json.loads(repo.image())
        content = json.dumps({**fields, "layers": fields["layers"] + absent}).encode()
        answer = repo.put_manifest("v1", content)
        assert (answer.status, answer.code()) == (404, "MANIFEST_BLOB_UNKNOWN")
        assert all(one["digest"] in answer.body.decode() for one in absent)
        assert fields["config"]["digest"] not in answer.body.decode()
        assert repo.manifest("v1").status == 404

    def test_the_manifests_that_are_not_there_are_named(self, repo):
        """Section "Push": ``MANIFEST_BLOB_UNKNOWN``."""
        answer = repo.put_manifest("v1", index([repo.push_image().descriptor, MISSING]))
        assert (answer.status, answer.code()) == (404, "MANIFEST_BLOB_UNKNOWN")
        assert MISSING["digest"] in answer.body.decode()


class TestPushingManifestsWithTags:
    """Section "Pushing Manifests": ``tag`` parameters (end-7b)."""

    @BOTH
    def test_the_tags_are_made_and_named_in_the_answer(self, repo, algorithm):
        content = repo.image(algorithm=algorithm)
        digest = Digest.of(content, algorithm)
        tags = [f"v1.{number}" for number in range(10)]
        answer = repo.put_manifest(digest, content, tag=tags)
        assert answer.status == 201
        named = ",".join(answer.headers.get_all("OCI-Tag"))
        assert [tag.strip() for tag in named.split(",")] == tags
        assert repo.tags().json()["tags"] == tags
        for tag in tags:
            pulled = repo.manifest(tag)
            assert (pulled.body, pulled.headers["Docker-Content-Digest"]) == (content, str(digest))

    def test_no_tag_is_named_where_none_was_asked_for(self, repo):
        content = repo.image()
        assert "OCI-Tag" not in repo.put_manifest(Digest.of(content), content).headers

    def test_a_tag_that_is_none_is_400_and_nothing_is_pushed(self, repo):
        content = repo.image()
        digest = Digest.of(content)
        assert repo.put_manifest(digest, content, tag=["good", "not a tag"]).status == 400
        assert repo.manifest(digest).status == 404
        assert repo.manifest("good").status == 404


class TestPushingManifestsWithSubject:
    """Section "Pushing Manifests with Subject"."""

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_the_answer_names_the_subject(self, repo, algorithm):
        subject = repo.push_image(algorithm=algorithm)
        for reference, content in (
            ("one", artifact(repo, subject=subject.descriptor)),
            ("two", index([], subject=subject.descriptor)),
        ):
            answer = repo.put_manifest(reference, content)
            assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(subject.digest))

    def test_the_subject_need_not_be_there(self, repo):
        answer = repo.put_manifest("v1", artifact(repo, subject=MISSING))
        assert (answer.status, answer.headers["OCI-Subject"]) == (201, MISSING["digest"])

    def test_an_image_without_a_subject_names_none(self, repo):
        assert "OCI-Subject" not in repo.put_manifest("v1", repo.image()).headers


class TestSparseManifests:
    """Section "Push": what a manifest refers to need not be there where the operator does not ask for it."""

    @pytest.mark.parametrize("wrapped", [False, True], ids=["direct", "wrapped"])
    def test_layers_and_platforms_may_be_left_out(self, tmp_path, wrapped):
        setup = Setup("inmemory", wrapped, 1)
        validation = {"manifests": {"layers": "none", "indexes": {"platforms": "none"}}}
        with serving(setup, {"inmemory": {}}, tmp_path, validation=validation) as client:
            repo = client.repository()
            fields = json.loads(repo.image())
            layers = [*fields["layers"], descriptor(some_bytes(9), OCI_LAYER)]
            for content in (
                json.dumps({**fields, "layers": layers}).encode(),
                index([repo.push_image().descriptor, MISSING]),
            ):
                assert repo.put_manifest("sparse", content).status == 201
                assert repo.manifest("sparse").body == content
                assert repo.put_manifest(Digest.of(content), content).status == 201
