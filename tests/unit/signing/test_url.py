"""Signed URLs: the documented form, and the very one that botocore makes."""

from __future__ import annotations

import datetime
from urllib.parse import quote, unquote

import pytest
from botocore.signers import CloudFrontSigner
from hypothesis import example, given
from hypothesis import strategies as st
from lab.signing_material import ec_key, needs_cryptography, pair, plain_key, public, rsa_key

from cfmiddleware.signing.keys import KeyPair
from cfmiddleware.signing.originpath import encode_key
from cfmiddleware.signing.policy import canned_policy, decode
from cfmiddleware.signing.url import sign

HOST = "https://d111111abcdef8.cloudfront.net"
EXPIRES = 1_800_000_000
WHEN = datetime.datetime.fromtimestamp(EXPIRES, datetime.UTC)

urls = pytest.mark.parametrize(
    "url", [f"{HOST}/docker/data", f"{HOST}/a%20b/%2B?x=1&y=%3F", "http://127.0.0.1:5001/d?", f"{HOST}/"]
)


def botocore_signer(hash="sha1"):
    return CloudFrontSigner("K1", lambda message: rsa_key().sign(message, hash))


@urls
def test_a_canned_url_is_the_one_that_botocore_makes(url):
    assert sign(url, EXPIRES, pair("K1")) == botocore_signer().generate_presigned_url(
        url, date_less_than=WHEN
    )


@urls
def test_a_custom_url_is_the_one_that_botocore_makes(url):
    signer = botocore_signer()
    policy = signer.build_policy(url, WHEN, ip_address="192.0.2.7")
    expected = signer.generate_presigned_url(url, policy=policy)
    assert sign(url, EXPIRES, pair("K1"), address="192.0.2.7") == expected


def test_a_sha256_url_says_so_at_its_end():
    url = sign(f"{HOST}/data", EXPIRES, pair("K1"), "sha256")
    assert url.startswith(f"{HOST}/data?Expires={EXPIRES}&Signature=")
    assert url.endswith("&Key-Pair-Id=K1&Hash-Algorithm=SHA256")
    expected = botocore_signer("sha256").generate_presigned_url(f"{HOST}/data", date_less_than=WHEN)
    assert url == f"{expected}&Hash-Algorithm=SHA256"


@pytest.mark.parametrize("hash", ["sha1", "sha256"])
def test_the_rsa_package_makes_the_same_urls(hash):
    alone = sign(f"{HOST}/data", EXPIRES, KeyPair("K1", plain_key()), hash)
    assert alone == sign(f"{HOST}/data", EXPIRES, pair("K1"), hash)


@needs_cryptography
def test_an_ecdsa_url_has_a_short_signature_that_holds():
    url = sign(f"{HOST}/data", EXPIRES, KeyPair("K1", ec_key()))
    signature = decode(url.partition("Signature=")[2].partition("&")[0])
    assert len(signature) <= 72
    assert public(ec_key()).verify(canned_policy(f"{HOST}/data", EXPIRES).encode(), signature, "sha1")


@pytest.mark.parametrize("parameter", ["Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"])
def test_a_url_with_one_of_cloudfronts_own_parameters_is_not_signed(parameter):
    for query in (f"{parameter}=1", f"a=1&{parameter}", f"a=1&{parameter}=&b=2"):
        with pytest.raises(ValueError, match="own parameters"):
            sign(f"{HOST}/data?{query}", EXPIRES, pair("K1"))


def test_a_parameter_that_only_resembles_cloudfronts_is_signed():
    assert "?expires=1&MyPolicy=2&Expires=" in sign(f"{HOST}/d?expires=1&MyPolicy=2", EXPIRES, pair("K1"))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("docker/registry/v2/blobs/sha256/ab/ab12/data", "docker/registry/v2/blobs/sha256/ab/ab12/data"),
        ("a b+c", "a%20b%2Bc"),
        ("a%2Fb", "a%252Fb"),
        ("é", "%C3%A9"),
        ("a?b#c&d=e", "a%3Fb%23c%26d%3De"),
        ("-._~", "-._~"),
        ("*()!$',;:@", "%2A%28%29%21%24%27%2C%3B%3A%40"),
    ],
)
def test_a_key_is_encoded_once_with_little_left_literal(key, expected):
    assert encode_key(key) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("%41")
def test_an_encoded_key_decodes_to_itself_and_can_be_signed(key):
    encoded = encode_key(key)
    assert unquote(encoded) == key
    assert encoded == quote(key, safe="-._~/")
    assert canned_policy(f"{HOST}/{encoded}", EXPIRES)


def test_a_key_that_utf8_cannot_encode_is_an_error():
    with pytest.raises(ValueError, match="surrogates"):
        encode_key("\ud800")
