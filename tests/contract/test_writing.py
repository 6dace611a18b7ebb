"""How uploads reach S3: in which requests, parts and buffers, and what stays when they fail."""

from __future__ import annotations

import csv
import io
import json
import threading
import uuid
from collections.abc import Iterator

import pytest
from lab import PROJECT
from lab.registry_client import RegistryClient, error_code, image_manifest
from lab.s3_proxy import always, drain, in_turn, lose_the_answer, once, refuse
from lab.servers import SMALLEST_PART

from cfmiddleware.digest import Digest
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.signing.keys import generate

DOCUMENT = PROJECT / "docs" / "s3-requests.rst"

BLOB = bytes(range(256)) * 256
PART = 2 * SMALLEST_PART


@pytest.fixture
def client(watched_s3) -> RegistryClient:
    """A registry with small parts whose states carry next to nothing."""
    return RegistryClient(watched_s3.driver(f"team/{uuid.uuid4()}", smallest_part=100), inline_limit=100)


def is_method(method, query=""):
    return lambda environ: environ["REQUEST_METHOD"] == method and query in environ["QUERY_STRING"]


def send(client, url, data):
    """Send bytes and return the URL to go on at."""
    answer = client.patch(url, data=data)
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def left_below(client, folder="_uploads/"):
    return [path for path in client.objects() if folder in path]


def content(size: int) -> bytes:
    return (b"%16d" * (size // 16 + 1) % tuple(range(size // 16 + 1)))[:size]


@pytest.mark.parametrize("first", [SMALLEST_PART - 10, 3])
def test_chunks_of_a_byte_never_take_more_than_four_times_what_was_sent(watched_s3, first):
    driver = watched_s3.driver(f"team/{uuid.uuid4()}")
    client = RegistryClient(driver, inline_limit=100)
    url, sent = client.start("app"), content(first)
    for number in range(20):
        sent += sent[:1]
        url = send(client, url, sent[-1:] if number else sent)
        stored = sum(stat.size for _, stat in driver.walk("/docker/"))
        assert stored <= 4 * len(sent) + 1000
    assert client.put(f"{url}?digest={Digest.of(sent)}").status_code == 201
    assert left_below(client) == []


# Requests.


def documented() -> list[tuple[str, str]]:
    """Return what the table says: a client's request with the number of the wait, and a request to S3."""
    table = DOCUMENT.read_text().partition(".. csv-table::")[2].partition("\nThat is")[0]
    rows = "\n".join(line.strip() for line in table.splitlines() if line.strip().startswith('"'))
    return [(f"{row[0]} {row[1]}", row[2]) for row in csv.reader(io.StringIO(rows), skipinitialspace=True)]


@pytest.fixture
def sent(watched_s3) -> Iterator[tuple[RegistryClient, list[str]]]:
    """A registry as it is by default, behind the wrapper, and the operations that it asks S3 for."""
    as_ever = {"smallest_part": 5 << 20, "chunksize": 10 << 20, "multipartcopychunksize": 32 << 20}
    driver = watched_s3.driver(str(uuid.uuid4()), **as_ever)
    # What collections are about to delete is looked at once a second, whatever is pushed.
    condemned = Condemned(driver, clock=lambda: 0.0)
    condemned.look_ahead()
    operations: list[str] = []
    driver.client().meta.events.register(
        "before-send.s3", lambda event_name, **kwargs: operations.append(event_name.rpartition(".")[2])
    )
    client = RegistryClient(driver, condemned=condemned)
    client.application = CloudFrontMiddleware(
        client.registry,
        baseurl="https://d111111abcdef8.cloudfront.net",
        privatekey=generate("ecdsa").private_pem,
        keypairid="K2JCJMDEHXQW5F",
    )
    return client, operations


def test_a_small_image_costs_the_requests_that_the_documentation_lists(sent):
    client, operations = sent
    seen: list[tuple[str, str]] = []

    def step(name, status, answer):
        assert answer.status_code == status, answer.text
        seen.extend((name, operation) for operation in operations)
        operations.clear()
        return answer

    listed = [(request.rpartition(" ")[0], operation) for request, operation in documented()]

    digest = Digest.of(BLOB)
    client.start("app")  # which makes the secret that signs uploads, once for all
    operations.clear()
    url = client.start("app")
    assert operations == []
    url = step("PATCH", 202, client.patch(url, data=BLOB)).headers["Location"]
    step("PUT", 201, client.put(f"{url}?digest={digest}"))
    step("GET blob", 307, client.get(f"/v2/app/blobs/{digest}"))
    blob = len(seen)
    step("PUT manifest", 201, client.push_manifest("app", "latest", image_manifest(digest, [digest])))
    step("GET manifest", 200, client.get("/v2/app/manifests/latest"))

    # Of those that go side by side, now one comes first and now another.
    assert sorted(seen) == sorted(listed)
    assert (blob, len(seen)) == (6, 15)
    pushing = {request for request, _ in documented() if not request.startswith("GET")}
    assert (len(pushing), sum(not name.startswith("GET") for name, _ in seen)) == (7, 11)


def test_each_blob_that_a_manifest_refers_to_is_looked_for_with_one_request(sent):
    client, operations = sent
    layers = [client.push_blob("app", b"%d" % number) for number in range(5)]
    operations.clear()

    client.push_manifest("app", "latest", image_manifest(layers[0], [*layers, layers[1]]))

    assert operations.count("HeadObject") == 5 + 1
    assert operations.count("PutObject") == 4


def test_a_blob_whose_digest_comes_first_goes_straight_to_its_place(sent):
    client, operations = sent
    client.push_blob("app", BLOB)

    assert operations == ["PutObject", "PutObject"]


def test_put_reads_nothing_back_after_one_patch(client, watched_s3):
    blob = content(5 * PART)
    url = client.start("app")
    url = send(client, url, blob)
    with watched_s3.noting() as requests:
        assert client.put(f"{url}?digest={Digest.of(blob)}").status_code == 201

    # What is listed has a query. The one object that is read is the state.
    assert [request.query for request in requests if request.method == "GET"].count("") == 1
    assert client.get(f"/v2/app/blobs/{Digest.of(blob)}").data == blob


# Parts.


def test_parts_keep_their_size_to_the_end(watched_s3):
    driver = watched_s3.driver(str(uuid.uuid4()))
    driver.write("/x", b"")
    with driver.writer("/a") as writer:
        writer.write(bytes(7 * PART + 1))
        writer.commit()

    part = driver.head("/a", PartNumber=7)
    assert part["ContentLength"] in (PART, 7 * PART + 1)  # a server that does not know of parts says all
    assert driver.head("/a")["ETag"].endswith('-8"')


@pytest.mark.parametrize(
    ("size", "pieces"), [(3 * PART, 1), (3 * PART + 1, 1), (7 * PART + 50, 3), (9 * PART + 500, 4)]
)
def test_an_upload_of_more_parts_than_s3_takes_goes_on_in_another_piece(watched_s3, size, pieces):
    driver = watched_s3.driver(str(uuid.uuid4()), smallest_part=100, most_parts=3)
    client = RegistryClient(driver, inline_limit=100)
    blob = content(size)
    url = client.start("app")

    url = send(client, url, blob)
    assert sum("/piece-" in path for path in client.objects()) == pieces
    assert client.put(f"{url}?digest={Digest.of(blob)}").status_code == 201
    assert client.get(f"/v2/app/blobs/{Digest.of(blob)}").data == blob
    assert left_below(client) == []


@pytest.mark.parametrize("form", ["post", "put"])
def test_a_blob_of_more_parts_than_s3_takes_does_not_go_straight_to_its_place(watched_s3, form):
    driver = watched_s3.driver(str(uuid.uuid4()), smallest_part=100, most_parts=3)
    client = RegistryClient(driver, inline_limit=100)
    blob = content(8 * PART)
    digest = Digest.of(blob)

    if form == "post":
        answer = client.post(f"/v2/app/blobs/uploads/?digest={digest}", data=blob)
    else:
        answer = client.put(f"{client.start('app')}?digest={digest}", data=blob)

    assert answer.status_code == 201
    assert client.get(f"/v2/app/blobs/{digest}").data == blob
    assert left_below(client) == []


def test_a_blob_that_turns_out_to_have_too_many_parts_is_refused_and_leaves_nothing(watched_s3):
    driver = watched_s3.driver(str(uuid.uuid4()), smallest_part=100, most_parts=3)
    client = RegistryClient(driver, inline_limit=100)
    blob = content(8 * PART)

    answer = client.post(
        f"/v2/app/blobs/uploads/?digest={Digest.of(blob)}",
        input_stream=io.BytesIO(blob),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )

    assert (answer.status_code, error_code(answer)) == (413, "SIZE_INVALID")
    assert client.objects() == set()
    assert watched_s3.unfinished_uploads() == 0


# Buffers.


class Gate:
    """A fault that holds every part until it is opened, and counts those that wait."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, environ, start_response, app):
        if "partNumber" not in environ["QUERY_STRING"]:
            return
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self.waiting.release()
        self.open.wait(20)
        with self._lock:
            self._now -= 1
        return


@pytest.mark.parametrize(("ceiling", "buffers", "sent"), [(2, 9, 2), (9, 3, 3), (4, 1, 1)])
def test_parts_are_sent_while_the_next_one_is_read_up_to_both_ceilings(watched_moto, ceiling, buffers, sent):
    driver = watched_moto.driver(str(uuid.uuid4()), maxpartsinflight=ceiling, uploadbuffers=buffers)
    gate = Gate()

    def write():
        with driver.writer("/a") as writer:
            writer.write(bytes(12 * PART))
            writer.commit()

    with watched_moto.failing(gate):
        thread = threading.Thread(target=write)
        thread.start()
        for _ in range(sent):
            assert gate.waiting.acquire(timeout=10)
        assert not gate.waiting.acquire(timeout=0.1)
        gate.open.set()
        thread.join(30)

    assert gate.most == sent
    assert driver.stat("/a").size == 12 * PART
    assert driver._budget.taken == 0


def test_a_client_that_stops_sending_keeps_one_buffer_alone(watched_moto):
    driver = watched_moto.driver(str(uuid.uuid4()), uploadbuffers=3)
    with driver.writer("/slow") as slow:
        slow.write(bytes(5 * PART + 1))
        with driver.writer("/other") as other:
            other.write(bytes(5 * PART))
            other.commit()
        assert driver._budget.taken == 1
        slow.commit()

    assert driver._budget.taken == 0


def test_buffers_come_back_from_an_upload_that_fails(watched_moto):
    driver = watched_moto.driver(str(uuid.uuid4()), uploadbuffers=3)
    refused = always(refuse("403 Forbidden", "AccessDenied"), is_method("PUT", "partNumber=2"))
    with (
        watched_moto.failing(refused),
        driver.writer("/a") as writer,
        pytest.raises(Exception, match="Denied"),
    ):
        writer.write(bytes(20 * PART))

    assert driver._budget.taken == 0
    assert watched_moto.unfinished_uploads() == 0


# Failures.

SLOW_DOWN = refuse("503 Slow Down", "SlowDown")


def assert_unavailable(answer):
    assert (answer.status_code, error_code(answer)) == (503, "UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.fixture
def impatient(watched_s3) -> RegistryClient:
    """A registry that sends every request once."""
    driver = watched_s3.driver(str(uuid.uuid4()), smallest_part=100, maxattempts=1)
    return RegistryClient(driver, inline_limit=100)


@pytest.mark.parametrize("query", ["uploads", "partNumber=1", "partNumber=3", "uploadId"])
def test_a_patch_that_s3_refuses_for_good_has_no_effect_and_leaves_no_parts(impatient, watched_s3, query):
    blob = content(6 * PART)
    url = impatient.start("app")
    refused = always(SLOW_DOWN, lambda environ: query in environ["QUERY_STRING"] and not_cleanup(environ))
    with watched_s3.failing(refused):
        assert_unavailable(impatient.patch(url, data=blob))

    assert watched_s3.unfinished_uploads() == 0
    assert impatient.get(url).headers["Range"] == "0-0"
    assert [path.rpartition("/")[2] for path in left_below(impatient)] == ["startedat"]
    url = send(impatient, url, blob)
    assert impatient.put(f"{url}?digest={Digest.of(blob)}").status_code == 201


def not_cleanup(environ):
    return environ["REQUEST_METHOD"] in ("PUT", "POST")


@pytest.mark.parametrize("query", ["uploads", "partNumber=1", "uploadId"])
def test_a_put_that_s3_refuses_for_good_shows_nothing_and_can_be_sent_again(impatient, watched_s3, query):
    blob = content(6 * PART)
    digest = Digest.of(blob)
    url = impatient.start("app")
    url = send(impatient, url, blob)
    refused = always(SLOW_DOWN, lambda environ: query in environ["QUERY_STRING"] and not_cleanup(environ))
    with watched_s3.failing(refused):
        assert_unavailable(impatient.put(f"{url}?digest={digest}"))

    assert watched_s3.unfinished_uploads() == 0
    assert impatient.get(f"/v2/app/blobs/{digest}").status_code == 404
    assert left_below(impatient, "/blobs/") == []
    assert impatient.put(f"{url}?digest={digest}").status_code == 201
    assert impatient.get(f"/v2/app/blobs/{digest}").data == blob


def test_a_blob_whose_digest_is_wrong_is_never_completed(client, watched_s3):
    answer = client.post(f"/v2/app/blobs/uploads/?digest={Digest.of(b'other')}", data=content(6 * PART))

    assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")
    assert watched_s3.unfinished_uploads() == 0
    assert client.objects() == set()


def is_the_state(environ):
    return environ["REQUEST_METHOD"] == "PUT" and "/state-" in environ["PATH_INFO"]


def test_a_state_that_was_created_although_nobody_heard_of_it_is_in_force(impatient, watched_s3):
    url = impatient.start("app")
    with watched_s3.failing(once(lose_the_answer, is_the_state)):
        answer = impatient.patch(url, data=b"small", headers={"Content-Range": "0-4"})
    assert answer.status_code == 202

    assert impatient.get(url).headers["Range"] == "0-4"


def test_an_upload_whose_beginning_was_not_heard_of_leaves_nothing_when_it_ends(client, watched_s3):
    blob = content(6 * PART)
    url = client.start("app")
    with watched_s3.failing(once(lose_the_answer, is_method("POST", "uploads"))):
        url = send(client, url, blob)
    assert client.put(f"{url}?digest={Digest.of(blob)}").status_code == 201

    assert watched_s3.unfinished_uploads() == 0


def test_an_upload_is_aborted_until_s3_has_no_parts_of_it_any_more(watched_moto):
    driver = watched_moto.driver(str(uuid.uuid4()))
    unheard = once(answer_as_if_done, is_method("DELETE", "uploadId"))
    with watched_moto.failing(unheard), driver.writer("/a") as writer:
        writer.write(bytes(5 * PART))

    assert watched_moto.unfinished_uploads() == 0


def answer_as_if_done(environ, start_response, app):
    drain(environ)
    start_response("204 No Content", [])
    return []


def test_keys_that_s3_had_no_time_to_delete_are_deleted_after_all(watched_moto):
    driver = watched_moto.driver(str(uuid.uuid4()))
    for path in ("/a", "/b"):
        driver.write(path, b"")

    def no_time(environ, start_response, app):
        drain(environ)
        start_response("200 OK", [("Content-Type", "application/xml")])
        key = driver.key("/a").encode()
        return [b"<DeleteResult><Error><Key>%s</Key><Code>SlowDown</Code></Error></DeleteResult>" % key]

    with watched_moto.failing(in_turn([no_time], is_method("POST", "delete"))):
        driver.delete(["/a", "/b"])

    # The second request was for the one that was named.
    assert driver.list("/") == ["b"]


def test_a_put_that_is_sent_twice_has_one_effect(client):
    blob = content(6 * PART)
    url = client.start("app")
    url = send(client, url, blob)
    answers = [client.put(f"{url}?digest={Digest.of(blob)}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert client.get(f"/v2/app/blobs/{Digest.of(blob)}").data == blob
    assert json.loads(client.get("/v2/_catalog").data) is not None
