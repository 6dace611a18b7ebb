"""OCI Distribution Specification, "Content Discovery"."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab.spec_client import (
    ALGORITHMS,
    EMPTY,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    describe,
    descriptor,
    index,
    manifest,
)

from cfmiddleware.digest import Digest

BOTH = pytest.mark.parametrize("algorithm", ALGORITHMS)
TAGS = ["1.10", "1.9", "B", "_a", "a", "a-1", "a.1", "b"]


@pytest.fixture
def tagged(repo):
    """A repository with tags, pushed in another order than theirs."""
    content = repo.image()
    answer = repo.put_manifest(Digest.of(content), content, tag=TAGS[::-1])
    assert answer.status == 201
    return repo


class TestListingTags:
    """Section "Listing Tags" (end-8a, end-8b)."""

    def test_the_tags_come_in_the_order_of_their_bytes(self, tagged):
        answer = tagged.tags()
        assert (answer.status, answer.json()) == (200, {"name": tagged.name, "tags": TAGS})
        assert answer.headers["Content-Type"] == "application/json"
        assert "Link" not in answer.headers

    def test_a_repository_without_tags_has_an_empty_list(self, repo):
        repo.push_image()
        assert repo.tags().json() == {"name": repo.name, "tags": []}

    def test_a_repository_that_is_not_there_is_404(self, repo):
        answer = repo.tags()
        assert (answer.status, answer.code()) == (404, "NAME_UNKNOWN")

    @pytest.mark.parametrize("count", [1, 3, 7, 8, 9, 1000])
    def test_n_is_how_many_there_are_at_the_most(self, tagged, count):
        answer = tagged.tags(n=count)
        assert answer.json()["tags"] == TAGS[:count]
        assert ("Link" in answer.headers) == (count < len(TAGS))

    def test_n_of_zero_is_an_empty_list_without_a_link(self, tagged):
        answer = tagged.tags(n=0)
        assert (answer.status, answer.json()["tags"]) == (200, [])
        assert "Link" not in answer.headers

    @pytest.mark.parametrize("count", ["-1", "x", "1.5", ""])
    def test_n_that_is_no_number_is_400(self, tagged, count):
        answer = tagged.tags(n=count)
        assert (answer.status, answer.code()) == (400, "PAGINATION_NUMBER_INVALID")

    @pytest.mark.parametrize("last", [*TAGS, "1", "a-0", "zzz", "~"])
    def test_last_is_what_comes_before_them_and_need_not_be_there(self, tagged, last):
        after = [tag for tag in TAGS if tag > last]
        assert tagged.tags(last=last).json()["tags"] == after
        assert tagged.tags(last=last, n=2).json()["tags"] == after[:2]

    def test_the_links_lead_through_all_tags(self, tagged):
        found, where = [], f"{tagged.path}/tags/list?n=3"
        while where:
            answer = tagged.ask("GET", where)
            found += answer.json()["tags"]
            where = next_page(answer)
        assert found == TAGS

    def test_head_has_what_get_has(self, tagged):
        head = tagged.ask("HEAD", f"{tagged.path}/tags/list")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == tagged.tags().headers["Content-Length"]


def next_page(answer):
    """Return where the next page is (RFC 5988), or None after the last one."""
    link = answer.headers.get("Link")
    return link and re.fullmatch(r'<([^>]+)>; rel="next"', link)[1]


SBOM, SIGNATURE = "application/vnd.example.sbom.v1", "application/vnd.example.signature.v1"


def refer(repo, subject, algorithm="sha256", **fields):
    """Push an artifact that is about a subject, and return the descriptor that the list should have."""
    repo.push_blob(EMPTY, algorithm)
    empty = descriptor(EMPTY, OCI_EMPTY, algorithm)
    content = manifest(**{"config": empty, "layers": [empty], "subject": subject, **fields})
    return put(repo, content, algorithm)


def put(repo, content, algorithm="sha256"):
    digest = Digest.of(content, algorithm)
    answer = repo.put_manifest(digest, content)
    assert answer.status == 201, answer
    return describe(digest, json.loads(content)["mediaType"], len(content))


def listed(answer):
    """Return the descriptors of an answer that is as the specification wants it."""
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == OCI_INDEX
    found = answer.json()
    assert (found["schemaVersion"], found["mediaType"]) == (2, OCI_INDEX)
    return sorted(found["manifests"], key=lambda one: one["digest"])


def in_order(*descriptors):
    return sorted(descriptors, key=lambda one: one["digest"])


class TestListingReferrers:
    """Section "Listing Referrers" (end-12a, end-12b)."""

    @BOTH
    def test_what_nothing_refers_to_has_an_empty_list(self, repo, algorithm):
        image = repo.push_image(algorithm=algorithm)
        assert listed(repo.referrers(image.digest)) == []
        assert listed(repo.referrers(Digest.of(b"never pushed", algorithm))) == []

    def test_a_repository_that_is_not_there_is_not_404(self, repo):
        assert listed(repo.referrers(Digest.of(b"never pushed"))) == []

    @pytest.mark.parametrize("digest", ["sha256:baddigeststring", "md5:0", "latest", "sha256:" + "A" * 64])
    def test_what_is_no_digest_is_400(self, repo, digest):
        answer = repo.referrers(digest)
        assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")

    @BOTH
    def test_every_referrer_is_listed_with_its_type_and_annotations(self, repo, algorithm):
        subject = repo.push_image(algorithm=algorithm)
        notes = {"org.example.format": "json"}
        expected = [
            refer(repo, subject.descriptor, algorithm, artifactType=SBOM, annotations=notes)
            | {"artifactType": SBOM, "annotations": notes},
            refer(repo, subject.descriptor, algorithm, artifactType=SIGNATURE) | {"artifactType": SIGNATURE},
        ]
        assert listed(repo.referrers(subject.digest)) == in_order(*expected)

    def test_an_image_without_a_type_has_that_of_its_config(self, repo):
        subject = repo.push_image()
        repo.push_blob(EMPTY)
        content = manifest(config=descriptor(EMPTY, OCI_CONFIG), layers=[], subject=subject.descriptor)
        assert listed(repo.referrers(subject.digest)) == []
        expected = put(repo, content) | {"artifactType": OCI_CONFIG}
        assert listed(repo.referrers(subject.digest)) == [expected]

    def test_an_index_has_its_own_type_or_none(self, repo):
        subject = repo.push_image()
        plain = put(repo, index([], subject=subject.descriptor))
        typed = put(repo, index([], subject=subject.descriptor, artifactType=SBOM))
        expected = in_order(plain, typed | {"artifactType": SBOM})
        assert listed(repo.referrers(subject.digest)) == expected

    def test_a_subject_that_is_not_there_yet_has_referrers(self, repo):
        content = repo.image()
        subject = describe(Digest.of(content), OCI_MANIFEST, len(content))
        expected = refer(repo, subject, artifactType=SBOM) | {"artifactType": SBOM}
        assert listed(repo.referrers(subject["digest"])) == [expected]
        put(repo, content)
        assert listed(repo.referrers(subject["digest"])) == [expected]

    def test_a_referrer_of_one_subject_is_not_that_of_another(self, repo):
        first, second = repo.push_image(), repo.push_image()
        refer(repo, first.descriptor, artifactType=SBOM)
        assert listed(repo.referrers(second.digest)) == []
        assert listed(repo.sibling().referrers(first.digest)) == []

    def test_the_list_may_be_filtered_by_type(self, repo):
        subject = repo.push_image()
        sbom = refer(repo, subject.descriptor, artifactType=SBOM) | {"artifactType": SBOM}
        refer(repo, subject.descriptor, artifactType=SIGNATURE)
        answer = repo.referrers(subject.digest, artifactType=SBOM)
        assert listed(answer) == [sbom]
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert listed(repo.referrers(subject.digest, artifactType="application/other")) == []
        assert "OCI-Filters-Applied" not in repo.referrers(subject.digest).headers

    def test_a_referrer_that_is_deleted_is_no_longer_listed(self, repo):
        subject = repo.push_image()
        gone = refer(repo, subject.descriptor, artifactType=SBOM)
        stays = refer(repo, subject.descriptor, artifactType=SIGNATURE) | {"artifactType": SIGNATURE}
        assert repo.manifest(gone["digest"], "DELETE").status == 202
        assert listed(repo.referrers(subject.digest)) == [stays]

    def test_referrers_outlive_their_subject(self, repo):
        subject = repo.push_image()
        expected = refer(repo, subject.descriptor, artifactType=SBOM) | {"artifactType": SBOM}
        assert repo.manifest(subject.digest, "DELETE").status == 202
        assert listed(repo.referrers(subject.digest)) == [expected]

    def test_none_is_lost_of_those_that_are_pushed_at_the_same_time(self, repo):
        subject = repo.push_image()
        repo.push_blob(EMPTY)
        types = [f"application/vnd.example.v{number}" for number in range(8)]
        with ThreadPoolExecutor(4) as threads:
            pushed = threads.map(
                lambda one: refer(repo, subject.descriptor, artifactType=one) | {"artifactType": one}, types
            )
        assert listed(repo.referrers(subject.digest)) == in_order(*pushed)

    def test_a_list_that_is_too_large_for_one_answer_goes_on_behind_a_link(self, repo):
        subject = repo.push_image()
        notes = {"large": "A" * 1_500_000}
        pushed = [
            refer(
                repo, subject.descriptor, artifactType=f"application/vnd.example.v{number}", annotations=notes
            )
            for number in range(4)
        ]
        found, where, pages = [], f"{repo.path}/referrers/{subject.digest}", 0
        while where:
            answer = repo.ask("GET", where)
            found, where, pages = found + listed(answer), next_page(answer), pages + 1
        assert {one["digest"] for one in found} == {one["digest"] for one in pushed}
        assert len(found) == len(pushed)
        assert pages > 1

    def test_head_has_what_get_has(self, repo):
        subject = repo.push_image()
        refer(repo, subject.descriptor, artifactType=SBOM)
        head = repo.ask("HEAD", f"{repo.path}/referrers/{subject.digest}")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == repo.referrers(subject.digest).headers["Content-Length"]


class TestReferrersTagSchema:
    """Section "Enabling the Referrers API": what clients listed under the fallback tag is found."""

    @BOTH
    def test_what_the_tag_lists_is_listed(self, repo, algorithm):
        subject = repo.push_image(algorithm=algorithm)
        content = manifest(
            artifactType=SBOM,
            config=descriptor(EMPTY, OCI_EMPTY),
            layers=[descriptor(EMPTY, OCI_EMPTY)],
            subject=subject.descriptor,
        )
        repo.push_blob(EMPTY)
        entry = put(repo, content) | {"artifactType": SBOM}
        tag = f"{algorithm}-{subject.digest.hex[:64]}"
        repo.push_manifest(tag, index([entry]))
        assert listed(repo.referrers(subject.digest)) == [entry]
