"""S3 that is not Amazon's: a registry works over servers that lack something, and says what they lack."""

from __future__ import annotations

import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import pytest
from lab.other_s3 import OTHERS, is_conditional, is_operation
from lab.registry_client import RegistryClient, error_code, image_manifest
from lab.s3_proxy import always, refuse
from lab.servers import SMALLEST_PART
from lab.spread import spread
from lab.watched_s3 import WATCHED, WatchedS3

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError, ObjectExists, StorageNotReached, StorageRefused
from cfmiddleware.storage.s3 import S3Driver, S3Options
from cfmiddleware.storage.s3.copyplan import Source, plan

WITHOUT_CLEAN_UP = "nothing is deleted"


@pytest.fixture(params=WATCHED)
def server(request) -> WatchedS3:
    return request.getfixturevalue(request.param)


def client_of(server: WatchedS3, **options) -> RegistryClient:
    driver = server.driver(f"others/{uuid.uuid4()}", maxattempts=1, **options)
    return RegistryClient(driver, inline_limit=SMALLEST_PART)


def push_in_chunks(client: RegistryClient, *sizes: int) -> Digest:
    content = b"".join(bytes([number % 256]) * size for number, size in enumerate(sizes))
    url, begun = client.start("app"), 0
    for size in sizes:
        answer = client.patch(url, data=content[begun : begun + size])
        assert answer.status_code == 202, answer.text
        url = answer.headers["Location"]
        begun += size
    digest = Digest.of(content)
    answer = client.put(f"{url}?digest={digest}")
    assert answer.status_code == 201, answer.text
    assert client.get(f"/v2/app/blobs/{digest}").data == content
    return digest


#: Who sends the requests: the plain client, or boto3 for every one.
SENDERS = {"plain": {}, "boto3": {"loglevel": "debug"}}


@pytest.mark.parametrize(
    ("server", "what", "sender"), spread(WATCHED, OTHERS, SENDERS, together=2), indirect=["server"]
)
def test_pushes_pulls_and_deletes_work_over_every_such_server(server, what, sender):
    client = client_of(server, **SENDERS[sender])
    with server.failing(OTHERS[what](server)):
        part = SMALLEST_PART
        digests = [
            push_in_chunks(client, *sizes)
            for sizes in ([10], [7 * part], [3 * part] * 3, [5 * part, 2 * part + 7, 4 * part, 11], [20, 30])
        ]
        again = client.start("app")
        assert client.patch(again, data=b"x").status_code == 202
        if what != WITHOUT_CLEAN_UP:
            assert client.delete(again).status_code == 204
        manifest = image_manifest(digests[0], digests[1:])
        assert client.push_manifest("app", "latest", manifest).status_code == 201
        assert client.push_manifest("app", "other", manifest).status_code == 201
        assert client.get("/v2/_catalog").json["repositories"] == ["app"]
        if what != WITHOUT_CLEAN_UP:
            pushed = client.get("/v2/app/manifests/latest").headers["Docker-Content-Digest"]
            assert client.delete(f"/v2/app/manifests/{pushed}").status_code == 202
            assert client.get("/v2/app/tags/list").json["tags"] == []
            left = {path.rpartition("/")[2] for path in client.objects() if "/_uploads/" in path}
            assert left == {"startedat", "cancelled"}  # of the one that was cancelled


def test_a_clean_up_that_fails_changes_no_answer(server, caplog):
    client = client_of(server)
    with server.failing(OTHERS[WITHOUT_CLEAN_UP](server)):
        push_in_chunks(client, 10)
        push_in_chunks(client, *[7 * SMALLEST_PART] * 2)
        wrong = f"{client.start('app')}?digest={Digest.of(b'other')}"
        answer = client.put(wrong, data=b"bytes")
        assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")
        out_of_order = client.patch(client.start("app"), data=b"x", headers={"Content-Range": "5-5"})
        assert out_of_order.status_code == 416
    assert "something of a finished upload stays in" in caplog.text


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("403 Forbidden", "AccessDenied", 500),
        ("501 Not Implemented", "NotImplemented", 500),
        ("503 Slow Down", "SlowDown", 503),
        ("500 Internal Server Error", "InternalError", 503),
        ("409 Conflict", "OperationAborted", 503),
    ],
)
def test_only_a_refusal_that_may_pass_is_to_be_tried_again_later(server, status, code, expected):
    client = client_of(server)
    url = client.start("app")
    with server.failing(always(refuse(status, code), is_operation("PutObject"))):
        answer = client.patch(url, data=b"bytes")
    assert answer.status_code == expected
    assert ("try again later" in answer.text) == ("Retry-After" in answer.headers) == (expected == 503)


def test_a_batch_that_the_server_does_not_know_is_asked_for_once(server):
    driver = server.driver(f"others/{uuid.uuid4()}", maxattempts=1)
    with server.failing(OTHERS["no DeleteObjects"](server)):
        server.counts()
        for _ in range(3):
            driver.delete(["/a", "/b", "/c"])
    assert server.counts() == {"DeleteObject": 9, "DeleteObjects": 1}


# Parts of one length.


@pytest.mark.parametrize("mib", range(65, 201))
def test_the_parts_of_one_object_are_of_one_length_but_the_last(mib):
    for size in (mib << 20, (mib << 20) + 1, mib * 1_000_000):
        assert_equal(plan([Source("/x", size)], 5 << 20, 32 << 20))


@pytest.mark.parametrize(
    ("sizes", "read"),
    [
        ([10] * 7 + [3], 0),
        ([13] * 5, 0),
        ([20, 10, 10, 37], 0),
        ([64, 64, 1], 0),
        ([70, 41, 6], 2),
        ([5, 9, 7, 100], 3),
        ([1, 1, 1, 50], 1),
    ],
)
def test_pieces_of_any_length_make_equal_parts_and_little_of_them_is_read(sizes, read):
    parts = plan([Source(f"/{n}", size << 20) for n, size in enumerate(sizes)], 5 << 20, 32 << 20, equal=True)
    assert_equal(parts)
    sent = [sum(span.length for span in part.spans) for part in parts if not part.copied]
    assert len(sent) <= read
    assert all(length <= 5 << 20 for length in sent)


def assert_equal(parts):
    lengths = [sum(span.length for span in part.spans) for part in parts]
    assert len(set(lengths[:-1])) < 2
    assert lengths[-1] <= lengths[0]


# Conditional writes.


def test_where_conditional_writes_are_refused_the_registry_looks_first(server):
    driver = server.driver(f"others/{uuid.uuid4()}")
    with server.failing(OTHERS["conditional writes are refused"](server)):
        driver.create("/a", b"1")
        with pytest.raises(ObjectExists):
            driver.create("/a", b"2")
        assert driver.read("/a") == b"1"
        with server.noting() as requests:
            driver.create("/b", b"1")
    assert [request.operation for request in requests] == ["HeadObject", "PutObject"]


def test_with_required_a_server_that_refuses_conditional_writes_takes_no_chunk(server):
    driver = server.driver(f"others/{uuid.uuid4()}", conditionalwrites="required")
    with (
        server.failing(OTHERS["conditional writes are refused"](server)),
        pytest.raises(StorageRefused, match="NotImplemented"),
    ):
        driver.create("/a", b"1")


def test_with_off_no_write_has_a_condition(server):
    driver = server.driver(f"others/{uuid.uuid4()}", conditionalwrites="off")
    with server.failing(always(refuse("501 Not Implemented", "NotImplemented"), is_conditional)):
        assert driver.check_writes() == []
        driver.create("/a", b"1")
        with pytest.raises(ObjectExists):
            driver.create("/a", b"2")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("conditional writes are refused", "the server refuses If-None-Match (NotImplemented)"),
        ("conditional writes are passed over", "the server passes over If-None-Match and overwrites"),
    ],
)
def test_the_start_tries_a_conditional_write_and_says_what_becomes_of_it(server, what, words):
    for option in ("auto", "required"):
        driver = server.driver(f"others/{uuid.uuid4()}", conditionalwrites=option)
        with server.failing(OTHERS[what](server)):
            if option == "required":
                with pytest.raises(
                    ConfigError, match=r"storage\.s3\.conditionalwrites: the server "
                ) as raised:
                    driver.check_writes()
                assert words in str(raised.value)
            else:
                (line,) = driver.check_writes()
                assert line.startswith("storage.s3.conditionalwrites: ")
                assert words in line
        assert list(driver.walk("/")) == []


def test_a_server_that_has_all_is_not_complained_about(server):
    driver = server.driver(f"others/{uuid.uuid4()}", conditionalwrites="required")
    driver.check()
    assert driver.check_writes() == []
    assert list(driver.walk("/")) == []


@pytest.mark.parametrize(
    ("operation", "words"), [("PutObject", "s3:PutObject"), ("DeleteObject", "s3:DeleteObject")]
)
def test_a_key_that_may_not_write_is_told_at_the_start(server, operation, words):
    driver = server.driver(f"others/{uuid.uuid4()}")
    with server.failing(always(refuse("403 Forbidden", "AccessDenied"), is_operation(operation))):
        (line,) = driver.check_writes()
    assert words in line


def test_a_full_storage_does_not_keep_the_registry_from_starting(server):
    driver = server.driver(f"others/{uuid.uuid4()}")
    with server.failing(always(refuse("403 Forbidden", "QuotaExceeded"), is_operation("PutObject"))):
        (line,) = driver.check_writes()
    assert "no room" in line


def test_a_write_that_s3_has_no_time_for_at_the_start_is_waited_for(server):
    driver = server.driver(f"others/{uuid.uuid4()}")
    with (
        server.failing(always(refuse("503 Slow Down", "SlowDown"), is_operation("PutObject"))),
        pytest.raises(StorageNotReached),
    ):
        driver.check_writes()


def test_a_delete_that_fails_at_the_start_does_not_keep_the_registry_from_starting(server):
    driver = server.driver(f"others/{uuid.uuid4()}")
    failing = always(refuse("500 Internal Server Error", "InternalError"), is_operation("DeleteObject"))
    with server.failing(failing):
        (line,) = driver.check_writes()
    assert line.startswith("storage.s3.bucket: S3 does not delete at present (InternalError)")


def test_two_that_race_without_conditions_leave_a_blob_or_a_mismatch(server):
    """The weaker promise: a push may have to be repeated, and no wrong blob comes of it."""
    client = client_of(server, conditionalwrites="off")
    url = client.start("app")

    def send(data: bytes) -> int:
        return client.patch(url, data=data, headers={"Content-Range": "0-0"}).status_code

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(send, [b"a", b"b"]))
    assert set(statuses) <= {202, 416}
    answer = client.put(f"{url}?digest={Digest.of(b'a')}")
    assert answer.status_code in (201, 400)
    got = client.get(f"/v2/app/blobs/{Digest.of(b'a')}")
    assert (got.status_code == 404) if answer.status_code == 400 else (got.data == b"a")


def test_uploads_that_may_not_be_listed_are_said_seldom(server, caplog):
    driver = server.driver(f"others/{uuid.uuid4()}")
    with (
        caplog.at_level(logging.WARNING),
        server.failing(OTHERS["no ListMultipartUploads"](server)),
    ):
        for _ in range(3):
            driver.delete_prefix("/a/")
    assert caplog.text.count("s3:ListBucketMultipartUploads") == 1


# Access points.

ACCESS_POINT = "arn:aws:s3:eu-central-1:111122223333:accesspoint/registry"
HOST = "registry-111122223333.s3-accesspoint.eu-central-1.amazonaws.com"


def test_an_access_point_is_named_by_its_arn(monkeypatch):
    from lab.recording_s3 import recording

    with recording() as s3:
        monkeypatch.setenv("HTTP_PROXY", s3.url)
        driver = S3Driver(
            S3Options(
                bucket=ACCESS_POINT,
                region="eu-central-1",
                accesskey="AKIDTEST",
                secretkey="secret",
                secure=False,
                checksums=False,
                multipartcopythresholdsize=32 << 20,
            )
        )
        driver.check()
        driver.write("/a", b"x")
        driver.read("/a")
        driver.list("/")
        driver.compose("/b", ["/a"])
        driver.delete(["/a", "/b"])
        assert {request.host for request in s3.requests} == {HOST}
        headers = [header for request in s3.requests for header in request.headers.items()]
        sources = [value for name, value in headers if name.lower() == "x-amz-copy-source"]
        assert [unquote(source) for source in sources] == [f"{ACCESS_POINT}/object/a"]
        assert driver.presigner("a", 1 << 31)[0].startswith(f"http://{HOST}/a?X-Amz-Algorithm=")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"region": "us-east-1"}, "region: is us-east-1, but the access point is in eu-central-1"),
        ({"region": "eu-central-1", "forcepathstyle": True}, "forcepathstyle: "),
        ({"region": "eu-central-1", "accelerate": True}, "accelerate: "),
        (
            {"region": "eu-central-1", "bucket": "arn:aws:s3:::registry"},
            "bucket: is not the ARN of an access",
        ),
        ({"region": "eu-central-1", "bucket": "a/b"}, "bucket: is a name without slashes"),
    ],
)
def test_an_access_point_that_cannot_work_is_told(options, named):
    with pytest.raises(ConfigError) as raised:
        S3Options(**{"bucket": ACCESS_POINT, **options})
    assert str(raised.value).startswith(named)


@pytest.mark.parametrize("options", [{}, {"loglevel": "debug"}, {"checksums": True}])
def test_a_batch_of_deletes_has_an_md5_whichever_client_sends_it(server, options):
    driver = server.driver(f"others/{uuid.uuid4()}", **options)
    for path in ("/a", "/ä"):
        driver.write(path, b"x")
    with server.failing(OTHERS["Content-MD5 is wanted"](server)):
        server.counts()
        driver.delete(["/a", "/ä"])
    assert server.counts() == {"DeleteObjects": 1}
    assert list(driver.walk("/")) == []
