"""What the S3 driver promises beyond the contract, above all when S3 fails."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import uuid

import pytest
from lab.s3_proxy import (
    always,
    cut,
    cut_body_at,
    drain,
    in_turn,
    lose_the_answer,
    once,
    refuse,
)
from lab.servers import SMALLEST_PART
from lab.watched_s3 import WATCHED, WATCHED_ALSO_OVER_TLS

from cfmiddleware.errors import ConfigError, ObjectExists, ObjectNotFound, StorageUnavailable
from cfmiddleware.storage.s3 import S3Driver, S3Options
from cfmiddleware.storage.s3.openbodies import OpenBodies


@pytest.fixture(params=WATCHED)
def server(request):
    return request.getfixturevalue(request.param)


#: Next to the function, so that the server comes first in the test's id: `lab.schedule` looks for it there.
also_over_tls = pytest.mark.parametrize("server", WATCHED_ALSO_OVER_TLS, indirect=True)


@pytest.fixture
def driver(server):
    return server.driver(f"team/{uuid.uuid4()}")


def is_method(method, query=""):
    return lambda environ: environ["REQUEST_METHOD"] == method and query in environ["QUERY_STRING"]


def etag(driver, path):
    return driver.head(path)["ETag"].strip('"')


# Requests: each costs a round trip and money.


def test_an_object_of_up_to_one_part_is_written_with_one_request(server, driver):
    with server.noting() as requests:
        for size in (0, 1, 2 * SMALLEST_PART):
            with driver.writer("/a") as writer:
                writer.write(bytes(size))
                writer.commit()
        driver.create("/b", b"")

    assert [request.method for request in requests] == ["PUT"] * 4


def test_a_larger_object_is_sent_in_parts(server, driver):
    with driver.writer("/a") as writer:
        for _ in range(50):
            writer.write(bytes(SMALLEST_PART // 10))
        writer.commit()

    assert etag(driver, "/a").endswith("-3")
    assert server.unfinished_uploads() == 0


def test_large_objects_are_composed_without_being_read(server, driver):
    driver.write("/a", bytes(5000))
    with server.noting() as requests:
        driver.compose("/one", ["/a"])
        driver.compose("/two", ["/a", "/a"])

    assert "GET" not in {request.method for request in requests}
    assert driver.stat("/two").size == 10_000


def test_a_small_object_is_copied_with_one_request(server, driver):
    driver.write("/a", bytes(500))
    with server.noting() as requests:
        driver.compose("/b", ["/a"])

    assert [request.method for request in requests] == ["HEAD", "PUT"]


@pytest.mark.parametrize("begins_in_the_middle", [True, False])
def test_a_long_walk_finds_everything_once(server, monkeypatch, begins_in_the_middle):
    driver = server.driver(str(uuid.uuid4()), shared=True, page_size=2)
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(60)]
    written = [f"/blobs/sha256/{digest[:2]}/{digest}/data" for digest in digests]
    written += [f"/links/sha256/{digest}/link" for digest in digests[:30]]
    written += [f"/links/tags/v{number}/link" for number in range(20)]
    for path in written:
        driver.write(path, b"x")
    if not begins_in_the_middle:
        pages = S3Driver._pages
        monkeypatch.setattr(
            S3Driver, "_pages", lambda self, prefix, delimiter="", after="": pages(self, prefix)
        )
    parts = []
    inner = S3Driver._walk_part
    monkeypatch.setattr(
        S3Driver,
        "_walk_part",
        lambda self, prefix, part, *rest: (parts.append(part), inner(self, prefix, part, *rest))[1],
    )

    for folder in ("/blobs/", "/links/", "/"):
        found = [path for path, stat in driver.walk(folder) if stat.size == 1]
        assert sorted(found) == sorted(path for path in written if path.startswith(folder))
    assert len(parts) > 5
    driver.delete_prefix("/")


def test_more_objects_than_a_page_holds_are_listed_walked_and_deleted(server):
    driver = server.driver(str(uuid.uuid4()), shared=True, page_size=10)
    for number in range(15):
        driver.write(f"/many/{number:04}/x", b"")

    with server.noting() as requests:
        assert driver.list("/many/") == [f"{number:04}/" for number in range(15)]
    assert [request.method for request in requests] == ["GET", "GET"]
    assert sum(1 for _ in driver.walk("/many/")) == 15
    with server.noting() as requests:
        driver.delete_prefix("/many/")
    assert [request.method for request in requests if "delete" in request.query] == ["POST", "POST"]
    assert driver.list("/") == []


def write_in_every_way(driver, *, copy=True):
    """Write objects in each way that the driver knows, and return what S3 says of each."""
    driver.write("/put", b"")
    driver.create("/created", b"")
    with driver.writer("/parts") as writer:
        writer.write(bytes(5000))
        writer.commit()
    paths = ["/put", "/created", "/parts"]
    if copy:
        driver.compose("/copied", ["/put"])
        driver.compose("/composed", ["/parts", "/parts"])
        paths += ["/copied", "/composed"]
    return [driver.head(path) for path in paths]


def test_new_objects_are_stored_as_the_options_say(server):
    for head in write_in_every_way(server.driver(str(uuid.uuid4()), storageclass="STANDARD_IA")):
        assert head["StorageClass"] == "STANDARD_IA"
        assert head["ContentType"] == "application/octet-stream"


def test_new_objects_are_encrypted_as_the_options_say(server):
    keyid = server.server.kms_key
    driver = server.driver(str(uuid.uuid4()), encrypt=True, keyid=keyid)

    # The gateway, which needs a key, copies no objects that are encrypted.
    for head in write_in_every_way(driver, copy=not keyid):
        assert head["ServerSideEncryption"] == ("aws:kms" if keyid else "AES256")
        assert head.get("SSEKMSKeyId", "") == keyid


def test_keys_of_other_programs_do_no_harm(server, driver):
    root = driver.key("/x")[:-1]
    for key in ("", "a/", "a//b", "c"):
        server.client.put_object(Bucket=server.bucket, Key=root + key)

    assert driver.list("/") == ["a/", "c"]
    assert driver.list("/a/") == []
    assert [path for path, _ in driver.walk("/")] == ["/c"]
    driver.delete_prefix("/")
    assert "Contents" not in server.client.list_objects_v2(Bucket=server.bucket, Prefix=root)


# Failures.


@pytest.mark.parametrize("position", [0, 1, 300_000])
@also_over_tls
def test_a_body_that_breaks_off_is_read_on_from_there(server, driver, position):
    content = b"".join(b"%d;" % number for number in range(100_000))
    driver.write("/a", content)

    with server.failing(once(cut_body_at(position), is_method("GET"))):
        assert driver.read("/a") == content
    with server.failing(once(cut_body_at(position), is_method("GET"))):
        assert b"".join(driver.open("/a", 1000, 400_000)) == content[1000:401_000]


@also_over_tls
def test_a_body_that_breaks_off_again_and_again_is_read_as_long_as_it_goes_on(server, driver):
    driver.write("/a", bytes(2_000_000))

    with server.failing(always(cut_body_at(300_000), is_method("GET"))):
        assert driver.read("/a") == bytes(2_000_000)


def test_a_body_that_does_not_go_on_is_given_up(server, driver):
    driver.write("/a", bytes(2_000_000))

    with (
        server.failing(always(cut_body_at(0), is_method("GET"))),
        pytest.raises(StorageUnavailable, match=r"^S3 broke off /a at byte 0: "),
    ):
        driver.read("/a")


def test_two_objects_are_never_read_as_one(server, driver):
    driver.write("/a", b"a" * 2_000_000)
    with server.failing(once(cut_body_at(300_000), is_method("GET"))):
        reader = driver.open("/a")
        next(reader)
        driver.write("/a", b"b" * 2_000_000)

        with pytest.raises(StorageUnavailable, match=r"^/a was changed while it was read$"):
            b"".join(reader)


@also_over_tls
def test_an_object_that_was_created_although_the_answer_was_lost_is_ours(server, driver):
    with server.failing(once(lose_the_answer, is_method("PUT"))):
        driver.create("/a", b"unique")

    assert driver.read("/a") == b"unique"


def test_an_object_of_somebody_else_is_not_ours_because_an_answer_was_lost(server, driver):
    driver.write("/a", b"of somebody else")

    with server.failing(once(lose_the_answer, is_method("PUT"))), pytest.raises(ObjectExists):
        driver.create("/a", b"unique")


def test_a_write_that_conflicts_with_another_one_is_tried_again(server, driver):
    conflict = refuse("409 Conflict", "ConditionalRequestConflict")
    with server.failing(once(conflict, is_method("PUT"))):
        driver.create("/a", b"unique")

    assert driver.read("/a") == b"unique"


NO_UPLOAD = refuse("404 Not Found", "NoSuchUpload")


def test_an_upload_that_was_completed_although_the_answer_was_lost_is_complete(server, driver):
    with driver.writer("/a") as writer:
        writer.write(bytes(5000))
        with server.failing(in_turn([lose_the_answer, NO_UPLOAD], is_method("POST", "uploadId"))):
            writer.commit()

    assert driver.stat("/a").size == 5000


@pytest.mark.parametrize("faults", [[NO_UPLOAD], [lambda environ, *_: cut(environ), NO_UPLOAD]])
@also_over_tls
def test_an_upload_that_is_gone_is_not_complete(server, driver, faults):
    driver.write("/a", b"of before")
    with driver.writer("/a") as writer:
        writer.write(bytes(5000))
        with (
            server.failing(in_turn(faults, is_method("POST", "uploadId"))),
            pytest.raises(StorageUnavailable, match="NoSuchUpload"),
        ):
            writer.commit()

    assert driver.read("/a") == b"of before"
    assert server.unfinished_uploads() == 0


def test_a_part_that_cannot_be_sent_ends_the_upload_and_leaves_nothing(server, driver):
    refused = always(refuse("403 Forbidden", "AccessDenied"), is_method("PUT", "partNumber=2"))
    with server.failing(refused), driver.writer("/a") as writer:
        with pytest.raises(StorageUnavailable, match=r"^S3 refused UploadPart of /a: AccessDenied \(403\)$"):
            writer.write(bytes(100_000))
        with pytest.raises(ValueError, match="before"):
            writer.commit()

    assert server.unfinished_uploads() == 0
    assert driver.list("/") == []


def test_a_composition_that_fails_leaves_nothing(server, driver):
    driver.write("/a", bytes(5000))
    refused = always(refuse("403 Forbidden", "AccessDenied"), is_method("PUT", "partNumber=2"))
    with server.failing(refused), pytest.raises(StorageUnavailable):
        driver.compose("/b", ["/a", "/a"])

    assert server.unfinished_uploads() == 0
    assert driver.list("/") == ["a"]


def test_a_request_that_s3_has_no_time_for_is_sent_again(server, driver):
    with server.failing(once(refuse("503 Slow Down", "SlowDown"))):
        driver.write("/a", b"content")

    assert driver.read("/a") == b"content"


def test_a_refusal_is_one_line_without_secrets(server, driver):
    with (
        server.failing(always(refuse("403 Forbidden", "SignatureDoesNotMatch"))),
        pytest.raises(StorageUnavailable) as raised,
    ):
        driver.read("/a")

    assert str(raised.value) == "S3 refused GetObject of /a: SignatureDoesNotMatch (403)"


def test_objects_that_s3_does_not_delete_are_an_error(server, driver):
    def deny(environ, start_response, app):
        drain(environ)
        start_response("200 OK", [("Content-Type", "application/xml")])
        return [
            b"<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code></Error>"
            b"<Error><Key>l</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
        ]

    with (
        server.failing(always(deny)),
        pytest.raises(StorageUnavailable, match=r"did not delete 1 objects, the first /k: AccessDenied$"),
    ):
        driver.delete(["/a", "/b"])


def test_a_key_that_is_too_long_for_s3_is_no_object(server, driver):
    with (
        server.failing(always(refuse("400 Bad Request", "KeyTooLongError"))),
        pytest.raises(ObjectNotFound),
    ):
        driver.read("/" + "x" * 2000)


# The check at start-up.


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        (
            "404 Not Found",
            "NoSuchBucket",
            "bucket: there is no bucket '{bucket}' at {endpoint}",
        ),
        ("403 Forbidden", "AccessDenied", "accesskey: this key may not list the bucket"),
        ("403 Forbidden", "InvalidAccessKeyId", "accesskey: {endpoint}"),
        (
            "403 Forbidden",
            "SignatureDoesNotMatch",
            "secretkey: is not the secret that belongs to the accesskey",
        ),
        ("400 Bad Request", "ExpiredToken", "sessiontoken: has expired"),
        ("400 Bad Request", "Surprise", "regionendpoint: {endpoint}"),
    ],
)
def test_what_is_wrong_at_the_start_is_one_line_that_names_the_option(server, driver, status, code, line):
    with server.failing(always(refuse(status, code))), pytest.raises(ConfigError) as raised:
        driver.check()

    assert str(raised.value).startswith(
        f"storage.s3.{line.format(endpoint=server.endpoint, bucket=server.bucket)}"
    )
    assert server.server.secret_key not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_not_there_is_one_line():
    # Port 1 is nobody's.
    options = S3Options(bucket="b-ucket", regionendpoint="http://127.0.0.1:1", accesskey="a", secretkey="b")
    with pytest.raises(ConfigError, match=r"^storage\.s3\.regionendpoint: .* cannot be reached$"):
        S3Driver(options).check()


def test_no_credentials_anywhere_are_one_line(server):
    with pytest.raises(ConfigError, match=r"^storage\.s3\.accesskey: is missing, and boto3 found no cred"):
        server.driver("", accesskey="", secretkey="").check()


def test_a_bucket_that_no_bucket_can_be_is_one_line(server):
    with pytest.raises(ConfigError, match=r"^storage\.s3\.bucket: 'a b' is not the name of a bucket$"):
        server.driver("", bucket="a b").check()


# Processes.

_FORKS = """
import os, sys
from cfmiddleware.storage.s3 import S3Driver, S3Options
names = ("bucket", "regionendpoint", "rootdirectory", "accesskey", "secretkey")
driver = S3Driver(S3Options(**dict(zip(names, sys.argv[1:]))))
driver.write("/parent", b"")
before = driver._client()
children = []
for number in range(3):
    child = os.fork()
    if not child:
        assert driver._client() is not before
        for round in range(10):
            driver.write(f"/{number}", b"%d" % number)
            assert driver.read(f"/{number}") == b"%d" % number
        os._exit(0)
    children.append(child)
for round in range(10):
    assert driver.read("/parent") == b""
assert driver._client() is before
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
"""


@also_over_tls
def test_a_driver_can_be_used_on_both_sides_of_a_fork(server, driver):
    root = driver.key("/x")[:-2]
    options = [server.bucket, server.endpoint, root, server.server.access_key, server.server.secret_key]
    subprocess.run([sys.executable, "-c", _FORKS, *options], check=True, timeout=60)

    assert driver.list("/") == ["0", "1", "2", "parent"]


# TLS.


def test_a_certificate_that_nobody_vouches_for_is_refused(watched_ceph_over_tls, monkeypatch):
    monkeypatch.delenv("AWS_CA_BUNDLE")

    with pytest.raises(ConfigError, match=r"^storage\.s3\.skipverify: the certificate of ") as raised:
        watched_ceph_over_tls.driver("").check()

    assert "\n" not in str(raised.value)


def test_skipverify_takes_any_certificate(watched_ceph_over_tls, monkeypatch):
    monkeypatch.delenv("AWS_CA_BUNDLE")
    driver = watched_ceph_over_tls.driver(str(uuid.uuid4()), skipverify=True)

    driver.check()
    driver.write("/a", b"content")
    assert driver.read("/a") == b"content"


def test_an_answer_that_was_closed_because_nobody_read_it_is_read_on_from_there(driver, monkeypatch):
    content = b"".join(b"%d;" % number for number in range(100_000))
    driver.write("/a", content)
    bodies = OpenBodies(limit=1, idle=0.0, patience=0.1)
    monkeypatch.setattr(driver, "_bodies", lambda: bodies)

    readers = [driver.open("/a", offset, 300_000) for offset in (0, 1000, 2000)]
    pieces = [[next(reader)] for reader in readers]
    for piece, reader in zip(pieces, readers, strict=True):
        piece.extend(reader)

    for offset, piece in zip((0, 1000, 2000), pieces, strict=True):
        assert b"".join(piece) == content[offset : offset + 300_000]
