"""The cheaper requests: that they are what boto3 would send, and end as boto3's would."""

from __future__ import annotations

import base64
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.exceptions import ClientError
from lab.recording_s3 import CONTENT, Answer, RecordingS3, Request, recording

from cfmiddleware.errors import ObjectExists, ObjectNotFound, StorageUnavailable
from cfmiddleware.storage.s3 import S3Driver, S3Options
from cfmiddleware.storage.s3 import connection as s3_connection
from cfmiddleware.storage.s3.plainclient import PlainClient
from cfmiddleware.storage.s3.withoutboto3 import without_boto3

KEYS = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key", "sessiontoken": "token"}

# What differs from one request to the next, or says nothing of the object.
PASSING = frozenset(
    ("authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request", "user-agent", "expect")
)
# Headers that hold the same in another form: as a trailer of a body in pieces, or in boto3 before 1.36.
CHECKSUMS = ("x-amz-checksum-", "x-amz-sdk-", "x-amz-trailer", "x-amz-decoded", "x-amz-content-sha256")
CHECKSUMS += ("content-md5",)

REQUESTS: dict[str, Callable[[S3Driver], Any]] = {
    "get": lambda driver: driver.read("/a b/ü+&=%41/~x"),
    "get a range": lambda driver: list(driver.open("/a", 5, 10)),
    "head": lambda driver: driver.stat("/a"),
    "put": lambda driver: driver.write("/a", b"content"),
    "put nothing": lambda driver: driver.write("/a", b""),
    "create": lambda driver: driver.create("/a", b"content"),
}


@pytest.fixture
def s3() -> Iterator[RecordingS3]:
    def answer(request: Request) -> Answer | None:
        if "Range" not in request.headers:
            return None
        return Answer(206, CONTENT[5:15], {"Content-Range": f"bytes 5-14/{len(CONTENT)}"})

    with recording() as server:
        server.answer = answer
        yield server


def driver_of(s3: RecordingS3, **options: Any) -> S3Driver:
    given = {"bucket": "images", "regionendpoint": s3.url, "rootdirectory": "r", **KEYS, **options}
    return S3Driver(S3Options(**given))


def client_of(driver: S3Driver) -> Any:
    return driver._client()


def essence(request: Request) -> Any:
    headers = {name.lower(): value for name, value in request.headers.items()}
    kept = {
        name: value
        for name, value in headers.items()
        if name not in PASSING and not name.startswith(CHECKSUMS)
    }
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    return request.method, request.target, request.body, kept, {name for name in signed if name in kept}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"encrypt": True, "keyid": "key", "storageclass": "STANDARD_IA", "objectacl": "public-read"},
    {"region": "eu-central-1", "useragent": "mine/1"},
    {"sessiontoken": "", "rootdirectory": ""},
]


def ask_boto3(monkeypatch) -> None:
    """Have boto3 asked where requests go and what they are signed with."""
    monkeypatch.setattr(s3_connection, "without_boto3", lambda options: None)


def leave_all_to_boto3(monkeypatch) -> None:
    """Have every request made by boto3."""
    ask_boto3(monkeypatch)
    monkeypatch.setattr("cfmiddleware.storage.s3.plainclient.plain_client", lambda client, *_: client)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_sent_is_what_boto3_sends(s3, monkeypatch, name, options):
    simple = driver_of(s3, **options)
    assert isinstance(client_of(simple), PlainClient)
    REQUESTS[name](simple)
    ask_boto3(monkeypatch)
    plain = driver_of(s3, **options)
    assert isinstance(client_of(plain), PlainClient)
    REQUESTS[name](plain)
    leave_all_to_boto3(monkeypatch)
    whole = driver_of(s3, **options)
    assert not isinstance(client_of(whole), PlainClient)
    REQUESTS[name](whole)
    without, ours, boto3s = s3.requests
    assert essence(without) == essence(ours) == essence(boto3s)
    assert options.get("useragent", "Botocore/") in without.headers["User-Agent"]
    assert options.get("useragent", "Boto3/") in ours.headers["User-Agent"]


def test_boto3_is_imported_and_made_when_it_is_needed(s3, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from cfmiddleware.storage.s3 import S3Driver, S3Options\n"
        f"where, keys = {s3.url!r}, {{'accesskey': 'a', 'secretkey': 'b'}}\n"
        "driver = S3Driver(S3Options(bucket='images', regionendpoint=where, **keys))\n"
        "driver.check()\n"
        "driver.check_writes()\n"
        "driver.write('/a', b'a'), driver.read('/a'), driver.stat('/a')\n"
        "print([name for name in ('boto3', 'botocore.session', 'urllib3') if name in sys.modules])\n"
        "driver.write('/a', bytes(2 << 20))\n"
        "print('boto3' in sys.modules)\n"
    )
    s3.answer = lambda request: None if request.query == "" else Answer(200, b"<ListBucketResult/>")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["[]", "True", ""]


@pytest.mark.parametrize(
    "options",
    [
        {"region": "eu-central-1"},
        {"region": "ap-southeast-2", "bucket": "a-b"},
        {"regionendpoint": "http://s3.example.com:9000"},
        {"regionendpoint": "s3.example.com", "region": "mars"},
        {"regionendpoint": "s3.example.com:8443", "secure": False},
    ],
)
def test_where_requests_go_without_boto3_is_where_boto3_sends_them(options):
    given = S3Options(**{"bucket": "images", **options, **KEYS})
    simple = without_boto3(given, {})
    assert simple is not None
    assert simple.base == s3_connection.url_of(given, "x").removesuffix("x")


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        ({}, {"AWS_PROFILE": "other"}),
        ({}, {"AWS_ENDPOINT_URL": "http://localhost"}),
        ({}, {"HTTP_PROXY": "http://localhost"}),
        ({}, {"https_proxy": "http://localhost"}),
        ({}, {"AWS_CONFIG_FILE": __file__}),
        ({}, {"AWS_SHARED_CREDENTIALS_FILE": __file__}),
        ({"accesskey": "", "secretkey": "", "sessiontoken": ""}, {}),
        ({"accesskey": "", "secretkey": "", "sessiontoken": ""}, {"AWS_ACCESS_KEY_ID": "a"}),
        ({"accesskey": "", "secretkey": "", "sessiontoken": ""}, {"AWS_ACCESS_KEY_ID": "a\n"}),
        ({"region": "us-east-1"}, {}),
        ({"region": "cn-north-1"}, {}),
        ({"region": "us-gov-west-1"}, {}),
        ({"region": "eu-central-1", "forcepathstyle": True}, {}),
        ({"region": "eu-central-1", "accelerate": True}, {}),
        ({"region": "eu-central-1", "usedualstack": True}, {}),
        ({"region": "eu-central-1", "usefipsendpoint": True}, {}),
        ({"region": "eu-central-1", "secure": False}, {}),
        ({"region": "eu-central-1", "bucket": "with.dots"}, {}),
        ({"regionendpoint": "https://s3.eu-west-1.amazonaws.com"}, {}),
        ({"regionendpoint": "http://s3.example.com", "forcepathstyle": False}, {}),
        ({"regionendpoint": "http://s3.example.com:80"}, {}),
    ],
)
def test_boto3_is_asked_where_anything_else_has_a_say(options, environ):
    given = {"bucket": "images", "region": "eu-central-1", **KEYS, **options}
    assert without_boto3(S3Options(**given), environ) is None


def test_keys_of_the_environment_need_no_boto3():
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    simple = without_boto3(S3Options(bucket="images", region="eu-central-1"), environ)
    assert simple is not None
    assert simple.keys == ("a", "b", "c")


@pytest.mark.parametrize(
    "options",
    [{"v4auth": False}, {"retrymode": "adaptive"}, {"loglevel": "debug"}, {"bucket": "a--use1-az4--x-s3"}],
)
def test_what_the_cheap_ways_do_not_know_is_boto3s(s3, options):
    assert not isinstance(client_of(driver_of(s3, **options)), PlainClient)


def test_a_boto3_that_is_built_otherwise_is_used_as_it_is(s3, monkeypatch):
    ask_boto3(monkeypatch)
    make = s3_connection._client
    monkeypatch.setattr(s3_connection, "_client", lambda *given: Hidden(make(*given)))
    assert not isinstance(client_of(driver_of(s3)), PlainClient)


class Hidden:
    """A client without its endpoint."""

    def __init__(self, client: Any) -> None:
        self._whole = client

    def __getattr__(self, name: str) -> Any:
        if name == "_endpoint":
            raise AttributeError(name)
        return getattr(self._whole, name)


def test_an_argument_that_is_not_known_is_left_to_boto3(s3):
    client = client_of(driver_of(s3))
    assert client.head_object(Bucket="images", Key="a", PartNumber=7)["ResponseMetadata"]
    assert client.get_object(Bucket="other", Key="a")["ResponseMetadata"]
    assert client.put_object(Bucket="images", Key="a", Body=b"", Metadata={"a": "b"})["ResponseMetadata"]
    assert client.put_object(Bucket="images", Key="a", Body=bytes(2 << 20))["ResponseMetadata"]
    assert "x-amz-meta-a" in {name.lower() for name in s3.requests[2].headers}


def refusal(status: int, code: str = "", headers: Any = None) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code></Error>".encode() if code else b"", headers or {})


@pytest.mark.parametrize(
    ("answer", "name", "expected"),
    [
        (refusal(404, "NoSuchKey"), "get", ObjectNotFound),
        (refusal(404, "NoSuchBucket"), "get", StorageUnavailable),
        (refusal(404), "head", ObjectNotFound),
        (refusal(403, "AccessDenied"), "get", StorageUnavailable),
        (refusal(403), "head", StorageUnavailable),
        (refusal(412, "PreconditionFailed"), "create", ObjectExists),
        (refusal(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"}), "get", StorageUnavailable),
        (Answer(502, b"<html>no S3</html>"), "get", StorageUnavailable),
        (Answer(503, b""), "put", StorageUnavailable),
    ],
)
def test_what_s3_refuses_ends_as_with_boto3(s3, monkeypatch, answer, name, expected):
    s3.answer = lambda request: answer
    said = []
    for plain in (True, False):
        if not plain:
            leave_all_to_boto3(monkeypatch)
        s3.requests.clear()
        with pytest.raises(expected) as raised:
            REQUESTS[name](driver_of(s3, maxattempts=1))
        said.append((type(raised.value), str(raised.value), len(s3.requests)))
    assert said[0] == said[1]


@pytest.mark.parametrize("name", ["get", "head", "put"])
@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_each_request_is_sent_as_often_as_was_asked_for(s3, monkeypatch, name, attempts):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    driver = driver_of(s3, maxattempts=attempts)
    s3.answer = lambda request: refusal(503, "SlowDown")
    with pytest.raises(StorageUnavailable):
        REQUESTS[name](driver)
    assert len(s3.requests) == attempts


LISTED = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>
<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>
<Contents><Key>r/a%26%C3%BC</Key><LastModified>2026-11-23T12:00:00.000Z</LastModified><Size>7</Size></Contents>
<Contents><Key>r/b</Key><LastModified>2026-11-23T12:00:00Z</LastModified><Size>0</Size></Contents>
<CommonPrefixes><Prefix>r/c%2B/</Prefix></CommonPrefixes></ListBucketResult>"""
FAILED = b"<DeleteResult><Error><Key>a</Key><Code>SlowDown</Code><Message>no</Message></Error></DeleteResult>"
ASKED = {"Bucket": "images", "Prefix": "r/ &+", "Delimiter": "/", "MaxKeys": 2, "ContinuationToken": "a/b=+"}


def deletion_of(key: str) -> dict[str, Any]:
    return {"Bucket": "images", "Delete": {"Objects": [{"Key": key}], "Quiet": True}}


@pytest.mark.parametrize(
    ("method", "given", "answer"),
    [
        ("list_objects_v2", ASKED, LISTED),
        ("list_objects_v2", {"Bucket": "images", "Prefix": ""}, b"<ListBucketResult/>"),
        ("delete_objects", deletion_of("a<&>b"), FAILED),
        ("delete_objects", deletion_of("a"), b"<DeleteResult/>"),
    ],
)
def test_lists_and_deletes_are_those_of_boto3(s3, method, given, answer):
    s3.answer = lambda request: Answer(200, answer)
    client = client_of(driver_of(s3))
    ours, boto3s = (getattr(one, method)(**given) for one in (client, client.whole))
    for name in ("Contents", "CommonPrefixes", "IsTruncated", "NextContinuationToken", "Errors"):
        assert (ours.get(name) or None) == boto3s.get(name)
    mine, theirs = (parse_qs(request.query, keep_blank_values=True) for request in s3.requests)
    assert mine == theirs
    assert s3.requests[0].body == s3.requests[1].body


@pytest.mark.parametrize("broken", [b"", LISTED[:200]])
def test_a_list_that_breaks_off_is_asked_for_again(s3, monkeypatch, broken):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    answers = iter([Answer(200, broken), Answer(200, LISTED.replace(b"true", b"false"))])
    s3.answer = lambda request: next(answers)
    assert driver_of(s3).list("/") == ["a&ü", "b", "c+/"]


PAGE = b"<html><body>Log in</body></html>"


@pytest.mark.parametrize("options", [{}, {"v4auth": False}], ids=["plain", "boto3"])
@pytest.mark.parametrize(
    "answer", [PAGE, LISTED.replace(b"NextContinuationToken", b"Token")], ids=["a page", "no token"]
)
def test_a_list_that_is_none_or_not_whole_is_an_error_and_not_an_empty_one(s3, monkeypatch, options, answer):
    """What is in no list may be deleted as garbage."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    s3.answer = lambda request: Answer(200, answer)
    driver = driver_of(s3, **options)
    with pytest.raises(StorageUnavailable):
        driver.list("/")
    with pytest.raises(StorageUnavailable):
        list(driver.walk("/"))


def test_an_answer_without_a_time_is_not_s3s(s3):
    s3.answer = lambda request: Answer(200, b"")
    with pytest.raises(StorageUnavailable, match="HeadObject of /a: 500"):
        driver_of(s3).stat("/a")


def test_a_list_that_never_ends_is_given_up(s3):
    s3.answer = lambda request: Answer(200, LISTED)
    with pytest.raises(StorageUnavailable, match="again and again"):
        driver_of(s3).list("/")


def test_keys_that_need_more_than_ascii_are_deleted_by_boto3(s3):
    s3.answer = lambda request: Answer(200, b"<DeleteResult/>")
    driver_of(s3).delete(["/a", "/\u00fc"])
    assert "\u00fc".encode() in s3.requests[0].body


def test_those_who_listen_to_boto3s_failures_hear_of_these(s3):
    driver = driver_of(s3, maxattempts=1)
    heard: list[Any] = []
    client_of(driver).meta.events.register(
        "after-call.s3",
        lambda http_response, parsed, model, **_: heard.append((model.name, parsed["Error"]["Code"])),
    )
    s3.answer = lambda request: refusal(403, "AccessDenied")
    with pytest.raises(StorageUnavailable):
        driver.read("/a")
    assert heard == [("GetObject", "AccessDenied")]


def test_an_answer_to_a_second_attempt_says_so(s3, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    answers = iter([refusal(500, "InternalError"), refusal(412, "PreconditionFailed")])
    s3.answer = lambda request: next(answers)
    with pytest.raises(ClientError) as raised:
        client_of(driver_of(s3)).put_object(Bucket="images", Key="a", Body=b"", IfNoneMatch="*")
    assert raised.value.response["ResponseMetadata"]["RetryAttempts"] == 1


def checksum(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def test_with_checksums_what_is_written_has_one_and_what_is_read_is_checked(s3):
    driver = driver_of(s3, checksums=True)
    driver.write("/a", b"content")
    sent = {name.lower(): value for name, value in s3.requests[0].headers.items()}
    assert sent["x-amz-checksum-crc32"] == checksum(b"content")

    s3.answer = lambda request: Answer(200, CONTENT, {"x-amz-checksum-crc32": checksum(CONTENT)})
    assert driver.read("/a") == CONTENT
    assert s3.requests[-1].headers["x-amz-checksum-mode"] == "ENABLED"
    client = client_of(driver)
    s3.answer = lambda request: Answer(200, CONTENT, {"x-amz-checksum-crc32": checksum(b"other")})
    with pytest.raises(Exception, match="checksum"):
        client.get_object(Bucket="images", Key="a")["Body"].read()
