"""Keys that tokens are signed with: sets of JSON Web Keys, bundles of certificates, chains."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from lab.auth_material import bearer, certificate, jwk, jwks, pem, private_key, token, token_client, x5c

from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.auth.jwk import libtrust_id, parse_jwks, thumbprint, trusted_key
from cfmiddleware.registry.auth.x5c import ChainError, Roots, parse_bundle

ROOT, BETWEEN, LEAF = (private_key("P-256", number) for number in (1, 2, 3))

SIGNING = x509.KeyUsage(True, False, False, False, False, False, False, False, False)


def test_a_key_is_found_by_its_kid_and_by_the_names_made_of_itself():
    key = private_key("RSA")
    keys = parse_jwks(jwks(jwk(key, kid="one")), "f")
    public = key.public_key()
    assert set(keys) == {"one", libtrust_id(public), thumbprint(public)}
    assert all(found.public == public for found in keys.values())


def test_the_id_that_distribution_2_expects():
    public = private_key("RSA").public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    groups = libtrust_id(public).split(":")
    assert [len(group) for group in groups] == [4] * 12
    assert base64.b32decode("".join(groups)) == hashlib.sha256(der).digest()[:30]


def test_the_thumbprint_is_that_of_the_standards_own_example():
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF"
        "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9"
        "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1"
        "jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    public = RSAAlgorithm.from_jwk({"kty": "RSA", "n": n, "e": "AQAB"})
    assert thumbprint(public) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"  # RFC 7638, 3.1


def test_a_private_key_in_a_set_is_taken_for_its_public_half():
    entry = RSAAlgorithm.to_jwk(private_key("RSA"), as_dict=True)
    assert "d" in entry
    found = parse_jwks(jwks(entry), "f").values()
    assert [key.public for key in found] == [private_key("RSA").public_key()] * len(found)


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "XYZ"},
        {"kty": ["RSA"]},
        {},
        [],
        "text",
        jwk(private_key("RSA"), use="enc"),
        jwk(private_key("RSA"), alg="HS256"),
        jwk(private_key("RSA"), alg="ES256"),
        jwk(private_key("RSA"), n="?"),
        jwk(private_key("RSA"), n=7),
        jwk(private_key("P-256"), x="AAAA"),
        jwk(private_key("P-256"), crv="P-512"),
        jwk(private_key("Ed25519"), x=""),
        jwk(rsa.generate_private_key(65537, 1024)),
    ],
)
def test_a_key_that_cannot_be_used_is_left_out_and_named(entry: Any, caplog: pytest.LogCaptureFixture):
    keys = parse_jwks(jwks(jwk(private_key("P-256"), kid="good"), entry), "keys.json")
    assert all(key.public == private_key("P-256").public_key() for key in keys.values())
    assert "good" in keys
    (record,) = caplog.records
    assert record.getMessage().startswith("keys.json: key 2 is left out: ")
    with pytest.raises(ConfigError, match=r"keys\.json: has no key that a token could be signed with"):
        parse_jwks(jwks(entry), "keys.json")


def test_of_two_keys_of_one_name_the_first_counts(caplog: pytest.LogCaptureFixture):
    entries = [jwk(private_key("P-256", number), kid="one") for number in (1, 2)]
    assert parse_jwks(jwks(*entries), "f")["one"].public == private_key("P-256", 1).public_key()
    assert "key 2 is left out: another one has its kid" in caplog.text


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(max_size=5), st.lists).map(json.dumps).map(str.encode)
)
def test_what_is_no_set_of_keys_is_told_in_one_line(content: bytes):
    with pytest.raises(ConfigError, match=r"\Af: [^\n]*\Z"):
        parse_jwks(content, "f")


def test_a_key_that_tokens_are_not_signed_with_is_none():
    with pytest.raises(ValueError, match="secp256k1"):
        trusted_key(ec.generate_private_key(ec.SECP256K1()).public_key())
    with pytest.raises(ValueError, match="neither RSA nor ECDSA nor EdDSA"):
        trusted_key(private_key("RSA"))  # the private half


# Chains


ROOT_CERTIFICATE = certificate("root", ROOT, ca=True)
BETWEEN_CERTIFICATE = certificate("between", BETWEEN, ("root", ROOT), ca=True)
LEAF_CERTIFICATE = certificate("leaf", LEAF, ("between", BETWEEN))


def roots(*certificates: x509.Certificate) -> Roots:
    return parse_bundle(pem(*certificates or (ROOT_CERTIFICATE,)), "bundle.pem")


def refusal(*chain: x509.Certificate, within: Roots | None = None) -> str:
    with pytest.raises(ChainError) as caught:
        (within or roots()).key_of(x5c(*chain))
    return str(caught.value)


@pytest.mark.parametrize(
    "chain",
    [
        [LEAF_CERTIFICATE, BETWEEN_CERTIFICATE],
        [LEAF_CERTIFICATE, BETWEEN_CERTIFICATE, ROOT_CERTIFICATE],
        [LEAF_CERTIFICATE, certificate("other", private_key("P-256", 9), ca=True), BETWEEN_CERTIFICATE],
        [certificate("direct", LEAF, ("root", ROOT), extensions=[(SIGNING, True)])],
    ],
)
def test_a_chain_that_leads_to_a_root_gives_the_first_ones_key(chain: list[x509.Certificate]):
    assert roots().key_of(x5c(*chain)).public == LEAF.public_key()


def test_a_certificate_of_the_bundle_vouches_for_itself():
    own = certificate("own", LEAF)
    assert roots(own).key_of(x5c(own)).public == LEAF.public_key()


def test_a_certificate_in_the_middle_may_be_the_trusted_one():
    assert roots(BETWEEN_CERTIFICATE).key_of(x5c(LEAF_CERTIFICATE)).public == LEAF.public_key()


def test_a_chain_that_leads_elsewhere_is_refused():
    stranger = private_key("P-256", 9)
    imposter = certificate("root", stranger, ca=True)
    for chain in (
        [LEAF_CERTIFICATE],
        [certificate("leaf", LEAF, ("root", stranger))],
        [certificate("leaf", LEAF, ("root", stranger)), imposter],
        [certificate("leaf", LEAF)],
        [LEAF_CERTIFICATE, LEAF_CERTIFICATE, LEAF_CERTIFICATE],
    ):
        assert refusal(*chain) == "the chain leads to none of the trusted certificates"


@pytest.mark.parametrize("days", [(-3, -1), (1, 3)])
def test_every_certificate_of_a_chain_must_be_valid_now(days: tuple[int, int]):
    expected = "a certificate of the chain has expired, or is not valid yet"
    assert refusal(certificate("leaf", LEAF, ("root", ROOT), days=days)) == expected
    between = certificate("between", BETWEEN, ("root", ROOT), ca=True, days=days)
    assert refusal(LEAF_CERTIFICATE, between) == expected
    old_root = roots(certificate("root", ROOT, ca=True, days=days))
    assert refusal(LEAF_CERTIFICATE, BETWEEN_CERTIFICATE, within=old_root) == expected


def test_a_chain_is_judged_at_the_moment_that_is_given():
    chain = x5c(LEAF_CERTIFICATE, BETWEEN_CERTIFICATE)
    with pytest.raises(ChainError):
        roots().key_of(chain, datetime.now(UTC) + timedelta(days=2))


def test_only_an_authority_may_issue_certificates():
    no_authority = certificate("between", BETWEEN, ("root", ROOT))
    assert "may not issue others" in refusal(LEAF_CERTIFICATE, no_authority)
    usage = certificate("between", BETWEEN, ("root", ROOT), ca=True, extensions=[(SIGNING, True)])
    assert "may not issue others" in refusal(LEAF_CERTIFICATE, usage)


def usage(**allowed: bool) -> list[tuple[x509.ExtensionType, bool]]:
    """Return a critical key usage with what is named, and nothing else."""
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return [(x509.KeyUsage(**{name: allowed.get(name, False) for name in every}), True)]


@pytest.mark.parametrize("for_what", ["key_encipherment", "key_agreement", "key_cert_sign"])
def test_a_leaf_whose_key_usage_has_no_digital_signature_signs_no_tokens(for_what: str):
    leaf = certificate("leaf", LEAF, ("between", BETWEEN), extensions=usage(**{for_what: True}))
    assert "digitalSignature" in refusal(leaf, BETWEEN_CERTIFICATE)
    both = usage(**{for_what: True, "digital_signature": True})
    leaf = certificate("leaf", LEAF, ("between", BETWEEN), extensions=both)
    assert roots().key_of(x5c(leaf, BETWEEN_CERTIFICATE)).public == LEAF.public_key()


def test_an_authority_issues_no_further_down_than_it_may():
    short = roots(certificate("root", ROOT, ca=True, path_length=0))
    assert "not that far down" in refusal(LEAF_CERTIFICATE, BETWEEN_CERTIFICATE, within=short)
    direct = certificate("leaf", LEAF, ("root", ROOT))
    assert short.key_of(x5c(direct)).public == LEAF.public_key()


def test_a_signature_with_a_weak_hash_is_refused():
    weak = certificate("leaf", LEAF, ("root", ROOT), algorithm=hashes.SHA224())
    assert "is not signed with SHA-256" in refusal(weak)
    strong = certificate("leaf", LEAF, ("root", ROOT), algorithm=hashes.SHA512())
    assert roots().key_of(x5c(strong)).public == LEAF.public_key()


def test_what_a_critical_extension_forbids_is_not_allowed_by_not_knowing_it():
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert "critical extension" in refusal(
        certificate("leaf", LEAF, ("root", ROOT), extensions=[(unknown, True)])
    )
    harmless = certificate("leaf", LEAF, ("root", ROOT), extensions=[(unknown, False)])
    assert roots().key_of(x5c(harmless)).public == LEAF.public_key()
    names = x509.NameConstraints([x509.DNSName("example.com")], None)
    between = certificate("between", BETWEEN, ("root", ROOT), ca=True, extensions=[(names, False)])
    assert "name constraints" in refusal(LEAF_CERTIFICATE, between)


@pytest.mark.parametrize("encoded", [[], ["AAAA"], ["?"], [7], [None], ["ä"], x5c(LEAF_CERTIFICATE) * 7])
def test_what_is_no_chain_is_refused(encoded: list[Any]):
    with pytest.raises(ChainError):
        roots().key_of(encoded)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_bundle_is_told_in_one_line(content: bytes):
    with pytest.raises(ConfigError, match=r"\Abundle.pem: [^\n]*certificate[^\n]*\Z"):
        parse_bundle(content, "bundle.pem")


# Through the registry


def test_a_token_may_bring_its_chain_or_name_a_key_of_the_bundle(tmp_path: Path):
    (tmp_path / "bundle.pem").write_bytes(pem(ROOT_CERTIFICATE))
    client = token_client(rootcertbundle=tmp_path / "bundle.pem")

    def status(key: Any, headers: dict[str, Any]) -> int:
        return client.get("/v2/", headers=bearer(token(key, "ES256", headers))).status_code

    chain = x5c(LEAF_CERTIFICATE, BETWEEN_CERTIFICATE)
    assert status(LEAF, {"x5c": chain}) == 200
    assert status(ROOT, {"kid": libtrust_id(ROOT.public_key())}) == 200
    assert status(ROOT, {"kid": thumbprint(ROOT.public_key())}) == 200
    assert status(BETWEEN, {"x5c": chain}) == 401  # signed with another key than the first one's
    assert status(LEAF, {"x5c": chain[:1]}) == 401
    assert status(LEAF, {"x5c": "text"}) == 401
    assert status(LEAF, {"kid": libtrust_id(ROOT.public_key())}) == 401
    assert (
        status(LEAF, {"kid": "leaf", "jwk": jwk(LEAF)}) == 401
    )  # a key that it brings itself proves nothing
