"""OCI Distribution Specification, "Content Management"."""

from __future__ import annotations

import json

import pytest
from lab.spec_client import ALGORITHMS, Client, Repository, some_bytes
from lab.spec_servers import Setup, serving

from cfmiddleware.digest import Digest

BOTH = pytest.mark.parametrize("algorithm", ALGORITHMS)


class TestDeletingTags:
    """Section "Deleting tags" (end-9)."""

    def test_the_tag_is_gone_at_once_and_its_manifest_stays(self, repo):
        image = repo.push_image("v1")
        repo.push_manifest("v2", image.content)
        assert repo.manifest("v1", "DELETE").status == 202
        assert repo.manifest("v1", "HEAD").status == 404
        assert repo.tags().json()["tags"] == ["v2"]
        assert repo.manifest(image.digest).body == image.content
        assert repo.manifest("v2").body == image.content

    def test_a_tag_that_is_not_there_is_404(self, repo):
        repo.push_image("v1")
        answer = repo.manifest("v2", "DELETE")
        assert (answer.status, answer.code()) == (404, "MANIFEST_UNKNOWN")

    def test_a_tag_may_come_back(self, repo):
        image = repo.push_image("v1")
        assert repo.manifest("v1", "DELETE").status == 202
        repo.push_manifest("v1", image.content)
        assert repo.manifest("v1").body == image.content


class TestDeletingManifests:
    """Section "Deleting Manifests" (end-9)."""

    @BOTH
    def test_the_manifest_and_every_tag_of_it_are_gone_at_once(self, repo, algorithm):
        content = repo.image(algorithm=algorithm)
        digest = Digest.of(content, algorithm)
        assert repo.put_manifest(digest, content, tag=["v1", "v2"]).status == 201
        other = repo.push_image("v3")
        assert repo.manifest(digest, "DELETE").status == 202
        for reference in (digest, "v1", "v2"):
            assert repo.manifest(reference, "HEAD").status == 404
            assert repo.manifest(reference).status == 404
        assert repo.tags().json()["tags"] == ["v3"]
        assert repo.manifest("v3").body == other.content

    def test_a_manifest_that_is_not_there_is_404(self, repo):
        image = repo.push_image()
        assert repo.manifest(image.digest, "DELETE").status == 202
        answer = repo.manifest(image.digest, "DELETE")
        assert (answer.status, answer.code()) == (404, "MANIFEST_UNKNOWN")

    def test_a_repository_that_is_not_there_is_404(self, repo):
        assert repo.manifest(Digest.of(b"never pushed"), "DELETE").status == 404

    def test_the_same_manifest_in_another_repository_stays(self, repo):
        image, other = repo.push_image(), repo.sibling()
        fields = json.loads(image.content)
        for described in (fields["config"], *fields["layers"]):
            assert other.start(mount=described["digest"], **{"from": repo.name}).status == 201
        other.push_manifest(image.digest, image.content)
        assert repo.manifest(image.digest, "DELETE").status == 202
        assert other.manifest(image.digest).body == image.content

    def test_a_manifest_may_come_back(self, repo):
        image = repo.push_image()
        assert repo.manifest(image.digest, "DELETE").status == 202
        repo.push_manifest(image.digest, image.content)
        assert repo.manifest(image.digest).body == image.content


class TestDeletingBlobs:
    """Section "Deleting Blobs" (end-10)."""

    @BOTH
    def test_the_blob_is_gone_at_once(self, repo, algorithm):
        digest = repo.push_blob(some_bytes(100), algorithm)
        assert repo.blob(digest, "DELETE").status == 202
        assert repo.blob(digest, "HEAD").status == 404
        assert repo.blob(digest).status == 404

    @BOTH
    def test_a_blob_that_is_not_there_is_404(self, repo, algorithm):
        answer = repo.blob(Digest.of(b"never pushed", algorithm), "DELETE")
        assert (answer.status, answer.code()) == (404, "BLOB_UNKNOWN")

    def test_a_blob_may_come_back(self, repo):
        content = some_bytes(100)
        digest = repo.push_blob(content)
        assert repo.blob(digest, "DELETE").status == 202
        repo.push_blob(content)
        assert repo.blob(digest).body == content


@pytest.fixture
def keeping(tmp_path):
    setup = Setup("inmemory", False, 1)
    with serving(setup, {"inmemory": {}}, tmp_path, delete=False) as client:
        yield client


class TestDeletingWhereItIsDisabled:
    """Section "Content Management": the answer where the operator allows no deletes."""

    def test_it_is_405_and_everything_stays(self, keeping: Client):
        repo: Repository = keeping.repository()
        image, digest = repo.push_image("v1"), repo.push_blob(some_bytes(100))
        for answer in (
            repo.manifest("v1", "DELETE"),
            repo.manifest(image.digest, "DELETE"),
            repo.blob(digest, "DELETE"),
        ):
            assert (answer.status, answer.code()) == (405, "UNSUPPORTED")
        assert repo.manifest("v1").body == image.content
        assert repo.has(digest)
