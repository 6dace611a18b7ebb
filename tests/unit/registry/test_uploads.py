"""Pushing blobs (OCI Distribution, "Pushing blobs")."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.examples import examples
from lab.registry_client import DRIVERS, ROOT, RegistryClient, error_code
from werkzeug.test import EnvironBuilder, run_wsgi_app

from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.registry.auth.access import Grant
from cfmiddleware.storage.memory import MemoryDriver

CONTENT = bytes(range(256)) * 40
DIGEST = Digest.of(CONTENT)


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    # A limit far below the real one makes both kinds of chunks out of a few bytes.
    return RegistryClient(DRIVERS[request.param](tmp_path), inline_limit=100)


def blob(client, digest, name="app"):
    return client.get(f"/v2/{name}/blobs/{digest}")


def uploads(client):
    return {path for path in client.objects() if "/_uploads/" in path}


def linked(client):
    return {path for path in client.objects() if path.endswith("/link")}


def send(client, url, data, **more):
    """Send bytes without their place and return the URL to go on at."""
    answer = client.patch(url, data=data, **more)
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def chunk(client, url, start, data, method="PATCH", query=""):
    headers = {"Content-Range": f"{start}-{start + len(data) - 1}"}
    return client.open(url + query, method=method, data=data, headers=headers)


def test_an_upload_begins_empty(client):
    answer = client.post("/v2/app/blobs/uploads/")
    assert answer.status_code == 202
    assert (answer.headers["Range"], answer.headers["Content-Length"]) == ("0-0", "0")
    path = urlsplit(answer.headers["Location"]).path
    assert path.startswith(f"/v2/app/blobs/uploads/{answer.headers['Docker-Upload-UUID']}.")
    assert client.objects() == set()


def test_an_upload_begins_without_the_last_slash_as_well(client):
    assert client.post("/v2/app/blobs/uploads").status_code == 202


def test_a_blob_arrives_in_one_post(client):
    answer = client.post(f"/v2/app/blobs/uploads/?digest={DIGEST}", data=CONTENT)
    assert answer.status_code == 201
    assert urlsplit(answer.headers["Location"]).path == f"/v2/app/blobs/{DIGEST}"
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert blob(client, DIGEST).data == CONTENT
    assert client.objects() == {
        f"registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data",
        f"registry/v2/repositories/app/_layers/sha256/{DIGEST.hex}/link",
    }


def test_a_blob_arrives_in_one_put(client):
    answer = client.put(f"{client.start('app')}?digest={DIGEST}", data=CONTENT)
    assert answer.status_code == 201
    assert blob(client, DIGEST).data == CONTENT
    assert not uploads(client)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_bytes_whose_digest_is_known_before_them_go_straight_to_their_place(monkeypatch, method):
    client = RegistryClient(MemoryDriver(), inline_limit=100)
    url = client.start("app") if method == "PUT" else "/v2/app/blobs/uploads/"
    monkeypatch.setattr(client.driver, "compose", None)  # putting anything together would be an error
    monkeypatch.setattr(client.driver, "create", None)  # and so would remembering it
    answer = client.open(f"{url}?digest={DIGEST}", method=method, data=CONTENT)
    assert answer.status_code == 201
    assert blob(client, DIGEST).data == CONTENT


def test_a_last_chunk_whose_put_fails_is_not_kept(client, monkeypatch):
    url = client.start("app")
    url = send(client, url, CONTENT[:500])
    objects = client.objects()

    def failing(path, sources):
        raise StorageUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(client.driver, "compose", failing)
        answer = client.put(f"{url}?digest={DIGEST}", data=CONTENT[500:])
    assert (answer.status_code, error_code(answer)) == (503, "UNAVAILABLE")
    assert client.objects() == objects
    assert client.put(f"{url}?digest={DIGEST}", data=CONTENT[500:]).status_code == 201


@pytest.mark.parametrize("sizes", [(10_240,), (50,), (50, 40), (50, 60), (101, 50), (99, 1, 200, 3, 300)])
@pytest.mark.parametrize("last_in_put", [False, True])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_arrives_in_chunks_of_any_size(client, sizes, last_in_put, algorithm):
    content = CONTENT[: sum(sizes)]
    digest = Digest.of(content, algorithm)
    url, sent = client.start("app"), 0
    for size in sizes[:-1] if last_in_put else sizes:
        answer = chunk(client, url, sent, content[sent : sent + size])
        sent += size
        assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{sent - 1}")
        url = answer.headers["Location"]
    rest = content[sent:]
    answer = (
        chunk(client, url, sent, rest, "PUT", f"?digest={digest}")
        if rest
        else client.put(f"{url}?digest={digest}")
    )
    assert answer.status_code == 201, answer.text
    assert blob(client, digest).data == content
    assert not uploads(client)


def test_an_upload_says_where_it_stands(client):
    url = client.start("app")
    assert client.get(url).headers["Range"] == "0-0"
    url = send(client, url, CONTENT[:70])
    answer = client.get(url)
    assert (answer.status_code, answer.headers["Range"], answer.data) == (204, "0-69", b"")
    assert answer.headers["Location"] == url
    assert "Content-Length" not in answer.headers


def test_chunks_without_a_content_range_are_appended(client):
    url = client.start("app")
    url = send(client, url, CONTENT[:30])
    url = send(client, url, CONTENT[30:])
    assert client.put(f"{url}?digest={DIGEST}").status_code == 201


@pytest.mark.parametrize("sent", ["0-9", "60-69", "bytes 60-69/*", "nonsense", "9-0", "50-"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_out_of_order_is_416_with_where_the_upload_stands(client, sent, method):
    url = client.start("app")
    url = send(client, url, CONTENT[:50])
    query = f"?digest={DIGEST}" if method == "PUT" else ""
    answer = client.open(url + query, method=method, data=CONTENT[:10], headers={"Content-Range": sent})
    assert (answer.status_code, error_code(answer)) == (416, "BLOB_UPLOAD_INVALID")
    assert (answer.headers["Range"], answer.headers["Location"]) == ("0-49", url)
    assert answer.headers["Docker-Upload-UUID"] in url
    assert client.get(url).headers["Range"] == "0-49"


def test_the_long_form_of_content_range_is_understood(client):
    url = client.start("app")
    answer = client.patch(url, data=CONTENT[:10], headers={"Content-Range": "bytes 0-9/*"})
    assert answer.status_code == 202


@pytest.mark.parametrize("length", [5, 15])
def test_a_chunk_that_is_not_as_long_as_it_says_has_no_effect(client, length):
    url = client.start("app")
    answer = client.patch(url, data=CONTENT[:length], headers={"Content-Range": "0-9"})
    assert (answer.status_code, error_code(answer)) == (400, "SIZE_INVALID")
    assert client.get(url).headers["Range"] == "0-0"


@pytest.mark.parametrize("before", [0, 50, 500])
def test_bytes_that_are_not_those_of_the_digest_become_nothing(client, before):
    url = client.start("app")
    if before:
        url = send(client, url, CONTENT[:before])
    answer = client.put(f"{url}?digest={DIGEST}", data=b"something else" * 20)
    assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")
    assert client.get(url).status_code == 404  # cancelled
    assert blob(client, DIGEST).status_code == 404
    assert not linked(client)


def test_bytes_of_one_post_that_are_not_those_of_the_digest_become_nothing(client):
    answer = client.post(f"/v2/app/blobs/uploads/?digest={DIGEST}", data=CONTENT[:-1])
    assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")
    assert client.objects() == set()


@pytest.mark.parametrize("query", ["", "?digest=", "?digest=sha256:123", f"?digest=md5:{'0' * 32}"])
def test_an_upload_ends_only_with_a_digest(client, query):
    url = client.start("app")
    answer = client.put(url + query, data=CONTENT)
    assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")
    assert client.get(url).status_code == 204


@pytest.mark.parametrize("uuid", ["00000000-0000-4000-8000-000000000000", "x", "..", "a.b", "A" * 36])
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_an_upload_that_does_not_exist_is_named_so(client, uuid, method):
    answer = client.open(f"/v2/app/blobs/uploads/{uuid}?digest={DIGEST}", method=method, data=b"x")
    assert (answer.status_code, error_code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository(client):
    other = client.start("app").replace("/app/", "/other/")
    assert client.get(other).status_code == 404


def test_an_upload_that_distribution_began_is_none_of_ours(client):
    uuid = client.start("app").rpartition("/")[2].partition(".")[0]
    client.driver.write(f"{ROOT}repositories/app/_uploads/{uuid}/startedat", b"2026-01-01T00:00:00Z")
    client.driver.write(f"{ROOT}repositories/app/_uploads/{uuid}/data", b"theirs")
    for url in (client.start("app").rpartition("/")[0] + "/" + uuid,):
        assert client.patch(url, data=b"ours").status_code == 404


@pytest.mark.parametrize("sizes", [(), (50,), (50, 30), (5000, 50), (5000, 500)])
def test_a_cancelled_upload_leaves_the_mark_that_it_is_cancelled(client, sizes):
    """Any URL of it is unknown from then on, in every process."""
    urls = [client.start("app")]
    for size in sizes:
        urls.append(send(client, urls[-1], CONTENT[:size]))
    assert client.delete(urls[-1]).status_code == 204
    assert {path.rpartition("/")[2] for path in uploads(client)} == {"startedat", "cancelled"}
    left = client.objects()
    for url in urls:
        for other in (client, RegistryClient(client.driver, inline_limit=100)):
            digest = Digest.of(CONTENT[: sum(sizes)])
            assert other.get(url).status_code == 404
            for content in (b"", CONTENT[:50], CONTENT):
                assert other.patch(url, data=content).status_code == 404
                assert other.put(f"{url}?digest={Digest.of(content)}", data=content).status_code in (400, 404)
            assert other.put(f"{url}?digest={digest}").status_code == 404
            assert other.delete(url).status_code == 404
    assert not linked(client)
    assert uploads(client) <= left


def test_a_put_that_is_sent_again_is_answered_like_the_first(client):
    url = client.start("app")
    url = send(client, url, CONTENT)
    answers = [client.put(f"{url}?digest={DIGEST}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].headers == answers[1].headers


@pytest.mark.parametrize("size", [50, 5000])
def test_a_put_to_a_finished_upload_with_another_digest_is_refused(client, size):
    url = client.start("app")
    later = send(client, url, CONTENT[:size])
    assert client.put(f"{later}?digest={Digest.of(CONTENT[:size])}").status_code == 201
    for again in (later, url):
        assert client.put(f"{again}?digest={Digest.of(b'?')}").status_code in (400, 404)


def test_an_upload_goes_on_through_another_process(client):
    """Nothing of an upload lives in a process: another registry over the same storage is another worker."""
    url = client.start("app")
    url = send(client, url, CONTENT[:300])
    other = RegistryClient(client.driver, inline_limit=100)
    url = chunk(other, url, 300, CONTENT[300:]).headers["Location"]
    assert client.put(f"{url}?digest={DIGEST}").status_code == 201
    assert blob(other, DIGEST).data == CONTENT


def test_the_algorithm_named_at_the_beginning_saves_reading_the_blob_back(monkeypatch):
    client = RegistryClient(MemoryDriver(), inline_limit=100)
    digest = Digest.of(CONTENT, "sha512")
    url = client.start("app", "?digest-algorithm=sha512")
    url = send(client, url, CONTENT)
    monkeypatch.setattr(client.driver, "open", None)  # opening anything would now be an error
    assert client.put(f"{url}?digest={digest}").status_code == 201


def test_an_algorithm_that_nobody_knows_is_refused(client):
    answer = client.post("/v2/app/blobs/uploads/?digest-algorithm=md5")
    assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")


# Mounting


def test_a_blob_is_mounted_from_a_repository_that_has_it(client):
    client.push_blob("source", CONTENT)
    answer = client.post(f"/v2/app/blobs/uploads/?mount={DIGEST}&from=source")
    assert answer.status_code == 201
    assert urlsplit(answer.headers["Location"]).path == f"/v2/app/blobs/{DIGEST}"
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert blob(client, DIGEST).data == CONTENT


def test_a_blob_is_mounted_from_wherever_it_is_where_everybody_may_read_everything(client):
    client.push_image("a/other", "latest")
    client.push_blob("z/source", CONTENT)
    answer = client.post(f"/v2/app/blobs/uploads/?mount={DIGEST}")
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, str(DIGEST))
    assert blob(client, DIGEST).data == CONTENT


def test_bytes_that_no_repository_has_are_not_mounted(client):
    client.push_blob("source", CONTENT)
    client.delete(f"/v2/source/blobs/{DIGEST}")
    assert client.post(f"/v2/app/blobs/uploads/?mount={DIGEST}").status_code == 202
    assert blob(client, DIGEST).status_code == 404


def test_a_blob_is_looked_for_in_no_more_repositories_than_the_operator_allows(client):
    client.push_blob("a", b"another")
    client.push_blob("source", CONTENT)
    careful = RegistryClient(client.driver, mountsearch=1)
    assert careful.post(f"/v2/app/blobs/uploads/?mount={DIGEST}").status_code == 202
    careful = RegistryClient(client.driver, mountsearch=2)
    assert careful.post(f"/v2/app/blobs/uploads/?mount={DIGEST}").status_code == 201


class Tokens:
    """Knows what a client may do, as if its token said so."""

    def __init__(self, *names):
        self._actions = {("repository", name): frozenset(("pull", "push")) for name in names}

    def authorize(self, request):
        return Grant("someone", self._actions)


def test_a_blob_is_mounted_only_from_repositories_that_the_token_names(client):
    client.push_blob("private", CONTENT)
    for names, status in (((), 202), (("app", "other"), 202), (("app", "private"), 201)):
        holder = RegistryClient(client.driver, auth=Tokens(*names))
        assert holder.post(f"/v2/app/blobs/uploads/?mount={DIGEST}").status_code == status


def test_an_upload_after_a_mount_in_vain_is_hashed_as_the_mount_was_to_be(client):
    digest = Digest.of(CONTENT, "sha512")
    answer = client.post(f"/v2/app/blobs/uploads/?mount={digest}&from=empty")
    assert answer.status_code == 202
    url = send(client, answer.headers["Location"], CONTENT)
    assert [name for name in client.objects() if name.endswith("/algorithm-sha512")]
    done = client.put(f"{url}?digest={digest}")
    assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, str(digest))


class Pieces(MemoryDriver):
    """A driver that cannot compose objects shorter than this."""

    smallest_piece = 7000


def test_clients_are_told_which_chunks_are_too_short_to_be_kept_as_they_are(client):
    assert "OCI-Chunk-Min-Length" not in client.post("/v2/app/blobs/uploads/").headers
    careful = RegistryClient(Pieces())
    answer = careful.post("/v2/app/blobs/uploads/")
    assert answer.headers["OCI-Chunk-Min-Length"] == "7000"
    assert careful.patch(answer.headers["Location"], data=b"short").status_code == 202


def test_head_says_where_an_upload_stands_as_well(client):
    location = client.start("app")
    location = send(client, location, b"abc")
    head = client.head(location)
    assert (head.status_code, head.headers["Range"]) == (204, "0-2")
    assert head.headers == client.get(location).headers


@pytest.mark.parametrize("source", ["&from=empty", "&from=BAD", ""])
def test_where_there_is_nothing_to_mount_an_upload_begins(client, source):
    client.push_blob("source", CONTENT if source else b"another")
    answer = client.post(f"/v2/app/blobs/uploads/?mount={DIGEST}{source}")
    assert answer.status_code == 202
    assert client.put(f"{answer.headers['Location']}?digest={DIGEST}", data=CONTENT).status_code == 201


def test_an_alias_of_distribution_is_mounted_as_one(client):
    client.push_blob("source", CONTENT)
    alias = Digest.of(CONTENT, "sha512")
    client.driver.write(f"{ROOT}repositories/source/_layers/sha512/{alias.hex}/link", str(DIGEST).encode())
    assert client.post(f"/v2/app/blobs/uploads/?mount={alias}&from=source").status_code == 201
    assert blob(client, alias).data == CONTENT
    assert blob(client, DIGEST).data == CONTENT


# Races and lost clients


class Broken(io.RawIOBase):
    """What a server gives an app to read when the client goes away after some bytes."""

    def __init__(self, content, error=None):
        self._inner = io.BytesIO(content)
        self._error = error

    def read(self, size=-1):
        data = self._inner.read(size)
        if not data and self._error is not None:
            raise self._error
        return data


def broken_request(client, url, method, content, error=None):
    environ = EnvironBuilder(url, method=method).get_environ()
    environ["CONTENT_LENGTH"] = str(len(content) + 1)
    environ["wsgi.input"] = Broken(content, error)
    body, status, _ = run_wsgi_app(client.registry, environ)
    return int(status.split()[0]), b"".join(body)


@pytest.mark.parametrize("error", [None, OSError("timed out"), ValueError("no more data")])
@pytest.mark.parametrize("size", [50, 5000])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("before", [0, 70])
def test_a_client_that_goes_away_leaves_the_upload_as_it_was(client, caplog, error, size, method, before):
    url = client.start("app")
    if before:
        url = send(client, url, CONTENT[:before])
    objects = client.objects()
    query = f"?digest={DIGEST}" if method == "PUT" else ""
    status, body = broken_request(client, url + query, method, CONTENT[:size], error)
    assert status == 400
    assert b"BLOB_UPLOAD_INVALID" in body
    # Bytes that need objects of their own make the upload one that the storage knows.
    assert {path for path in client.objects() - objects if not path.endswith("/startedat")} == set()
    assert client.get(url).headers["Range"] == f"0-{max(before - 1, 0)}"
    assert not caplog.records


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST", "manifest"])
def test_a_chunked_body_that_the_server_does_not_hand_over_is_411_and_leaves_everything_as_it_was(
    client, method
):
    url = client.start("app")
    url = send(client, url, CONTENT[:70])
    objects = client.objects()
    targets = {"PATCH": url, "PUT": f"{url}?digest={DIGEST}", "manifest": "/v2/app/manifests/latest"}
    target = targets.get(method, f"/v2/app/blobs/uploads/?digest={DIGEST}")
    environ = EnvironBuilder(target, method=method if method in ("PATCH", "POST") else "PUT").get_environ()
    # As uWSGI has it: the input is empty, and nothing says that this is the whole body.
    environ.update({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO()})
    environ["CONTENT_TYPE"] = "application/vnd.oci.image.manifest.v1+json"
    environ.pop("wsgi.input_terminated", None)
    environ.pop("CONTENT_LENGTH", None)
    body, status, _ = run_wsgi_app(client.registry, environ, buffered=True)
    (error,) = json.loads(b"".join(body))["errors"]
    assert (status[:3], error["code"]) == ("411", "SIZE_INVALID")
    assert "chunked" in error["message"]
    assert client.objects() == objects
    url = send(client, url, CONTENT[70:])
    assert client.put(f"{url}?digest={DIGEST}").status_code == 201


def test_a_body_that_a_proxy_gave_a_length_is_read_although_it_was_chunked(client):
    # As nginx's uwsgi_pass has it.
    url = client.start("app")
    environ = EnvironBuilder(url, method="PATCH", data=CONTENT).get_environ()
    environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    environ.pop("wsgi.input_terminated", None)
    _, status, headers = run_wsgi_app(client.registry, environ, buffered=True)
    assert (status[:3], headers["Range"]) == ("202", f"0-{len(CONTENT) - 1}")


def test_a_client_that_goes_away_in_one_post_leaves_nothing(client):
    status, _ = broken_request(client, f"/v2/app/blobs/uploads/?digest={DIGEST}", "POST", CONTENT)
    assert (status, client.objects()) == (400, set())


@pytest.mark.parametrize("size", [20, 2000])
def test_of_chunks_that_race_one_wins_and_the_others_learn_where_the_upload_stands(client, size):
    url = client.start("app")
    url = send(client, url, b"begin")
    bodies = [bytes([65 + number]) * (size + number) for number in range(6)]
    together = threading.Barrier(len(bodies))

    class Waiting(io.BytesIO):
        def read(self, size=-1):
            if self.tell() == 0:
                together.wait(10)  # every request knows by now where the upload stood
            return super().read(size)

    answers: dict[int, tuple[int, str]] = {}

    def send_one(number):
        environ = EnvironBuilder(url, method="PATCH").get_environ()
        environ["CONTENT_LENGTH"] = str(len(bodies[number]))
        environ["wsgi.input"] = Waiting(bodies[number])
        _, status, headers = run_wsgi_app(client.registry, environ, buffered=True)
        answers[number] = int(status.split()[0]), headers["Range"]

    threads = [threading.Thread(target=send_one, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    winners = [number for number, (status, _) in answers.items() if status == 202]
    assert len(winners) == 1
    content = b"begin" + bodies[winners[0]]
    assert {status for status, _ in answers.values()} == {202, 416}
    assert {range_ for _, range_ in answers.values()} == {f"0-{len(content) - 1}"}
    pieces = [path for path in uploads(client) if "/piece-" in path]
    assert len(pieces) == (1 if size > 100 else 0)
    assert client.put(f"{url}?digest={Digest.of(content)}").status_code == 201


@pytest.mark.parametrize("size", [20, 2000])
def test_a_chunk_that_comes_when_the_upload_has_ended_is_told_and_leaves_nothing(client, size):
    url = client.start("app")
    url = send(client, url, CONTENT)

    class Late(io.BytesIO):
        def read(self, wanted=-1):
            if self.tell() == 0:
                assert client.put(f"{url}?digest={DIGEST}").status_code == 201
            return super().read(wanted)

    environ = EnvironBuilder(url, method="PATCH").get_environ()
    environ["CONTENT_LENGTH"] = str(size)
    environ["wsgi.input"] = Late(bytes(size))
    _, status, _ = run_wsgi_app(client.registry, environ, buffered=True)

    assert status.startswith("404 ")
    assert uploads(client) == set()


def test_puts_that_race_all_succeed_and_make_one_blob(client):
    url = client.start("app")
    url = send(client, url, CONTENT[:5000])
    url = send(client, url, CONTENT[5000:])
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(client.put(f"{url}?digest={DIGEST}").status_code))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert statuses == [201] * 4
    assert blob(client, DIGEST).data == CONTENT
    assert not uploads(client)


@settings(max_examples=examples(60), deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=60), max_size=7),
    last=st.binary(max_size=60),
    limit=st.integers(0, 40),
    algorithm=st.sampled_from(["sha256", "sha512"]),
)
def test_any_split_of_bytes_into_chunks_gives_the_blob(chunks, last, limit, algorithm):
    client = RegistryClient(MemoryDriver(), inline_limit=limit)
    content = b"".join(chunks) + last
    digest = Digest.of(content, algorithm)
    url = client.start("app")
    for data in chunks:
        url = send(client, url, data)
    assert client.put(f"{url}?digest={digest}", data=last).status_code == 201
    assert blob(client, digest).data == content
    assert not uploads(client)


# Uploads in flight


def test_beyond_the_limit_uploads_are_put_off_and_everything_else_goes_on(client):
    client.push_blob("app", CONTENT)
    busy = RegistryClient(client.driver, max_uploads=1)
    url = busy.start("app")
    reading, done = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size=-1):
            reading.set()
            done.wait(10)
            return super().read(size)

    def push():
        environ = EnvironBuilder(url, method="PATCH").get_environ()
        environ |= {"CONTENT_LENGTH": "4", "wsgi.input": Slow(b"slow")}
        run_wsgi_app(busy.registry, environ)

    thread = threading.Thread(target=push)
    thread.start()
    try:
        assert reading.wait(10)
        for method, path in (
            ("PATCH", url),
            ("PUT", url),
            ("POST", "/v2/app/blobs/uploads/"),
        ):
            environ = EnvironBuilder(path, method=method).get_environ()
            environ |= {"CONTENT_LENGTH": "4", "wsgi.input": None}  # reading it would be an error
            body, status, headers = run_wsgi_app(busy.registry, environ)
            assert status == "429 Too Many Requests"
            assert b"TOOMANYREQUESTS" in b"".join(body)
            assert int(headers["Retry-After"]) > 0
        assert busy.get("/v2/").status_code == 200
        assert blob(busy, DIGEST).data == CONTENT
        assert busy.get(url).status_code == 204
    finally:
        done.set()
        thread.join(10)
    assert busy.patch(url, data=b"next").status_code == 202


def test_a_place_is_given_back_after_a_failure():
    client = RegistryClient(MemoryDriver(), max_uploads=1)
    for _ in range(3):
        assert client.put(f"{client.start('app')}?digest={DIGEST}", data=b"wrong").status_code == 400


def test_a_read_only_registry_takes_nothing(client):
    url = client.start("app")
    careful = RegistryClient(client.driver, readonly=True)
    requests = [("POST", "/v2/app/blobs/uploads/"), ("PATCH", url), ("PUT", url), ("DELETE", url)]
    requests += [("PUT", "/v2/app/manifests/latest"), ("DELETE", "/v2/app/manifests/latest")]
    for method, path in requests:
        answer = careful.open(path, method=method, data=b"x")
        assert (answer.status_code, error_code(answer)) == (405, "UNSUPPORTED")
    assert careful.get(url).status_code == 204


# Where an upload goes on


@pytest.mark.parametrize(
    ("options", "headers", "start"),
    [
        ({}, {"Host": "r.example:5000"}, "http://r.example:5000/v2/"),
        ({}, {"Host": "r", "X-Forwarded-Proto": "https"}, "https://r/v2/"),
        ({}, {"Host": "r", "X-Forwarded-Proto": "HTTPS"}, "https://r/v2/"),
        ({}, {"Host": "r", "X-Forwarded-Proto": "gopher"}, "/v2/"),
        ({}, {"Host": "r", "X-Forwarded-Host": "front, r"}, "http://front/v2/"),
        (
            {},
            {"Host": "inner:5000", "Forwarded": 'for=192.0.2.1;host="reg.example.com";proto=https, host=x'},
            "https://reg.example.com/v2/",
        ),
        ({}, {"Host": "r", "Forwarded": "proto=https", "X-Forwarded-Host": "front"}, "https://r/v2/"),
        ({}, {"Host": "r", "Forwarded": 'host="', "X-Forwarded-Proto": "https"}, "http://r/v2/"),
        ({}, {"Host": "r", "Forwarded": 'host="a/b"'}, "/v2/"),
        ({"host": "https://h"}, {"Host": "r", "Forwarded": "host=x"}, "https://h/v2/"),
        ({}, {"Host": "a b/c"}, "/v2/"),
        ({}, {"Host": "[::1]:5000"}, "http://[::1]:5000/v2/"),
        ({"relativeurls": True}, {"Host": "r"}, "/v2/"),
        ({"host": "https://cdn.example/"}, {"Host": "r"}, "https://cdn.example/v2/"),
    ],
)
def test_locations_lead_to_where_clients_reach_the_registry(options, headers, start):
    client = RegistryClient(MemoryDriver(), **options)
    answer = client.post("/v2/app/blobs/uploads/", headers=headers)
    assert answer.headers["Location"].startswith(start + "app/blobs/uploads/")


def test_a_registry_under_a_prefix_leads_back_below_it():
    client = RegistryClient(MemoryDriver(), prefix="/hub/")
    answer = client.post("/hub/v2/app/blobs/uploads/")
    assert urlsplit(answer.headers["Location"]).path.startswith("/hub/v2/app/")
    assert client.get(answer.headers["Location"]).status_code == 204
    assert client.post("/v2/app/blobs/uploads/").status_code == 404


def test_a_registry_that_its_server_mounts_leads_back_there():
    client = RegistryClient(MemoryDriver())
    answer = client.post("/v2/app/blobs/uploads/", environ_overrides={"SCRIPT_NAME": "/own hub"})
    assert urlsplit(answer.headers["Location"]).path.startswith("/own%20hub/v2/app/")


@pytest.mark.parametrize(
    ("method", "url", "headers", "status", "code"),
    [
        ("PATCH", "/v2/app/blobs/uploads/unknown", {}, 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", f"/v2/app/blobs/uploads/unknown?digest={Digest.of(b'x')}", {}, 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", "/v2/app/blobs/uploads/unknown", {}, 400, "DIGEST_INVALID"),
        ("PUT", "/v2/app/blobs/uploads/unknown?digest=sha256:x", {}, 400, "DIGEST_INVALID"),
        ("PATCH", None, {"Content-Range": "5-9"}, 416, "BLOB_UPLOAD_INVALID"),
        ("POST", "/v2/app/blobs/uploads/?digest=sha256:x", {}, 400, "DIGEST_INVALID"),
    ],
)
def test_what_is_refused_anyway_is_refused_before_a_client_that_expects_sends_its_body(
    method, url, headers, status, code
):
    class Unasked(io.RawIOBase):
        def read(self, size=-1):
            raise AssertionError("the body was asked for")

    client = RegistryClient(MemoryDriver())
    answer = client.open(
        url or client.start("app"),
        method=method,
        headers={"Expect": "100-continue", **headers},
        environ_overrides={"CONTENT_LENGTH": "50000000", "wsgi.input": Unasked()},
    )

    assert (answer.status_code, error_code(answer)) == (status, code)


def test_a_put_that_is_repeated_with_an_expectation_is_answered_like_the_first():
    client = RegistryClient(MemoryDriver())
    url = f"{client.start('app')}?digest={Digest.of(b'bytes')}"
    for _ in range(2):
        assert client.put(url, data=b"bytes", headers={"Expect": "100-continue"}).status_code == 201
