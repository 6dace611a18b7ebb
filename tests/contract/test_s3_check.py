"""What the S3 driver says of a configuration that cannot work, and what it does not put up with later."""

from __future__ import annotations

import datetime
import time
from email.utils import formatdate
from types import SimpleNamespace

import botocore.auth
import pytest
from lab.recording_s3 import Answer, recording
from lab.servers import S3Server
from lab.tls import running_tls

from cfmiddleware.errors import ConfigError, StorageUnavailable
from cfmiddleware.storage.factory import storage_driver
from cfmiddleware.storage.s3 import plainsign

KEYS = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key"}


@pytest.fixture
def s3():
    with recording() as server:
        yield server


def driver(s3, **options):
    given = {"bucket": "registry", "regionendpoint": s3.url} | KEYS | options
    return storage_driver("s3", given, "config.yml: storage")


def complaint(driver) -> str:
    """Return what the check says, less the place: one line without a secret."""
    with pytest.raises(ConfigError) as raised:
        driver.check()
    message = str(raised.value)
    assert "\n" not in message
    assert "secret-key" not in message
    assert "Signature=" not in message
    place = "config.yml: storage.s3"
    assert message.startswith(place)
    return message.removeprefix(place).removeprefix(".")


# A real server.


@pytest.fixture(scope="module")
def bucket(ceph: S3Server):
    name = ceph.new_bucket()
    yield name
    ceph.client().delete_bucket(Bucket=name)


@pytest.fixture(params=[True, False], ids=["version 4", "version 2"])
def asked(request, ceph, bucket):
    """Return what a real server makes the check say of options."""

    def ask(**options):
        given = ceph.driver_options(bucket, v4auth=request.param)
        return complaint(storage_driver("s3", given | options, "config.yml: storage"))

    return ask


def test_what_works_is_not_complained_about(ceph, bucket):
    storage_driver("s3", ceph.driver_options(bucket)).check()


def test_a_missing_bucket_is_named(asked):
    assert asked(bucket="there-is-no-such").startswith(
        "bucket: there is no bucket 'there-is-no-such' at http://"
    )


def test_a_wrong_access_key_is_named(asked):
    assert asked(accesskey="unknown").startswith("accesskey: http://")


def test_a_wrong_secret_is_named(asked):
    assert (
        asked(secretkey="a-wrong-secret-key") == "secretkey: is not the secret that belongs to the accesskey"
    )


@pytest.mark.parametrize("minutes", [20, -20])
def test_a_clock_that_is_wrong_is_named(asked, monkeypatch, minutes):
    # Where we read the clock for version 4, and boto3 for version 2.
    monkeypatch.setattr(plainsign, "_now", lambda: time.time() + minutes * 60)
    wrong = datetime.timedelta(minutes=minutes)

    def clock() -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + wrong

    monkeypatch.setattr(botocore.auth, "get_current_datetime", clock, raising=False)
    older = SimpleNamespace(datetime=SimpleNamespace(utcnow=clock))  # where boto3 before 1.43 has it
    monkeypatch.setattr(botocore.auth, "datetime", older, raising=False)
    monkeypatch.setattr(
        botocore.auth, "formatdate", lambda usegmt: formatdate(time.time() + minutes * 60, usegmt=usegmt)
    )
    assert asked().startswith(": this machine's clock differs by more than 15 minutes from that of http://")


# What only Amazon or a broken network does.


@pytest.mark.parametrize(
    ("minutes", "words"), [(20, "is 20 minutes behind that of"), (-20, "is 20 minutes ahead of that of")]
)
def test_by_how_much_the_clock_is_wrong_is_told_from_the_answer(s3, minutes, words):
    s3.refuse(403, "RequestTimeTooSkewed", {"Date": formatdate(time.time() + minutes * 60, usegmt=True)})

    assert words in complaint(driver(s3))


REDIRECT = (301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"}, "")


@pytest.mark.parametrize(
    "refusal",
    [
        REDIRECT,
        (400, "AuthorizationHeaderMalformed", {}, "<Region>eu-west-1</Region>"),
        (400, "IllegalLocationConstraintException", {"x-amz-bucket-region": "eu-west-1"}, ""),
    ],
)
def test_a_wrong_region_is_named_and_not_followed(s3, monkeypatch, refusal):
    monkeypatch.setenv("HTTP_PROXY", s3.url)
    s3.refuse(*refusal)
    amazons = driver(s3, regionendpoint="", region="us-west-2", secure=False)

    assert complaint(amazons) == (
        "region: the bucket 'registry' is in eu-west-1, not in us-west-2; set region: eu-west-1"
    )
    assert {request.host for request in s3.requests} == {"registry.s3.us-west-2.amazonaws.com"}
    assert len(s3.requests) == 1


def test_the_name_of_a_region_comes_from_the_server_and_is_not_believed_to_be_one(s3):
    s3.refuse(301, "PermanentRedirect", {"x-amz-bucket-region": "eu \x1b[31m"})

    assert "another region" in complaint(driver(s3, region="us-west-2"))


def test_a_server_of_ones_own_that_goes_by_another_region_is_at_the_right_address(s3):
    s3.refuse(400, "AuthorizationHeaderMalformed", more="<Region>berlin</Region>")
    assert complaint(driver(s3)).startswith("region: the bucket 'registry' is in berlin")

    s3.refuse(*REDIRECT)
    assert complaint(driver(s3)).startswith("regionendpoint: the bucket 'registry' is in eu-west-1")


def test_a_bucket_that_moves_later_is_not_followed_either(s3):
    s3.refuse(*REDIRECT)
    used = driver(s3)
    for ask in (used.stat, used.read, lambda path: used.write(path, b"")):
        s3.requests.clear()
        with pytest.raises(StorageUnavailable, match=r"; the bucket is in eu-west-1$"):
            ask("/a")
        assert len(s3.requests) == 1


def test_a_server_that_is_not_there_is_named():
    given = {"bucket": "registry", "regionendpoint": "http://127.0.0.1:1"} | KEYS
    assert complaint(storage_driver("s3", given, "config.yml: storage")) == (
        "regionendpoint: http://127.0.0.1:1 cannot be reached"
    )


@pytest.mark.parametrize("option", ["accelerate", "usefipsendpoint", "usedualstack"])
def test_an_endpoint_that_amazon_does_not_have_is_blamed_on_the_option_that_chose_it(monkeypatch, option):
    # Nothing listens there; a name that does not exist cannot be had without a network.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    given = {"bucket": "registry", "region": "eu-central-1", option: True} | KEYS
    assert complaint(storage_driver("s3", given, "config.yml: storage")).startswith(
        f"{option}: the proxy on the way to S3 in eu-central-1 (HTTPS_PROXY"
    )


def test_an_option_that_a_region_does_not_know_is_named():
    given = {"bucket": "registry", "region": "cn-north-1", "accelerate": True} | KEYS
    assert complaint(storage_driver("s3", given, "config.yml: storage")).startswith(
        "accelerate: does not work for the bucket 'registry' in cn-north-1: "
    )


def test_no_credentials_are_named(s3):
    assert complaint(driver(s3, accesskey="", secretkey="")).startswith(
        "accesskey: is missing, and boto3 found"
    )


# TLS.


def test_a_certificate_that_nobody_trusts_is_named_with_what_to_do(s3, certificate):
    with running_tls(s3.port, certificate) as port:
        line = complaint(driver(s3, regionendpoint=f"https://127.0.0.1:{port}"))

    assert line.startswith(
        f"skipverify: the certificate of https://127.0.0.1:{port} is not trusted here (self"
    )
    assert "AWS_CA_BUNDLE" in line


def test_a_server_without_tls_is_named_with_what_to_do(s3):
    assert complaint(driver(s3, regionendpoint=s3.address)) == (
        f"secure: https://{s3.address} does not speak TLS; set secure: false"
    )
    assert complaint(driver(s3, regionendpoint=f"https://{s3.address}")).startswith(
        f"regionendpoint: https://{s3.address} does not speak TLS; write http:// (secure"
    )


def test_a_server_with_tls_only_is_named_with_what_to_do(s3, certificate):
    with running_tls(s3.port, certificate) as port:
        line = complaint(driver(s3, regionendpoint=f"127.0.0.1:{port}", secure=False))

    assert line == f"secure: http://127.0.0.1:{port} takes no plain HTTP; set secure: true if it speaks TLS"


# Answers that break off.


def test_a_listing_of_which_nothing_arrives_is_not_an_empty_one(s3):
    answers = [Answer(200, b"", {"Content-Length": "500"}), Answer(200, b"")]
    s3.answer = lambda request: answers.pop(0) if answers else None
    listing = b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>"
    answers.append(Answer(200, listing))

    assert driver(s3, readtimeout=1).list("/") == ["a"]
    assert len(s3.requests) == 3


def test_a_refusal_that_breaks_off_is_asked_for_again(s3):
    answers = [Answer(404, b"<Error><Co", {"Content-Length": "500", "Connection": "close"})]
    s3.answer = lambda request: answers.pop(0) if answers else None

    assert driver(s3).read("/a").startswith(b"0123456789")
    assert len(s3.requests) == 2
