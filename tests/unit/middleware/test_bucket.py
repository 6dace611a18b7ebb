"""Which URLs lead into the bucket."""

from __future__ import annotations

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.bucket import Bucket

KEY = "docker/registry/v2/blobs/sha256/aa/aabb/data"


def presigned(bucket: str, key: str, *, region: str = "eu-west-3", endpoint: str | None = None, **s3: object):
    client = boto3.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        aws_session_token="of a role",
        config=Config(signature_version="s3v4", s3=s3),
    )
    return client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})


@pytest.mark.parametrize(
    "location",
    [
        f"https://images.s3.amazonaws.com/{KEY}",
        f"http://images.s3.amazonaws.com/{KEY}",
        f"https://images.s3.amazonaws.com:443/{KEY}",
        f"https://IMAGES.S3.amazonaws.com/{KEY}",
        f"https://images.s3.eu-west-3.amazonaws.com/{KEY}",
        f"https://images.s3-eu-west-3.amazonaws.com/{KEY}",
        f"https://images.s3.us-gov-west-1.amazonaws.com/{KEY}",
        f"https://images.s3.dualstack.eu-west-3.amazonaws.com/{KEY}",
        f"https://images.s3-fips.us-east-1.amazonaws.com/{KEY}",
        f"https://images.s3-accelerate.amazonaws.com/{KEY}",
        f"https://images.s3.cn-north-1.amazonaws.com.cn/{KEY}",
        f"https://s3.amazonaws.com/images/{KEY}",
        f"https://s3.eu-west-3.amazonaws.com/images/{KEY}",
        f"https://s3.dualstack.eu-west-3.amazonaws.com/images/{KEY}",
        f"https://images.s3.amazonaws.com/{KEY}?X-Amz-Signature=0&X-Amz-Expires=60&x-id=GetObject",
        f"https://images.s3.amazonaws.com/{KEY}?AWSAccessKeyId=a&Signature=b&Expires=1",
        f"https://images.s3.amazonaws.com/{KEY}?response-content-type=text%2Fplain",
    ],
)
def test_a_url_of_an_object_in_the_bucket_gives_its_key(location: str):
    assert Bucket("images").key(location) == KEY


@pytest.mark.parametrize(
    "location",
    [
        f"https://other.s3.amazonaws.com/{KEY}",
        f"https://s3.amazonaws.com/other/{KEY}",
        f"https://s3.amazonaws.com/images2/{KEY}",
        f"https://myimages.s3.amazonaws.com/{KEY}",
        f"https://x.images.s3.amazonaws.com/{KEY}",
        f"https://images.s3.amazonaws.com@evil/{KEY}",
        f"https://evil@images.s3.amazonaws.com/{KEY}",
        f"https://images.s3.amazonaws.com:443@evil/{KEY}",
        f"https://images.s3.amazonaws.com.evil/{KEY}",
        f"https://images.s3.amazonaws.com\\@evil/{KEY}",
        f"https://images.s3.amazonaws.com\\{KEY}",
        f"https://images.s3.amazonaws.com/{KEY}\\..\\x",
        f"https://evil/images.s3.amazonaws.com/{KEY}",
        f"https://evil/?https://images.s3.amazonaws.com/{KEY}",
        f"https://images.s3.evil.amazonaws.com/{KEY}",
        f"https://images.s3.amazonaws.com:8443/{KEY}",
        f"https://images.s3.amazonaws.com:x/{KEY}",
        f"https://images.s3.amazonaws.com:99999/{KEY}",
        f"ftp://images.s3.amazonaws.com/{KEY}",
        f"//images.s3.amazonaws.com/{KEY}",
        f"/{KEY}",
        f"https://[::1/{KEY}",
        f"https://images.s3.amazonaws.com/{KEY}#part",
        f"https://images.s3.amazonaws.com/{KEY}?versionId=1",
        f"https://images.s3.amazonaws.com/{KEY}?X-Amz-Expires=60&versionId=",
        f"https://images.s3.amazonaws.com/{KEY}?%76ersionId=1",
        f"https://images.s3.amazonaws.com/{KEY}?partNumber=2",
        f"https://images.s3.amazonaws.com/{KEY}?acl",
        "https://images.s3.amazonaws.com/",
        "https://images.s3.amazonaws.com",
        "https://images.s3.amazonaws.com/a/../b",
        "https://images.s3.amazonaws.com/a/%2e%2e/b",
        "https://images.s3.amazonaws.com/a%2F..%2Fb",
        "https://images.s3.amazonaws.com/a//b",
        "https://images.s3.amazonaws.com//a",
        "https://images.s3.amazonaws.com/a%0ab",
        "https://images.s3.amazonaws.com/a%00b",
        "https://images.s3.amazonaws.com/a%2",
        "https://images.s3.amazonaws.com/a%ff",
        "https://images.s3.amazonaws.com/a+b",
        "https://images.s3.amazonaws.com/á",
        "https://images.s3.amazonaws.com/a\tb",
        "https://images.s3.amazonaws.com/a\r\nSet-Cookie: x",
        "",
    ],
)
def test_any_other_url_is_none_of_ours(location: str):
    assert Bucket("images").key(location) is None


@pytest.mark.parametrize("style", ["virtual", "path"])
@pytest.mark.parametrize("key", [KEY, "a b/c%d", "a+b=c&d", "ä/☃", "it's (1)*?#"])
def test_what_boto3_presigns_is_understood_whatever_the_key(style: str, key: str):
    assert Bucket("images").key(presigned("images", key, addressing_style=style)) == key


def test_what_boto3_presigns_for_dual_stack_acceleration_and_dotted_buckets_is_understood():
    for name, options in (
        ("images", {"use_dualstack_endpoint": True}),
        ("images", {"use_accelerate_endpoint": True}),
        ("images.example.com", {}),
    ):
        assert Bucket(name).key(presigned(name, KEY, **options)) == KEY


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1))
def test_a_key_survives_being_a_url(key: str):
    from urllib.parse import quote

    clean = all(segment not in ("", ".", "..") for segment in key.split("/")) and key.isprintable()
    found = Bucket("images").key(f"https://images.s3.amazonaws.com/{quote(key, safe='/')}")
    assert found == (key if clean else None)


@given(st.text(max_size=60))
def test_no_text_behind_the_host_makes_it_fail(text: str):
    Bucket("images").key("https://images.s3.amazonaws.com" + text)
    Bucket("images").key(text)


def test_an_endpoint_of_ones_own_is_met_by_host_port_and_path():
    bucket = Bucket("images", "http://127.0.0.1:9000/storage/")
    assert bucket.key(f"http://127.0.0.1:9000/storage/images/{KEY}") == KEY
    assert bucket.key(f"http://127.0.0.1:9001/storage/images/{KEY}") is None
    assert bucket.key(f"http://127.0.0.1:9000/images/{KEY}") is None
    assert bucket.key(f"http://127.0.0.1:9000/storageimages/{KEY}") is None
    assert bucket.key(f"https://images.s3.amazonaws.com/{KEY}") is None


def test_an_endpoint_without_a_scheme_is_https():
    bucket = Bucket("images", "s3.example.com")
    assert bucket.key(f"https://s3.example.com/images/{KEY}") == KEY
    assert bucket.key(f"https://images.s3.example.com/{KEY}") == KEY
    assert bucket.key(f"http://s3.example.com/images/{KEY}") is None


@pytest.mark.parametrize("name", ["", "a/b", "a?b", "-a", "a b", "ä", "a" * 300])
def test_a_name_that_no_bucket_has_is_refused(name: str):
    with pytest.raises(ConfigError, match=r"^bucket: "):
        Bucket(name)


@pytest.mark.parametrize("endpoint", ["ftp://s3.example.com", "http://", "http://s3:port", "http://[::1"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str):
    with pytest.raises(ConfigError, match=r"^regionendpoint: "):
        Bucket("images", endpoint)
