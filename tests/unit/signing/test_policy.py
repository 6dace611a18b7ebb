"""The policies' texts, their base64, and the wildcards of their resources."""

from __future__ import annotations

import base64
import json
import re
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.signing.policy import (
    LAST_SECOND,
    Policy,
    canned_policy,
    custom_policy,
    decode,
    encode,
    parse_policy,
)
from cfmiddleware.signing.wildcard import matches

URL = "https://d111111abcdef8.cloudfront.net/docker/data?a=1"


def policy(**changes):
    """Return a policy's text; a change to None leaves the part out."""
    condition = {"DateLessThan": {"AWS:EpochTime": 2000}} | changes.pop("condition", {})
    statement = {"Resource": URL, "Condition": condition} | changes.pop("statement", {})
    document = {"Statement": [statement]} | changes
    return json.dumps(document).encode()


def test_a_canned_policy_is_the_documented_text():
    expected = (
        '{"Statement":[{"Resource":"' + URL + '","Condition":{"DateLessThan":{"AWS:EpochTime":2000}}}]}'
    )
    assert canned_policy(URL, 2000) == expected


def test_a_custom_policy_names_the_client():
    expected = (
        '{"Statement":[{"Resource":"' + URL + '","Condition":{"DateLessThan":{"AWS:EpochTime":2000},'
        '"IpAddress":{"AWS:SourceIp":"192.0.2.7/32"}}}]}'
    )
    assert custom_policy(URL, 2000, "192.0.2.7") == expected


@pytest.mark.parametrize(
    "url", ["", 'https://h/"', "https://h/a b", "https://h/é", "https://h/\\", "https://h/#x", "https://h/\n"]
)
def test_what_is_no_encoded_url_gets_no_policy(url):
    with pytest.raises(ValueError, match="URL"):
        canned_policy(url, 2000)
    with pytest.raises(ValueError, match="URL"):
        custom_policy(url, 2000, "192.0.2.7")


@pytest.mark.parametrize("expires", [0, -1, LAST_SECOND + 1])
def test_what_is_no_time_gets_no_policy(expires):
    with pytest.raises(ValueError, match="expiry"):
        canned_policy(URL, expires)


@pytest.mark.parametrize("address", ["2001:db8::1", "192.0.2.0/24", "192.0.2", "", "localhost"])
def test_what_is_no_ipv4_address_gets_no_policy(address):
    with pytest.raises(ValueError):  # noqa: PT011  # the words are the standard library's
        custom_policy(URL, 2000, address)


def test_a_policy_for_one_client_opens_one_url_only():
    with pytest.raises(ValueError, match="wildcard"):
        custom_policy("https://h/*", 2000, "192.0.2.7")


def test_a_custom_policy_is_read_back():
    text = custom_policy(URL, 2000, "192.0.2.7").encode()
    assert parse_policy(text) == Policy(URL, 2000, None, IPv4Network("192.0.2.7/32"))


def test_a_policy_may_have_a_beginning_a_range_and_white_space():
    text = b"""{ "Statement": [ {
        "Resource": "https://*/data?",
        "Condition": {
            "IpAddress": {"AWS:SourceIp": "192.0.2.0/24"},
            "DateGreaterThan": {"AWS:EpochTime": 1000},
            "DateLessThan": {"AWS:EpochTime": 2000}
        } } ] }\n"""
    assert parse_policy(text) == Policy("https://*/data?", 2000, 1000, IPv4Network("192.0.2.0/24"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"Statement"',
        b"\xff",
        b"[" * 100_000,
        policy()[:-1],
        policy() + b"x",
        policy(Version="2012-10-17"),
        policy(Statement=[]),
        policy(Statement=[{}]),
        policy(Statement=[1]),
        policy(Statement=json.loads(policy())["Statement"] * 2),
        policy(Statement=json.loads(policy())["Statement"][0]),
        policy(statement={"Resource": ""}),
        policy(statement={"Resource": [URL]}),
        policy(statement={"Effect": "Allow"}),
        policy(statement={"Condition": []}),
        policy(statement={"Condition": {}}),
        policy(condition={"DateLessThan": 2000}),
        policy(condition={"DateLessThan": {"AWS:EpochTime": "2000"}}),
        policy(condition={"DateLessThan": {"AWS:EpochTime": 2000.5}}),
        policy(condition={"DateLessThan": {"AWS:EpochTime": True}}),
        policy(condition={"DateLessThan": {"AWS:EpochTime": -1}}),
        policy(condition={"DateLessThan": {"AWS:EpochTime": 2_000_000_000_000}}),
        policy(condition={"DateLessThan": {"aws:epochtime": 2000}}),
        policy(condition={"DateGreaterThan": {}}),
        policy(condition={"StringLike": {}}),
        policy(condition={"IpAddress": {"AWS:SourceIp": "2001:db8::/32"}}),
        policy(condition={"IpAddress": {"AWS:SourceIp": "192.0.2.0/33"}}),
        policy(condition={"IpAddress": {"AWS:SourceIp": "192.0.2.0/255.255.255.0"}}),
        policy(condition={"IpAddress": {"AWS:SourceIp": ["192.0.2.0/24"]}}),
        policy(condition={"IpAddress": {"AWS:SourceIp": "192.0.2.256/32"}}),
        policy().replace(b'"Resource"', b'"Resource": "https://h/", "Resource"'),
        policy().replace(b"2000", b"NaN"),
        policy().replace(b"2000", b"9" * 5000),
    ],
)
def test_a_malformed_policy_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # any words will do; the edge has its own
        parse_policy(text)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_are_a_policy_or_a_value_error(text):
    try:
        found = parse_policy(text)
    except ValueError:
        return
    assert isinstance(found, Policy)


def test_base64_is_cloudfronts():
    assert encode(b"\xfb\xff\xbe\xff") == "-~--~w__"


@given(st.binary(max_size=200))
def test_base64_goes_both_ways(content):
    assert decode(encode(content)) == content


@given(st.text(alphabet="Aa09-_~+/= \n%é", max_size=16))
def test_only_what_encode_writes_is_decoded(text):
    try:
        content = decode(text)
    except ValueError:
        return
    assert encode(content) == text


@pytest.mark.parametrize(
    "text", ["A", "AA", "AA==", "AB__", "AAB_", "A+==", "____", "AA__AA__", "AAA_\n", "AAAA_"]
)
def test_other_base64_is_refused(text):
    with pytest.raises(ValueError, match="base64"):
        decode(text)


def test_the_standard_alphabet_is_refused():
    with pytest.raises(ValueError, match="base64"):
        decode(base64.b64encode(b"\xfb\xff\xbe\xff").decode())


@given(st.text(alphabet="ab*?", max_size=12), st.text(alphabet="ab?*", max_size=12))
def test_wildcards_match_as_a_regular_expression_would(pattern, text):
    likeness = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    assert matches(pattern, text) == (re.fullmatch(likeness, text, re.DOTALL) is not None)


def test_a_pattern_that_would_make_a_regular_expression_backtrack_is_answered():
    assert not matches("*a" * 200 + "b", "a" * 5000)
    assert not matches("*?a" * 50 + "b", "a" * 2000)
