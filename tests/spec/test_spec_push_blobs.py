"""OCI Distribution Specification, "Push": blobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from lab.spec_client import ALGORITHMS, EMPTY, some_bytes

from cfmiddleware.digest import Digest

# Three chunks of the conformance tests' smallest size, the last one shorter.
CHUNK = 1024
BLOB = some_bytes(3 * CHUNK - 5)

CONTENTS = pytest.mark.parametrize("content", [b"", EMPTY, BLOB], ids=["nothing", "{}", "chunks"])
BOTH = pytest.mark.parametrize("algorithm", ALGORITHMS)


def assert_pushed(repo, answer, digest, content):
    """A push was taken, and its Location can be pulled from."""
    assert answer.status == 201, answer
    assert answer.headers["Docker-Content-Digest"] == str(digest)
    assert repo.ask("GET", answer.headers["Location"]).body == content
    assert repo.blob(digest).body == content


def assert_refused(repo, answer, digest):
    """A push was refused for its digest, and left nothing."""
    assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")
    assert not repo.has(digest)


class TestPostThenPut:
    """Section "Pushing a blob monolithically", "POST then PUT" (end-4a, end-6)."""

    @BOTH
    @CONTENTS
    def test_the_blob_is_there_afterwards(self, repo, algorithm, content):
        digest = Digest.of(content, algorithm)
        assert_pushed(repo, repo.finish(repo.location(), digest, content), digest, content)

    @BOTH
    def test_the_algorithm_may_be_said_before(self, repo, algorithm):
        """Section "Pushing a blob in chunks", end-4c."""
        location = repo.location(**{"digest-algorithm": algorithm})
        digest = Digest.of(BLOB, algorithm)
        assert_pushed(repo, repo.finish(location, digest, BLOB), digest, BLOB)

    @BOTH
    def test_bytes_that_are_not_the_digests_are_refused(self, repo, algorithm):
        digest = Digest.of(BLOB, algorithm)
        assert_refused(repo, repo.finish(repo.location(), digest, BLOB + b"oh no"), digest)

    @pytest.mark.parametrize(
        "digest", ["sha256:baddigeststring", "md5:d41d8cd98f00b204e9800998ecf8427e", "x", ""]
    )
    def test_a_digest_that_is_none_or_of_another_algorithm_is_400(self, repo, digest):
        answer = repo.finish(repo.location(), digest, BLOB)
        assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")

    def test_a_put_without_a_digest_is_400(self, repo):
        assert repo.ask("PUT", repo.location(), BLOB).status == 400

    def test_an_algorithm_that_the_registry_does_not_know_is_400(self, repo):
        answer = repo.start(**{"digest-algorithm": "md5"})
        assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")

    def test_uploads_at_the_same_time_do_not_meet(self, repo):
        locations = [repo.location() for _ in range(4)]
        contents = [some_bytes(CHUNK) for _ in locations]
        assert len(set(locations)) == len(locations)
        with ThreadPoolExecutor(4) as threads:
            answers = list(
                threads.map(
                    lambda one: repo.finish(one[0], Digest.of(one[1]), one[1]),
                    zip(locations, contents, strict=True),
                )
            )
        for answer, content in zip(answers, contents, strict=True):
            assert_pushed(repo, answer, Digest.of(content), content)

    def test_one_blob_may_be_pushed_by_several_at_the_same_time(self, repo):
        """Section "Layer Upload De-duplication"."""
        content = some_bytes(CHUNK)
        digest = Digest.of(content)
        with ThreadPoolExecutor(4) as threads:
            answers = list(
                threads.map(
                    lambda place: repo.finish(place, digest, content), [repo.location() for _ in range(4)]
                )
            )
        for answer in answers:
            assert_pushed(repo, answer, digest, content)


class TestSinglePost:
    """Section "Pushing a blob monolithically", "Single POST" (end-4b)."""

    @BOTH
    @CONTENTS
    def test_the_blob_is_there_afterwards(self, repo, algorithm, content):
        digest = Digest.of(content, algorithm)
        assert_pushed(repo, repo.post_blob(content, digest), digest, content)

    @BOTH
    def test_bytes_that_are_not_the_digests_are_refused(self, repo, algorithm):
        digest = Digest.of(BLOB, algorithm)
        assert_refused(repo, repo.post_blob(BLOB + b"oh no", digest), digest)

    @pytest.mark.parametrize("digest", ["sha256:baddigeststring", "md5:d41d8cd98f00b204e9800998ecf8427e"])
    def test_a_digest_that_is_none_or_of_another_algorithm_is_400(self, repo, digest):
        answer = repo.post_blob(BLOB, digest)
        assert (answer.status, answer.code()) == (400, "DIGEST_INVALID")


class TestPushingABlobInChunks:
    """Section "Pushing a blob in chunks" (end-4c, end-5, end-6, end-13)."""

    def send(self, repo, location, first=0, last=None):
        """Send chunks from one byte to another, each to where the answer to the one before it says."""
        for begin in range(first, len(BLOB) if last is None else last, CHUNK):
            chunk = BLOB[begin : begin + CHUNK]
            answer = repo.patch(location, chunk, begin)
            assert answer.status == 202, answer
            assert answer.headers["Range"] == f"0-{begin + len(chunk) - 1}"
            location = answer.headers["Location"]
        return location

    def test_an_upload_begins_with_202_and_a_location(self, repo):
        answer = repo.start()
        assert (answer.status, answer.body) == (202, b"")
        assert answer.headers["Location"]

    def test_a_smallest_chunk_is_a_number_of_bytes_if_there_is_one(self, repo):
        assert repo.start().headers.get("OCI-Chunk-Min-Length", "0").isdecimal()

    @BOTH
    def test_chunks_of_the_smallest_length_make_a_blob(self, repo, algorithm):
        answer = repo.start(**{"digest-algorithm": algorithm})
        length = max(CHUNK, int(answer.headers.get("OCI-Chunk-Min-Length", "0")))
        content, location = some_bytes(3 * length - 5), answer.headers["Location"]
        for begin in (0, length):
            answer = repo.patch(location, content[begin : begin + length], begin)
            assert (answer.status, answer.headers["Range"]) == (202, f"0-{begin + length - 1}")
            location = answer.headers["Location"]
        digest = Digest.of(content, algorithm)
        answer = repo.finish(location, digest, content[2 * length :], 2 * length)
        assert_pushed(repo, answer, digest, content)

    @BOTH
    def test_the_last_chunk_may_come_in_a_patch(self, repo, algorithm):
        digest = Digest.of(BLOB, algorithm)
        location = self.send(repo, repo.location(**{"digest-algorithm": algorithm}))
        assert_pushed(repo, repo.finish(location, digest), digest, BLOB)

    @BOTH
    def test_the_last_chunk_may_come_in_the_put(self, repo, algorithm):
        digest = Digest.of(BLOB, algorithm)
        location = self.send(repo, repo.location(), last=2 * CHUNK)
        answer = repo.finish(location, digest, BLOB[2 * CHUNK :], 2 * CHUNK)
        assert_pushed(repo, answer, digest, BLOB)

    @BOTH
    def test_an_algorithm_that_was_not_said_before_works_too(self, repo, algorithm):
        digest = Digest.of(BLOB, algorithm)
        assert_pushed(repo, repo.finish(self.send(repo, repo.location()), digest), digest, BLOB)

    def test_one_chunk_may_be_all(self, repo):
        digest = Digest.of(BLOB)
        location = repo.patch(repo.location(), BLOB, 0).headers["Location"]
        assert_pushed(repo, repo.finish(location, digest), digest, BLOB)

    @BOTH
    def test_bytes_that_are_not_the_digests_are_refused(self, repo, algorithm):
        digest = Digest.of(BLOB + b"oh no", algorithm)
        assert_refused(repo, repo.finish(self.send(repo, repo.location()), digest), digest)

    @BOTH
    def test_a_last_chunk_that_is_not_the_digests_is_refused(self, repo, algorithm):
        digest = Digest.of(BLOB, algorithm)
        location = self.send(repo, repo.location(), last=2 * CHUNK)
        answer = repo.finish(location, digest, BLOB[2 * CHUNK :][::-1], 2 * CHUNK)
        assert_refused(repo, answer, digest)

    @pytest.mark.parametrize(("sent", "begin"), [(0, 2 * CHUNK), (CHUNK, 0), (CHUNK, 2 * CHUNK)])
    def test_a_chunk_out_of_order_is_416_and_changes_nothing(self, repo, sent, begin):
        location = self.send(repo, repo.location(), last=sent)
        answer = repo.patch(location, BLOB[begin : begin + CHUNK], begin)
        assert (answer.status, answer.code()) == (416, "BLOB_UPLOAD_INVALID")
        assert answer.headers["Range"] == f"0-{max(sent - 1, 0)}"
        location = self.status(repo, answer.headers["Location"], sent)
        digest = Digest.of(BLOB)
        assert_pushed(repo, repo.finish(self.send(repo, location, sent), digest), digest, BLOB)

    def test_a_last_chunk_out_of_order_is_416_and_changes_nothing(self, repo):
        digest = Digest.of(BLOB)
        location = self.send(repo, repo.location(), last=CHUNK)
        answer = repo.finish(location, digest, BLOB[2 * CHUNK :], 2 * CHUNK)
        assert (answer.status, answer.code()) == (416, "BLOB_UPLOAD_INVALID")
        location = self.status(repo, answer.headers["Location"], CHUNK)
        assert_pushed(repo, repo.finish(location, digest, BLOB[CHUNK:], CHUNK), digest, BLOB)

    def test_a_chunk_that_is_sent_again_is_416(self, repo):
        location = self.send(repo, repo.location(), last=CHUNK)
        assert repo.patch(location, BLOB[:CHUNK], 0).status == 416
        self.status(repo, location, CHUNK)

    @pytest.mark.parametrize("length", [CHUNK - 1, CHUNK + 1])
    def test_a_chunk_that_is_not_as_long_as_its_range_is_refused(self, repo, length):
        location = repo.location()
        answer = repo.ask("PATCH", location, BLOB[:length], {"Content-Range": f"0-{CHUNK - 1}"})
        assert (answer.status, answer.code()) == (400, "SIZE_INVALID")
        self.status(repo, location, 0)

    @pytest.mark.parametrize("text", ["a-b", "5-0", "0", "-5", "0-5-9"])
    def test_a_range_outside_the_grammar_is_refused(self, repo, text):
        location = repo.location()
        answer = repo.ask("PATCH", location, BLOB[:6], {"Content-Range": text})
        assert answer.status in (400, 416)
        self.status(repo, location, 0)

    def test_the_status_says_where_to_go_on(self, repo):
        location = self.send(repo, repo.location(), last=2 * CHUNK)
        location = self.status(repo, location, 2 * CHUNK)
        digest = Digest.of(BLOB)
        assert_pushed(repo, repo.finish(self.send(repo, location, 2 * CHUNK), digest), digest, BLOB)

    def test_the_status_of_an_upload_that_is_closed_is_404(self, repo):
        location = self.send(repo, repo.location())
        assert repo.finish(location, Digest.of(BLOB)).status == 201
        answer = repo.ask("GET", location)
        assert (answer.status, answer.code()) == (404, "BLOB_UPLOAD_UNKNOWN")

    def test_an_upload_of_one_repository_is_not_in_another(self, repo):
        location = repo.location()
        assert repo.ask("GET", location.replace(repo.name, repo.sibling().name)).status == 404

    def status(self, repo, location, size):
        """Ask where an upload stands, which must be after so many bytes."""
        answer = repo.ask("GET", location)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Range"] == f"0-{max(size - 1, 0)}"
        return answer.headers["Location"]


class TestStreaming:
    """Section "Pushing a blob in chunks": one PATCH without a range, of a length that nobody knows before."""

    @BOTH
    @CONTENTS
    def test_the_blob_is_there_afterwards(self, repo, algorithm, content):
        digest = Digest.of(content, algorithm)
        pieces = (content[begin : begin + 700] for begin in range(0, len(content), 700))
        answer = repo.ask("PATCH", repo.location(), pieces, {"Transfer-Encoding": "chunked"})
        assert answer.status == 202
        assert answer.headers["Range"] == f"0-{max(len(content) - 1, 0)}"
        assert_pushed(repo, repo.finish(answer.headers["Location"], digest), digest, content)

    @BOTH
    def test_bytes_that_are_not_the_digests_are_refused(self, repo, algorithm):
        digest = Digest.of(BLOB, algorithm)
        answer = repo.ask("PATCH", repo.location(), iter([BLOB, b"oh no"]), {"Transfer-Encoding": "chunked"})
        assert_refused(repo, repo.finish(answer.headers["Location"], digest), digest)


class TestCancelABlobUpload:
    """Section "Cancel a blob upload" (end-14)."""

    @pytest.mark.parametrize("chunk", [b"", BLOB], ids=["new", "with bytes"])
    def test_an_upload_that_is_cancelled_is_gone(self, repo, chunk):
        location = repo.location()
        if chunk:
            location = repo.patch(location, chunk, 0).headers["Location"]
        answer = repo.ask("DELETE", location, headers={"Content-Length": "0"})
        assert (answer.status, answer.body) == (204, b"")
        for method in ("GET", "PATCH", "DELETE"):
            answer = repo.ask(method, location)
            assert (answer.status, answer.code()) == (404, "BLOB_UPLOAD_UNKNOWN")
        assert repo.finish(location, Digest.of(chunk)).status == 404


class TestMountingABlob:
    """Section "Mounting a blob from another repository" (end-11)."""

    @BOTH
    def test_a_blob_of_another_repository_is_mounted(self, repo, algorithm):
        content = some_bytes(CHUNK)
        source = repo.sibling()
        digest = source.push_blob(content, algorithm)
        answer = repo.start(mount=str(digest), **{"from": source.name})
        assert_pushed(repo, answer, digest, content)

    @BOTH
    def test_the_repository_need_not_be_named(self, repo, algorithm):
        """The search for it is bounded and goes by the names, so that this one comes early."""
        content = some_bytes(CHUNK)
        digest = repo.client.repository(f"0/{algorithm}").push_blob(content, algorithm)
        assert_pushed(repo, repo.start(mount=str(digest)), digest, content)

    @pytest.mark.parametrize("source", ["another", "its-own", "no-such/repository", "NO NAME", None])
    def test_a_blob_that_is_not_there_is_uploaded_instead(self, repo, source):
        digest = Digest.of(content := some_bytes(CHUNK))
        other = repo.sibling()
        other.push_blob(EMPTY)
        name = {"another": other.name, "its-own": repo.name}.get(source, source)
        answer = repo.start(mount=str(digest), **({"from": name} if name else {}))
        assert answer.status == 202
        assert not repo.has(digest)
        assert_pushed(repo, repo.finish(answer.headers["Location"], digest, content), digest, content)

    def test_a_mounted_blob_stays_when_its_source_is_deleted(self, repo):
        content = some_bytes(CHUNK)
        source = repo.sibling()
        digest = source.push_blob(content)
        assert repo.start(mount=str(digest), **{"from": source.name}).status == 201
        assert source.blob(digest, "DELETE").status == 202
        assert repo.blob(digest).body == content

    @pytest.mark.parametrize("digest", ["sha384:" + "a" * 96, "sha256:baddigeststring", ""])
    def test_a_digest_that_the_registry_does_not_know_begins_an_upload(self, repo, digest):
        answer = repo.start(mount=digest, **{"from": repo.sibling().name})
        assert answer.status == 202
