"""OCI Distribution Specification, "Pull"."""

from __future__ import annotations

import json

import pytest
from lab.spec_client import ALGORITHMS, EMPTY, OCI_INDEX, OCI_MANIFEST, index, some_bytes

from cfmiddleware.digest import Digest

MISSING = {algorithm: Digest.of(b"never pushed", algorithm) for algorithm in ALGORITHMS}


class TestPullingManifests:
    """Section "Pulling manifests" (end-3)."""

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_a_manifest_is_pulled_by_digest(self, repo, algorithm):
        image = repo.push_image(algorithm=algorithm)
        answer = repo.manifest(image.digest)
        assert (answer.status, answer.body) == (200, image.content)
        assert answer.headers["Docker-Content-Digest"] == str(image.digest)

    def test_a_manifest_is_pulled_by_tag(self, repo):
        image = repo.push_image("v1")
        answer = repo.manifest("v1")
        assert (answer.status, answer.body) == (200, image.content)
        assert answer.headers["Docker-Content-Digest"] == str(image.digest)

    @pytest.mark.parametrize("tag", ["a", "A", "_", "0", "_.-", "x" * 128, "v1.0-alpha_2"])
    def test_every_tag_of_the_grammar_works(self, repo, tag):
        image = repo.push_image(tag)
        assert repo.manifest(tag).body == image.content

    @pytest.mark.parametrize("tag", [".a", "-a", "x" * 129, "a+b", "a%20b"])
    def test_a_tag_outside_the_grammar_is_refused(self, repo, tag):
        image = repo.image()
        assert repo.put_manifest(tag, image).status in (400, 404)
        assert repo.manifest(tag).status in (400, 404)

    def test_the_content_type_is_the_pushed_one_without_parameters(self, repo):
        image = repo.push_image("image")
        repo.push_manifest("index", index([image.descriptor]))
        assert repo.manifest("image").headers["Content-Type"] == OCI_MANIFEST
        assert repo.manifest("index").headers["Content-Type"] == OCI_INDEX

    def test_a_manifest_without_a_media_type_field_has_the_type_it_was_pushed_with(self, repo):
        for reference, fields, media_type in (
            ("image", json.loads(repo.image()), OCI_MANIFEST),
            ("index", json.loads(index([])), OCI_INDEX),
        ):
            del fields["mediaType"]
            content = json.dumps(fields).encode()
            assert repo.put_manifest(reference, content, media_type).status == 201
            answer = repo.manifest(reference)
            assert (answer.headers["Content-Type"], answer.body) == (media_type, content)

    def test_the_accept_header_does_not_change_the_manifest(self, repo):
        image = repo.push_image("v1")
        for accept in ("*/*", "application/json", OCI_INDEX, OCI_MANIFEST):
            answer = repo.manifest("v1", Accept=accept)
            assert (answer.status, answer.body) == (200, image.content)

    @pytest.mark.parametrize("reference", ["no-such-tag", *MISSING.values()], ids=["tag", *ALGORITHMS])
    def test_a_manifest_that_is_not_there_is_404(self, repo, reference):
        repo.push_image("v1")
        answer = repo.manifest(reference)
        assert (answer.status, answer.code()) == (404, "MANIFEST_UNKNOWN")

    def test_a_repository_that_is_not_there_is_404(self, repo):
        answer = repo.manifest("latest")
        assert answer.status == 404
        assert answer.code() in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")

    @pytest.mark.parametrize(
        "reference", ["sha256:baddigeststring", "sha256:", "sha9:00", "sha256:" + "A" * 64]
    )
    def test_a_malformed_digest_is_400(self, repo, reference):
        answer = repo.manifest(reference)
        assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")

    def test_a_manifest_of_one_repository_is_not_in_another(self, repo):
        image = repo.push_image()
        assert repo.sibling().manifest(image.digest).status == 404

    def test_the_etag_spares_a_client_what_it_has(self, repo):
        """RFC 9110, section 13.1.2."""
        image = repo.push_image("v1")
        answer = repo.manifest("v1", If_None_Match=repo.manifest("v1").headers["ETag"])
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["Docker-Content-Digest"] == str(image.digest)


class TestPullingBlobs:
    """Section "Pulling blobs" (end-2)."""

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    @pytest.mark.parametrize("content", [b"", EMPTY, some_bytes(2048)], ids=["nothing", "{}", "2048"])
    def test_a_blob_is_pulled(self, repo, algorithm, content):
        digest = repo.push_blob(content, algorithm)
        answer = repo.blob(digest)
        assert (answer.status, answer.body) == (200, content)
        assert answer.headers["Content-Length"] == str(len(content))

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_the_registry_says_the_digest_that_was_asked_for(self, repo, algorithm):
        digest = repo.push_blob(some_bytes(100), algorithm)
        answer = repo.blob(digest)
        for one in (*answer.redirects, answer):
            assert one.headers["Docker-Content-Digest"] == str(digest)

    def test_a_pull_leads_to_the_edge_where_there_is_one(self, repo):
        digest = repo.push_blob(some_bytes(100))
        redirects = repo.blob(digest).redirects
        assert [redirect.status for redirect in redirects] == ([307] if repo.client.edge else [])
        assert all(one.headers["Location"].startswith(repo.client.edge) for one in redirects)

    def test_a_blob_pushed_under_one_algorithm_is_not_there_under_another(self, repo):
        content = some_bytes(100)
        repo.push_blob(content, "sha256")
        assert repo.blob(Digest.of(content, "sha512")).status == 404

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_a_blob_that_is_not_there_is_404(self, repo, algorithm):
        repo.push_blob(b"another")
        answer = repo.blob(MISSING[algorithm])
        assert (answer.status, answer.code()) == (404, "BLOB_UNKNOWN")

    def test_a_blob_of_one_repository_is_not_in_another(self, repo):
        digest = repo.push_blob(some_bytes(100))
        assert repo.sibling().blob(digest).status == 404

    @pytest.mark.parametrize("digest", ["sha256:baddigeststring", "sha9:00", "sha256:" + "A" * 64])
    def test_a_malformed_digest_is_400(self, repo, digest):
        answer = repo.blob(digest)
        assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")

    @pytest.mark.parametrize(
        ("wanted", "first", "last"),
        [
            ("500-1499", 500, 1499),
            ("500-", 500, 2047),
            ("-500", 1548, 2047),
            ("2000-5000", 2000, 2047),
            ("0-0", 0, 0),
            ("-5000", 0, 2047),
        ],
    )
    def test_a_range_is_answered_with_206(self, repo, wanted, first, last):
        content = some_bytes(2048)
        answer = repo.blob(repo.push_blob(content), Range=f"bytes={wanted}")
        assert (answer.status, answer.body) == (206, content[first : last + 1])
        assert answer.headers["Content-Length"] == str(last + 1 - first)
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/2048"

    @pytest.mark.parametrize("wanted", ["5000-10000", "2048-", "-0", "500-0"])
    def test_a_range_without_a_byte_of_the_blob_is_416(self, repo, wanted):
        answer = repo.blob(repo.push_blob(some_bytes(2048)), Range=f"bytes={wanted}")
        assert answer.status == 416

    @pytest.mark.parametrize("wanted", ["lines=1-2", "bytes=a-b"])
    def test_a_range_that_cannot_be_read_is_ignored(self, repo, wanted):
        """RFC 9110, section 14.2."""
        content = some_bytes(100)
        answer = repo.blob(repo.push_blob(content), Range=wanted)
        assert (answer.status, answer.body) == (200, content)

    def test_the_digest_is_the_etag(self, repo):
        """RFC 9110, section 13.1.2."""
        digest = repo.push_blob(some_bytes(100))
        assert repo.blob(digest, "HEAD").headers["ETag"] == f'"{digest}"'
        answer = repo.blob(digest, If_None_Match=f'"{digest}"')
        assert (answer.status, answer.body) == (304, b"")

    def test_a_pull_may_say_what_host_it_is_for(self, repo):
        """Section "Registry Proxying": a registry may ignore ``ns``."""
        content = some_bytes(100)
        digest = repo.push_blob(content)
        assert repo.ask("GET", f"{repo.path}/blobs/{digest}?ns=registry.example.com").body == content


class TestCheckingIfContentExists:
    """Section "Checking if content exists in the registry" (end-2 and end-3 with HEAD)."""

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    @pytest.mark.parametrize("content", [b"", EMPTY, some_bytes(2048)], ids=["nothing", "{}", "2048"])
    def test_head_of_a_blob_has_its_digest_and_its_size(self, repo, algorithm, content):
        digest = repo.push_blob(content, algorithm)
        answer = repo.blob(digest, "HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Docker-Content-Digest"] == str(digest)
        assert answer.headers["Content-Length"] == str(len(content))

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_head_of_a_manifest_has_what_get_has(self, repo, algorithm):
        image = repo.push_image(algorithm=algorithm)
        got, head = repo.manifest(image.digest), repo.manifest(image.digest, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(image.content))
        assert head.headers["Docker-Content-Digest"] == str(image.digest)
        assert without_date(head) == without_date(got)

    def test_head_of_a_tag_has_what_get_has(self, repo):
        repo.push_image("v1")
        assert without_date(repo.manifest("v1", "HEAD")) == without_date(repo.manifest("v1"))

    @pytest.mark.parametrize("kind", ["blobs", "manifests"])
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_head_of_what_is_not_there_is_404_without_a_body(self, repo, kind, algorithm):
        answer = repo.ask("HEAD", f"{repo.path}/{kind}/{MISSING[algorithm]}")
        assert (answer.status, answer.body) == (404, b"")


def without_date(answer):
    return sorted((name, value) for name, value in answer.headers.items() if name != "Date")
