"""URLs of S3 that whoever has them can GET until they expire."""

from __future__ import annotations

import calendar
import functools
import json
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.recording_s3 import Answer, recording

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.storage.s3 import S3Driver, S3Options
from cfmiddleware.storage.s3.connection import ClientPerProcess
from cfmiddleware.storage.s3.presign import Presigner

KEYS = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key"}
NOW = 1_800_000_000
QUARTER = 900


def presigner(clock=time.time, **options) -> Presigner:
    built = S3Options(**{"bucket": "registry", "region": "us-west-2"} | KEYS | options)
    return Presigner(built, ClientPerProcess(built).connection, clock)


#: The same presigner each time: one takes its time to make.
shared_presigner = functools.cache(presigner)


def parameters(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def date_of(url: str) -> int:
    return calendar.timegm(time.strptime(parameters(url)["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))


@functools.cache
def boto3s_client(version: str, **more):
    return boto3.client(
        "s3",
        region_name="us-west-2",
        aws_access_key_id=KEYS["accesskey"],
        aws_secret_access_key=KEYS["secretkey"],
        config=Config(signature_version=version, s3={"addressing_style": "virtual"}),
        **more,
    )


def boto3s_own(key: str, lifetime: int, version: str, **more) -> str:
    return boto3s_client(version, **more).generate_presigned_url(
        "get_object", Params={"Bucket": "registry", "Key": key}, ExpiresIn=lifetime
    )


def same_second(make):
    """Return what *make* made of a time that was still the same when it was done."""
    while True:
        now = int(time.time())
        made = make(now)
        if int(time.time()) == now:
            return made


keys = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=40).filter(
    lambda key: key[0] != "/"
)


# The signatures.


@settings(max_examples=25, deadline=None)
@given(keys)
def test_a_url_is_the_one_that_boto3_makes_at_its_date(key):
    sign = shared_presigner()
    ours, boto3s = same_second(lambda now: (sign(key, now + QUARTER)[0], boto3s_own(key, QUARTER, "s3v4")))
    assert parameters(ours) == parameters(boto3s)
    assert urlsplit(ours)._replace(query="") == urlsplit(boto3s)._replace(query="")


@settings(max_examples=25, deadline=None)
@given(keys)
def test_a_url_of_version_2_is_the_one_that_boto3_makes(key):
    sign = shared_presigner(v4auth=False)
    ours, boto3s = same_second(lambda now: (sign(key, now + 1000)[0], boto3s_own(key, 1000, "s3")))
    assert parameters(ours) == parameters(boto3s)
    assert urlsplit(ours)._replace(query="") == urlsplit(boto3s)._replace(query="")


@pytest.mark.parametrize(("v4auth", "version"), [(True, "s3v4"), (False, "s3")])
def test_a_url_of_lent_keys_is_the_one_that_boto3_makes(v4auth, version):
    sign = presigner(v4auth=v4auth, sessiontoken="lent/+=")
    ours, boto3s = same_second(
        lambda now: (
            sign("a", now + QUARTER)[0],
            boto3s_own("a", QUARTER, version, aws_session_token="lent/+="),
        )
    )
    assert parameters(ours) == parameters(boto3s)
    assert "lent/+=" in parameters(ours).values()


@pytest.mark.parametrize("v4auth", [True, False])
def test_a_real_server_serves_what_the_url_names_and_nothing_else(ceph, v4auth):
    bucket = ceph.new_bucket()
    driver = S3Driver(S3Options(**ceph.driver_options(bucket, rootdirectory="team a"), v4auth=v4auth))
    driver.write("/a+b/é~(1)", b"content")
    driver.write("/other", b"secret")
    url, _ = driver.presigner(driver.key("/a+b/é~(1)"), int(time.time()) + 1000)

    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"content"
    expiry = "X-Amz-Expires=" if v4auth else "Expires="
    for changed in (url.replace("a%2Bb/%C3%A9~%281%29", "other"), url.replace(expiry, f"{expiry}1")):
        assert changed != url
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(changed)
        assert raised.value.code == 403
    driver.delete_prefix("/")
    ceph.client().delete_bucket(Bucket=bucket)


# How long a URL lives.


@functools.cache
def presigner_with_clock() -> tuple[Presigner, list[float]]:
    clock = [0.0]
    return presigner(lambda: clock[0]), clock


def sign_at(now: float) -> Presigner:
    sign, clock = presigner_with_clock()
    clock[0] = now
    return sign


@given(st.integers(0, 10**7).map(lambda n: NOW + n), st.integers(1, 7 * 86400 - 2 * QUARTER))
@settings(deadline=None)
def test_a_url_has_begun_and_ends_when_it_was_asked_to(now, lifetime):
    url, expires = sign_at(now)("a", now + lifetime)

    assert expires == now + lifetime
    assert date_of(url) + int(parameters(url)["X-Amz-Expires"]) == expires
    assert now - QUARTER < date_of(url) <= now


def test_the_same_expiry_gives_the_same_url_from_every_process_at_any_time():
    # Five minutes, as long as URLs of twenty minutes are handed out for one expiry.
    at = [NOW, NOW + 1, NOW + 299.9]
    for v4auth in (True, False):
        urls = {presigner(lambda now=now: now, v4auth=v4auth)("a", NOW + 1200) for now in at}
        assert len(urls) == 1
        assert presigner(lambda: NOW, v4auth=v4auth)("a", NOW + 1201) not in urls


def test_a_url_never_lives_longer_than_s3_allows():
    url, expires = presigner(lambda: NOW)("a", NOW + 10**7)

    assert int(parameters(url)["X-Amz-Expires"]) <= 7 * 86400
    assert NOW + 6 * 86400 < expires <= NOW + 7 * 86400


def test_a_url_that_would_have_expired_is_not_made():
    with pytest.raises(ValueError, match="expired already"):
        presigner(lambda: NOW)("a", NOW)


@pytest.fixture
def role(monkeypatch):
    """Credentials of the machine that end when `role.end` says, in seconds from now."""
    with recording() as server:

        def lend(request):
            until = datetime.fromtimestamp(server.end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            token = str(uuid.uuid4())
            lent = {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": token, "Expiration": until}
            return Answer(200, json.dumps(lent).encode())

        server.answer = lend
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/role")
        yield server


def test_a_url_never_outlives_the_credentials_that_sign_it(role):
    role.end = int(time.time()) + 300
    for v4auth in (True, False):
        sign = presigner(accesskey="", secretkey="", v4auth=v4auth)
        url, expires = sign("a", role.end + 1000)
        assert expires == role.end
        shown = parameters(url)
        assert expires == (date_of(url) + int(shown["X-Amz-Expires"]) if v4auth else int(shown["Expires"]))
        assert sign("a", role.end - 1)[1] == role.end - 1


def test_credentials_that_are_about_to_end_sign_nothing(role):
    role.end = int(time.time()) + 50
    sign = presigner(accesskey="", secretkey="")

    with pytest.raises(StorageUnavailable, match="about to expire"):
        sign("a", role.end + 1)
    # What is shorter anyway loses nothing.
    assert sign("a", role.end - 1)[1] == role.end - 1


def test_credentials_are_renewed_before_they_end(role):
    role.end = int(time.time()) + 300
    sign = presigner(accesskey="", secretkey="")
    before = sign("a", role.end + 3600)[0]
    role.end += 3600
    after, expires = sign("a", role.end)

    assert expires == role.end
    assert parameters(after)["X-Amz-Security-Token"] != parameters(before)["X-Amz-Security-Token"]


def test_without_credentials_no_url_is_made():
    with pytest.raises(StorageUnavailable, match="no credentials"):
        presigner(accesskey="", secretkey="")("a", int(time.time()) + 1000)


def test_credentials_that_cannot_be_had_make_no_url(role):
    role.refuse(500, "InternalError")
    with pytest.raises(StorageUnavailable, match="no credentials"):
        presigner(accesskey="", secretkey="")("a", int(time.time()) + 1000)


# Where a URL leads.


@pytest.mark.parametrize(
    ("options", "begin"),
    [
        ({}, "https://registry.s3.us-west-2.amazonaws.com/a?"),
        ({"secure": False}, "http://registry.s3.us-west-2.amazonaws.com/a?"),
        ({"forcepathstyle": True}, "https://s3.us-west-2.amazonaws.com/registry/a?"),
        ({"usedualstack": True}, "https://registry.s3.dualstack.us-west-2.amazonaws.com/a?"),
        ({"accelerate": True}, "https://registry.s3-accelerate.amazonaws.com/a?"),
        ({"usefipsendpoint": True}, "https://registry.s3-fips.us-west-2.amazonaws.com/a?"),
        ({"regionendpoint": "https://s3.example.com:8443"}, "https://s3.example.com:8443/registry/a?"),
        (
            {"regionendpoint": "http://10.0.0.1:9000", "redirectendpoint": "https://s3.example.com/"},
            "https://s3.example.com/registry/a?",
        ),
        ({"redirectendpoint": "s3.example.com"}, "https://s3.example.com/registry/a?"),
        (
            {"redirectendpoint": "s3.example.com", "forcepathstyle": False},
            "https://registry.s3.example.com/a?",
        ),
        ({"accelerate": True, "redirectendpoint": "s3.example.com"}, "https://s3.example.com/registry/a?"),
    ],
)
def test_a_url_leads_where_clients_find_the_bucket(options, begin):
    url, _ = presigner(**options)("a", int(time.time()) + 1000)

    assert url.startswith(begin)


def test_the_driver_s_own_requests_do_not_go_where_clients_are_sent():
    with recording() as server:
        options = {
            "bucket": "registry",
            "regionendpoint": server.url,
            "redirectendpoint": "http://127.0.0.1:1",
        }
        driver = S3Driver(S3Options(**options, **KEYS))
        driver.stat("/a")
        assert len(server.requests) == 1
