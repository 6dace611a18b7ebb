"""What the edge lets through, and in which words it refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.examples import examples
from lab.signing_material import ec_key, needs_cryptography, pair, public, rsa_key

from cfmiddleware.signing.keys import KeyPair
from cfmiddleware.signing.policy import encode
from cfmiddleware.signing.url import sign
from cfmiddleware.signing.verify import Refused, Verifier

URL = "https://d111111abcdef8.cloudfront.net/docker/data"
EXPIRES = 1_800_000_000
NOW = EXPIRES - 600.0
CLIENT = "192.0.2.7"


def verifier():
    return Verifier({"K1": public(rsa_key(1)), "K2": public(rsa_key(2))})


def accept(url, now=NOW, address=CLIENT):
    verifier().check(url, now, address)


def refusal(url, now=NOW, address=CLIENT):
    with pytest.raises(Refused) as caught:
        verifier().check(url, now, address)
    refused = caught.value
    assert refused.status == 403
    return refused.code, refused.message


DENIED = ("AccessDenied", "Access denied")
MISSING = ("MissingKey", "Missing Key-Pair-Id query parameter or cookie value")
UNKNOWN = ("InvalidKey", "Unknown Key")
MALFORMED = ("MalformedPolicy", "Malformed Policy")


def canned(url=URL, hash="sha1"):
    return sign(url, EXPIRES, pair("K1"), hash)


def bound(address=CLIENT, hash="sha1"):
    return sign(URL, EXPIRES, pair("K1"), hash, address)


def with_policy(resource=URL, **condition):
    document = {
        "Statement": [
            {"Resource": resource, "Condition": {"DateLessThan": {"AWS:EpochTime": EXPIRES}, **condition}}
        ]
    }
    return with_text(json.dumps(document).encode())


def with_text(text):
    signature = rsa_key().sign(text, "sha1")
    return f"Policy={encode(text)}&Signature={encode(signature)}&Key-Pair-Id=K1"


@pytest.mark.parametrize("hash", ["sha1", "sha256"])
@pytest.mark.parametrize("address", [None, CLIENT])
def test_what_is_signed_is_let_through(hash, address):
    accept(sign(URL, EXPIRES, pair("K1"), hash, address))
    accept(sign(URL, EXPIRES, pair("K2", 2), hash, address))


@needs_cryptography
@pytest.mark.parametrize("hash", ["sha1", "sha256"])
def test_ecdsa_is_let_through(hash):
    keys = Verifier({"E1": public(ec_key())})
    keys.check(sign(URL, EXPIRES, KeyPair("E1", ec_key()), hash), NOW, None)
    with pytest.raises(Refused):
        keys.check(sign(URL, EXPIRES, KeyPair("E1", ec_key(2)), hash), NOW, None)


@pytest.mark.parametrize("url", [f"{URL}?a=1&b=2", f"{URL}?", f"{URL}?a=%20&&=", f"{URL}?a=1?b"])
@pytest.mark.parametrize("address", [None, CLIENT])
def test_the_urls_own_query_is_part_of_what_is_signed(url, address):
    accept(sign(url, EXPIRES, pair("K1"), address=address))
    assert refusal(sign(url, EXPIRES, pair("K1"), address=address).replace("?", "?c=3&", 1)) == DENIED


def test_the_signing_parameters_may_stand_in_any_order_and_place():
    path, _, query = canned(f"{URL}?a=1&b=2").partition("?")
    a, b, expires, signature, id = query.split("&")
    accept(f"{path}?{'&'.join([id, a, signature, expires, b])}")
    assert refusal(f"{path}?{'&'.join([b, a, expires, signature, id])}") == DENIED


def test_a_url_without_key_id_misses_it():
    assert refusal(URL) == MISSING
    assert refusal(canned().replace("Key-Pair-Id=K1", "Key-Pair-Id=")) == MISSING
    assert refusal(canned().replace("&Key-Pair-Id=K1", "")) == MISSING
    assert refusal(canned().replace("Key-Pair-Id", "key-pair-id")) == MISSING


def test_a_key_id_that_is_not_trusted_is_unknown():
    assert refusal(canned().replace("Key-Pair-Id=K1", "Key-Pair-Id=K3")) == UNKNOWN


def test_another_trusted_keys_id_does_not_help():
    assert refusal(canned().replace("Key-Pair-Id=K1", "Key-Pair-Id=K2")) == DENIED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/docker/data", "/docker/date"),
        ("/docker/data", "/docker//data"),
        ("/docker/data", "/docker/./data"),
        ("/docker/data", "/docker%2Fdata"),
        ("/docker/data", "/docker/dat%61"),
        ("https:", "http:"),
        ("d111111abcdef8", "d222222abcdef8"),
        (f"Expires={EXPIRES}", f"Expires={EXPIRES + 1}"),
        ("?Expires", "?x=1&Expires"),
        ("&Signature", "&&Signature"),
        ("&Key-Pair-Id=K1", "&Key-Pair-Id=K1&x"),
        ("&Key-Pair-Id=K1", "&Key-Pair-Id=K1&Hash-Algorithm=SHA256"),
    ],
)
def test_a_changed_url_is_denied(old, new):
    assert old in canned()
    assert refusal(canned().replace(old, new, 1)) == DENIED


def test_a_url_that_hides_its_hash_is_denied():
    assert refusal(canned(hash="sha256").replace("&Hash-Algorithm=SHA256", "")) == DENIED


def test_sha1_may_be_said_aloud():
    accept(canned() + "&Hash-Algorithm=SHA1")


@pytest.mark.parametrize("name", ["", "sha1", "SHA-1", "MD5", "SHA512", "SHA256%20"])
def test_another_hash_is_denied(name):
    assert refusal(f"{canned()}&Hash-Algorithm={name}") == DENIED


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_a_changed_signature_is_denied(data):
    url = canned()
    start = url.index("Signature=") + len("Signature=")
    end = url.index("&", start)
    place = data.draw(st.integers(start, end - 1))
    char = data.draw(st.sampled_from("Aa0-_~+/=%").filter(lambda char: char != url[place]))
    assert refusal(url[:place] + char + url[place + 1 :]) == DENIED


@pytest.mark.parametrize("signature", ["", "AAAA", "====", "a", "%00"])
def test_what_is_no_signature_is_denied(signature):
    start, _, rest = canned().partition("Signature=")
    assert refusal(f"{start}Signature={signature}&{rest.partition('&')[2]}") == DENIED
    assert refusal(start + rest.partition("&")[2]) == DENIED


@pytest.mark.parametrize("parameter", ["Expires=1", "Signature=AAAA", "Key-Pair-Id=K1", "Key-Pair-Id="])
def test_a_parameter_that_stands_twice_is_denied(parameter):
    assert refusal(f"{canned()}&{parameter}") == DENIED
    path, _, query = canned().partition("?")
    assert refusal(f"{path}?{parameter}&{query}") == DENIED


def test_policy_and_expiry_together_are_denied_and_so_is_neither():
    assert refusal(f"{bound()}&Expires={EXPIRES}") == DENIED
    assert refusal(f"{URL}?Signature=AAAA&Key-Pair-Id=K1") == DENIED


@pytest.mark.parametrize(
    "expires",
    ["", "0", "-1", "+1", "01800000000", "1e9", "0x7", "1800000000000", "1.5", "%31", "1_0", "9" * 5000],
)
def test_an_expiry_that_is_no_plain_number_is_malformed(expires):
    assert refusal(canned().replace(f"Expires={EXPIRES}", f"Expires={expires}")) == MALFORMED


@pytest.mark.parametrize("url", [canned, bound])
def test_a_url_expires_in_the_second_that_it_names(url):
    accept(url(), now=EXPIRES - 0.001)
    assert refusal(url(), now=EXPIRES) == DENIED
    assert refusal(url(), now=float("nan")) == DENIED


def test_a_url_for_one_client_serves_no_other():
    accept(bound())
    accept(bound(), address=f"::ffff:{CLIENT}")
    for other in ("192.0.2.8", "2001:db8::1", None, "", "unknown", "192.0.2.7, 192.0.2.8"):
        assert refusal(bound(), address=other) == DENIED


def test_a_policy_may_name_a_range():
    url = f"{URL}?{with_policy(IpAddress={'AWS:SourceIp': '192.0.2.0/24'})}"
    accept(url, address="192.0.2.255")
    assert refusal(url, address="192.0.3.0") == DENIED


def test_a_policy_may_begin_later():
    url = f"{URL}?{with_policy(DateGreaterThan={'AWS:EpochTime': EXPIRES - 100})}"
    accept(url, now=EXPIRES - 99.5)
    assert refusal(url, now=EXPIRES - 100) == DENIED


@pytest.mark.parametrize(
    "resource", ["*", "https://*/docker/data", "http*://d111111abcdef8.cloudfront.net/*", f"{URL[:-1]}?"]
)
def test_a_policy_may_have_wildcards(resource):
    accept(f"{URL}?{with_policy(resource)}")


@pytest.mark.parametrize("resource", ["https://*/other/*", URL[:-1], URL + "?", URL + "/*", "*/DATA"])
def test_a_policy_for_another_resource_is_denied(resource):
    assert refusal(f"{URL}?{with_policy(resource)}") == DENIED


def test_a_wildcards_query_counts_without_the_signing_parameters():
    parameters = with_policy(f"{URL}?size=*")
    accept(f"{URL}?size=9&{parameters}")
    assert refusal(f"{URL}?{parameters}") == DENIED


def test_a_policy_that_is_no_base64_is_malformed():
    for text in ("A", "====", "A+A=", "AB__"):
        assert refusal(f"{URL}?Policy={text}&Signature=AAAA&Key-Pair-Id=K1") == MALFORMED


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b'{"Statement":[]}', b"[" * 3000])
def test_a_signed_policy_that_is_malformed_is_called_so(text):
    assert refusal(f"{URL}?{with_text(text)}") == MALFORMED


def test_a_changed_policy_is_denied():
    other = encode(
        b'{"Statement":[{"Resource":"*","Condition":{"DateLessThan":{"AWS:EpochTime":1900000000}}}]}'
    )
    start, _, rest = bound().partition("Policy=")
    assert refusal(f"{start}Policy={other}&{rest.partition('&')[2]}") == DENIED


@pytest.mark.parametrize("char", ["é", " ", "\n", "\0", '"', "\\", "#", "<", "\ud800"])
def test_a_url_with_characters_that_no_url_has_is_denied(char):
    assert refusal(canned().replace("/docker", f"/{char}docker")) == DENIED
    assert refusal(canned() + char) == DENIED


names = st.sampled_from(["Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"])
parts = names | st.sampled_from(["=", "&", "?", "K1", "SHA256", str(EXPIRES), "AAAA", "%", "é", "/", "\0"])


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(parts | st.text(max_size=5), max_size=20).map("".join), st.none() | st.text(max_size=10))
def test_any_url_is_refused_and_never_a_crash(query, address):
    with pytest.raises(Refused):
        verifier().check(f"{URL}?{query}", NOW, address)
    with pytest.raises(Refused):
        verifier().check(query, NOW, address)


def test_a_refusal_holds_nothing_of_the_url():
    _, message = refusal(canned().replace("docker", "secret"))
    assert "secret" not in message
