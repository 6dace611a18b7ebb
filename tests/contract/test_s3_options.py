"""What each option of the S3 driver changes, seen from the other end of the wire."""

from __future__ import annotations

import logging
import socket
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, unquote

import pytest
from lab.recording_s3 import Answer, RecordingS3, recording
from lab.s3_proxy import Request
from lab.tls import running_tls

from cfmiddleware.errors import ConfigError, ObjectExists, ObjectNotFound, StorageUnavailable
from cfmiddleware.storage.factory import storage_driver
from cfmiddleware.storage.s3 import S3Driver, S3Options

KEYS = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key"}


@pytest.fixture
def s3():
    with recording() as server:
        yield server


@pytest.fixture
def amazon(s3, monkeypatch):
    """The same server, where requests for Amazon's hosts end."""
    monkeypatch.setenv("HTTP_PROXY", s3.url)
    monkeypatch.setenv("HTTPS_PROXY", s3.url)
    return s3


def of_ones_own(s3: RecordingS3, **options) -> S3Driver:
    return S3Driver(S3Options(**{"bucket": "registry", "regionendpoint": s3.url} | KEYS | options))


def on_amazon(**options) -> S3Driver:
    given = {"bucket": "registry", "region": "eu-central-1", "secure": False} | KEYS | options
    return S3Driver(S3Options(**given))


# Before the first request.


def test_what_is_loaded_before_a_fork_asks_for_nothing_not_even_credentials(amazon):
    S3Driver(S3Options(bucket="registry", region="eu-central-1")).preload()

    assert amazon.requests == []


def test_a_process_is_made_ready_without_a_request(s3):
    driver = of_ones_own(s3)
    driver.prepare()

    assert s3.requests == []
    client = driver._client()
    driver.stat("/a")
    assert driver._client() is client


# Credentials.


def test_requests_are_signed_with_the_keys(s3):
    of_ones_own(s3, region="eu-west-1").stat("/a")

    credential = s3.requests[0].headers["Authorization"].split("Credential=")[1].split(",")[0]
    assert credential.startswith("AKIDTEST/")
    assert credential.endswith("/eu-west-1/s3/aws4_request")
    assert "X-Amz-Security-Token" not in s3.requests[0].headers


def test_a_session_token_goes_with_the_keys(s3):
    of_ones_own(s3, sessiontoken="lent").stat("/a")

    assert s3.requests[0].headers["X-Amz-Security-Token"] == "lent"


@pytest.mark.parametrize("written", [{}, {"accesskey": "", "secretkey": ""}, {"accesskey": None}])
def test_without_keys_those_of_the_environment_sign(s3, monkeypatch, written):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    storage_driver("s3", {"bucket": "registry", "regionendpoint": s3.url} | written).stat("/a")

    assert "Credential=AKIDENVIRONMENT/" in s3.requests[0].headers["Authorization"]


def test_without_keys_those_of_the_machine_s_role_sign(s3, monkeypatch):
    role = b"""{"AccessKeyId": "ASIAROLE", "SecretAccessKey": "s", "Token": "of the role",
                "Expiration": "2099-01-01T00:00:00Z"}"""
    s3.answer = lambda request: Answer(200, role) if request.path == "/role" else None
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{s3.url}/role")
    of_ones_own(s3, accesskey="", secretkey="").stat("/a")

    request = s3.requests[-1]
    assert "Credential=ASIAROLE/" in request.headers["Authorization"]
    assert request.headers["X-Amz-Security-Token"] == "of the role"


# Where requests go.


@pytest.mark.parametrize(
    ("options", "host", "path"),
    [
        ({}, "registry.s3.eu-central-1.amazonaws.com", "/a"),
        ({"region": "us-east-1"}, "registry.s3.amazonaws.com", "/a"),
        ({"bucket": "other"}, "other.s3.eu-central-1.amazonaws.com", "/a"),
        ({"forcepathstyle": True}, "s3.eu-central-1.amazonaws.com", "/registry/a"),
        ({"forcepathstyle": False}, "registry.s3.eu-central-1.amazonaws.com", "/a"),
        ({"usedualstack": True}, "registry.s3.dualstack.eu-central-1.amazonaws.com", "/a"),
        ({"accelerate": True}, "registry.s3-accelerate.amazonaws.com", "/a"),
        ({"accelerate": True, "usedualstack": True}, "registry.s3-accelerate.dualstack.amazonaws.com", "/a"),
        ({"usefipsendpoint": True, "region": "us-east-2"}, "registry.s3-fips.us-east-2.amazonaws.com", "/a"),
        ({"rootdirectory": "/team/prod"}, "registry.s3.eu-central-1.amazonaws.com", "/team/prod/a"),
        ({"regionendpoint": "http://s3.example.com"}, "s3.example.com", "/registry/a"),
        ({"regionendpoint": "s3.example.com:8000"}, "s3.example.com:8000", "/registry/a"),
        (
            {"regionendpoint": "http://s3.example.com", "forcepathstyle": False},
            "registry.s3.example.com",
            "/a",
        ),
    ],
)
def test_where_a_request_goes(amazon, options, host, path):
    on_amazon(**options).write("/a", b"content")

    assert [(request.host, request.path) for request in amazon.requests] == [(host, path)]


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({}, "registry.s3.eu-central-1.amazonaws.com:443"),
        ({"regionendpoint": "s3.example.com"}, "s3.example.com:443"),
        ({"regionendpoint": "https://s3.example.com", "secure": False}, "s3.example.com:443"),
    ],
)
def test_requests_go_over_tls_unless_the_options_say_otherwise(amazon, options, host):
    with pytest.raises(StorageUnavailable):
        on_amazon(**{"secure": True, "maxattempts": 1} | options).stat("/a")

    assert [(request.method, request.host) for request in amazon.requests] == [("CONNECT", host)]


def test_any_certificate_is_taken_only_where_the_options_say_so(s3, certificate):
    with running_tls(s3.port, certificate) as port:
        endpoint = f"https://127.0.0.1:{port}"
        with pytest.raises(StorageUnavailable, match="SSLError"):
            of_ones_own(s3, regionendpoint=endpoint, maxattempts=1).stat("/a")
        assert s3.requests == []
        with warnings.catch_warnings():
            # One for each request would fill a log with what the operator knows.
            warnings.simplefilter("error")
            of_ones_own(s3, regionendpoint=endpoint, skipverify=True).stat("/a")
    assert len(s3.requests) == 1


# Signatures.


def test_requests_are_signed_with_version_4_unless_the_options_say_otherwise(amazon):
    for region in ("us-east-1", "eu-central-1"):
        on_amazon(region=region).stat("/a")
        on_amazon(region=region, v4auth=True).stat("/a")
    on_amazon(region="us-east-1", v4auth=False).stat("/a")

    kinds = [request.headers["Authorization"].split()[0] for request in amazon.requests]
    assert kinds == ["AWS4-HMAC-SHA256"] * 4 + ["AWS"]
    assert amazon.requests[-1].headers["Authorization"].startswith("AWS AKIDTEST:")


@pytest.mark.parametrize("forcepathstyle", [True, False])
@pytest.mark.parametrize("v4auth", [True, False])
def test_a_real_server_takes_the_signature_of_every_request(ceph, v4auth, forcepathstyle):
    bucket = ceph.new_bucket()
    options = ceph.driver_options(bucket, rootdirectory="team a/+é", smallest_part=1000, chunksize=2000)
    driver = S3Driver(
        S3Options(
            **options,
            v4auth=v4auth,
            forcepathstyle=forcepathstyle,
            multipartcopychunksize=1000,
            multipartcopythresholdsize=1000,
        )
    )
    driver.check()
    driver.write("/written", b"0123456789")
    driver.create("/created", b"")
    with pytest.raises(ObjectExists):
        driver.create("/created", b"again")
    with driver.writer("/parts") as writer:
        writer.write(bytes(5000))
        writer.commit()
    with driver.writer("/aborted") as writer:
        writer.write(bytes(5000))
    driver.compose("/copied", ["/written"])
    driver.compose("/composed", ["/parts", "/parts", "/written"])

    assert driver.read("/written") == b"0123456789"
    assert b"".join(driver.open("/written", 3, 4)) == b"3456"
    assert driver.stat("/composed").size == 10_010
    assert driver.list("/") == ["composed", "copied", "created", "parts", "written"]
    assert len(list(driver.walk("/"))) == 5
    with pytest.raises(ObjectNotFound):
        driver.stat("/missing")
    driver.delete(["/copied", "/composed"])
    driver.delete(["/parts"])
    driver.delete_prefix("/")
    assert driver.list("/") == []
    ceph.client().delete_bucket(Bucket=bucket)


@pytest.mark.parametrize(
    "region", ["eu-central-1", "eu-west-3", "cn-north-1", "us-gov-east-1", "mx-central-1"]
)
def test_version_2_is_refused_in_regions_that_take_version_4_only(region):
    with pytest.raises(ConfigError, match=f"^v4auth: must not be false in {region}, "):
        S3Options(bucket="b", region=region, v4auth=False)
    with pytest.raises(ConfigError, match=f"^v4auth: must not be false in {region}, "):
        S3Options(bucket="b", regionendpoint=f"https://s3.{region}.amazonaws.com", v4auth=False)


def test_version_2_is_warned_about_in_the_older_regions(caplog):
    storage_driver("s3", {"bucket": "b", "region": "us-east-1", "v4auth": "false"})
    storage_driver("s3", {"bucket": "b", "regionendpoint": "https://s3.example.com", "v4auth": "false"})
    storage_driver("s3", {"bucket": "b", "region": "us-east-1"})

    assert len(caplog.records) == 1
    assert (
        caplog.records[0].getMessage().startswith("storage.s3.v4auth: Amazon gives up signatures of version")
    )
    assert "us-east-1" in caplog.records[0].getMessage()


# New objects.


def made_by_every_way(driver: S3Driver) -> None:
    driver.write("/a", b"")
    driver.create("/a", b"")
    with driver.writer("/a") as writer:
        writer.write(bytes(5000))
        writer.commit()
    driver.compose("/a", ["/b"])
    driver.compose("/a", ["/b", "/b"])


SMALL = {"smallest_part": 1000, "chunksize": 2000, "multipartcopychunksize": 2500}


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({}, {}),
        ({"encrypt": True}, {"x-amz-server-side-encryption": "AES256"}),
        (
            {"encrypt": True, "keyid": "alias/registry"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "alias/registry",
            },
        ),
        ({"keyid": "alias/registry"}, {}),
        ({"storageclass": "STANDARD_IA"}, {"x-amz-storage-class": "STANDARD_IA"}),
        ({"storageclass": "glacier_ir"}, {"x-amz-storage-class": "GLACIER_IR"}),
        ({"storageclass": "NONE"}, {}),
        ({"objectacl": "bucket-owner-full-control"}, {"x-amz-acl": "bucket-owner-full-control"}),
    ],
)
def test_whatever_makes_an_object_says_how_it_is_stored(s3, options, headers):
    made_by_every_way(of_ones_own(s3, **SMALL | options))

    making = [
        request
        for request in s3.requests
        if (request.method == "PUT" and "uploadId" not in request.query) or request.query == "uploads"
    ]
    assert len(making) == 5
    names = ("x-amz-server-side", "x-amz-storage-class", "x-amz-acl")
    for request in making:
        sent = {name.lower(): value for name, value in request.headers.items()}
        assert {name: value for name, value in sent.items() if name.startswith(names)} == headers


def test_an_upload_is_sent_in_chunks_of_the_size_that_was_asked_for(s3):
    with of_ones_own(s3, **SMALL | {"chunksize": 1500}).writer("/a") as writer:
        writer.write(bytes(4000))
        writer.commit()

    parts = [request for request in s3.requests if request.method == "PUT"]
    sizes = {dict(parse_qsl(part.query))["partNumber"]: len(part.body) for part in parts}
    assert sizes == {"1": 1500, "2": 1500, "3": 1000}


def copies(s3: RecordingS3, **options) -> list[str | None]:
    """Return the ranges that an object of 10,000 bytes is copied in; None is a copy in one request."""
    of_ones_own(s3, **SMALL | options).compose("/a", ["/b"])
    return sorted(
        {name.lower(): value for name, value in request.headers.items()}.get(
            "x-amz-copy-source-range", "whole"
        )
        for request in s3.requests
        if request.method == "PUT"
    )


def test_an_object_up_to_the_threshold_is_copied_in_one_request(s3):
    assert copies(s3, multipartcopythresholdsize=10_000) == ["whole"]


def test_a_larger_object_is_copied_in_parts_of_the_size_that_was_asked_for(s3):
    assert copies(s3, multipartcopythresholdsize=9_999, multipartcopychunksize=2500) == [
        "bytes=0-2499",
        "bytes=2500-4999",
        "bytes=5000-7499",
        "bytes=7500-9999",
    ]


@pytest.mark.parametrize("number", [1, 3])
def test_as_many_parts_are_copied_at_a_time_as_were_asked_for(s3, number):
    lock, now, most = threading.Lock(), 0, 0

    def slowly(request):
        nonlocal now, most
        if "partNumber" in request.query:
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.05)
            with lock:
                now -= 1

    s3.answer = slowly
    parts = copies(
        s3,
        multipartcopythresholdsize=1000,
        multipartcopychunksize=1000,
        multipartcopymaxconcurrency=number,
    )
    assert len(parts) == 10
    assert most == number


# The ways of the client.


def test_the_user_agent_is_appended_to_boto3s_own(s3):
    of_ones_own(s3).stat("/a")
    of_ones_own(s3, useragent="registry of team-a/1.0").stat("/a")

    plain, named = [request.headers["User-Agent"] for request in s3.requests]
    assert plain.startswith("Boto")
    assert named.startswith("Boto")
    assert named.endswith(" registry of team-a/1.0")


def test_checksums_that_s3_does_not_require_go_to_amazon_only(amazon):
    def sent(**options) -> tuple[bool, bool]:
        driver = on_amazon(**options)
        amazon.requests.clear()
        driver.write("/a", b"content")
        driver.read("/a")
        put, get = [{name.lower() for name in request.headers} for request in amazon.requests]
        return any(name.startswith("x-amz-checksum-crc") for name in put), "x-amz-checksum-mode" in get

    assert sent() == (True, True)
    assert sent(checksums=False) == (False, False)
    assert sent(regionendpoint="http://s3.example.com") == (False, False)
    assert sent(regionendpoint="http://s3.example.com", checksums=True) == (True, True)


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_request_is_sent_as_often_as_was_asked_for(s3, attempts):
    s3.refuse(503, "SlowDown")
    with pytest.raises(StorageUnavailable, match=r"SlowDown \(503\)$"):
        of_ones_own(s3, maxattempts=attempts).read("/a")

    assert len(s3.requests) == attempts


def broken(request: Request) -> Answer:
    return Answer(500, b"<Error><Code>InternalError</Code></Error>")


def cut(request: Request) -> Answer:
    raise ConnectionResetError


@pytest.mark.parametrize("fault", [broken, cut])
@pytest.mark.parametrize("mode", ["standard", "adaptive"])
def test_the_attempts_of_a_request_do_not_depend_on_those_before_it(s3, monkeypatch, mode, fault):
    """boto3's own budget ends after 35 retries or so."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    driver = of_ones_own(s3, maxattempts=6, retrymode=mode)
    s3.answer = fault
    for number in range(1, 21):
        with pytest.raises(StorageUnavailable):
            driver.read("/a")
        assert len(s3.requests) == 6 * number
    s3.answer = lambda request: None
    assert driver.stat("/a").size


@pytest.mark.parametrize("mode", ["standard", "adaptive"])
def test_requests_are_retried_in_the_mode_that_was_asked_for(s3, mode):
    of_ones_own(s3, retrymode=mode).stat("/a")

    assert f"cfg/retry-mode#{mode}" in s3.requests[0].headers["User-Agent"]


def within(seconds: float, driver: S3Driver) -> str:
    """Return what the driver says of an object within so many seconds, far fewer than it waits by default."""
    pool = ThreadPoolExecutor(1)
    try:
        with pytest.raises(StorageUnavailable) as raised:
            pool.submit(driver.stat, "/a").result(seconds)
        return str(raised.value)
    finally:
        pool.shutdown(wait=False)


def test_an_answer_is_waited_for_as_long_as_was_asked_for(s3):
    over = threading.Event()
    s3.answer = lambda request: over.wait(30) and None
    try:
        assert within(20, of_ones_own(s3, readtimeout=1, maxattempts=1)).endswith(": ReadTimeoutError")
    finally:
        over.set()


def test_a_connection_is_waited_for_as_long_as_was_asked_for(s3):
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        # Nobody takes these, and there is no room for a third.
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        driver = of_ones_own(s3, regionendpoint=endpoint, connecttimeout=1, maxattempts=1)
        assert within(8, driver).endswith(": ConnectTimeoutError")


@pytest.mark.parametrize(("kept", "new"), [(1, 2), (3, 0)])
def test_as_many_idle_connections_are_kept_as_were_asked_for(s3, kept, new):
    driver = of_ones_own(s3, maxconnections=kept)

    def three_at_once() -> set[object]:
        together = threading.Barrier(3)
        s3.answer = lambda request: together.wait(10) and None
        s3.requests.clear()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(driver.stat, ["/a", "/b", "/c"]))
        return {request.connection for request in s3.requests}

    driver._client()  # threads that make it together would wait for one another, not for the server
    first = three_at_once()
    assert len(three_at_once() - first) == new


# The log.


@pytest.mark.parametrize("level", ["debug", "DebugWithHTTPBody", "debugwithsigning"])
def test_every_request_is_a_line_in_the_log_if_asked_for(s3, caplog, level):
    driver = storage_driver("s3", {"bucket": "registry", "regionendpoint": s3.url, "loglevel": level} | KEYS)
    answers = [Answer(503), None, Answer(404)]
    s3.answer = lambda request: answers.pop(0)
    with caplog.at_level(logging.INFO):
        driver.write("/a", b"the content")
        with pytest.raises(ObjectNotFound):
            driver.stat("/b\u2028")

    lines = [record.getMessage() for record in caplog.records]
    assert [line.rpartition(",")[0] for line in lines] == [
        "S3 PutObject 'a': 200, attempt 2",
        "S3 HeadObject 'b\\u2028': 404, attempt 1",
    ]
    assert all(line.endswith(" ms") for line in lines)


def test_a_request_that_fails_without_an_answer_is_a_line_too(s3, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(StorageUnavailable):
        of_ones_own(s3, regionendpoint="http://127.0.0.1:1", loglevel="debug", maxattempts=2).list("/a/")

    (line,) = [record.getMessage() for record in caplog.records if "requestlog" in record.name]
    assert line.startswith("S3 ListObjectsV2 'a/': EndpointConnectionError, attempt 2, ")


@pytest.mark.parametrize("level", ["off", False, None])
def test_no_request_is_a_line_in_the_log_otherwise(s3, caplog, level):
    # YAML reads an unquoted off as false.
    given = {"bucket": "registry", "regionendpoint": s3.url, "loglevel": level} | KEYS
    with caplog.at_level(logging.INFO):
        storage_driver("s3", given).write("/a", b"")

    assert caplog.records == []


def test_nothing_that_signs_is_ever_logged(s3, caplog):
    with caplog.at_level(logging.INFO):
        driver = of_ones_own(s3, loglevel="debugwithsigning", sessiontoken="lent-token")
        driver.write("/a", b"the content")
        driver.presigner("a", int(time.time()) + 1000)

    signature = s3.requests[0].headers["Authorization"].split("Signature=")[1]
    for secret in (signature, unquote(signature), KEYS["secretkey"], "lent-token", "the content"):
        assert secret not in caplog.text
