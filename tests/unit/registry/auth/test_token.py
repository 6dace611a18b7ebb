"""Tokens: which are taken, what each allows, what the client is told otherwise."""

from __future__ import annotations

import base64
import hmac
import json
import logging
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.auth_material import (
    ISSUER,
    PUSH,
    REALM,
    SERVICE,
    basic,
    bearer,
    claims,
    jwk,
    jwks,
    private_key,
    token,
    token_client,
)
from lab.clock import Clock
from lab.examples import examples
from lab.registry_client import RegistryClient, error_code

from cfmiddleware.errors import ConfigError

KEY = private_key("RSA")
MANIFEST = "/v2/team/app/manifests/latest"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> RegistryClient:
    """A client of a registry that knows a key of each kind."""
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_bytes(
        jwks(
            jwk(KEY, kid="one"),
            jwk(private_key("P-256"), kid="curve"),
            jwk(private_key("P-384"), kid="larger"),
            jwk(private_key("Ed25519"), kid="edwards"),
            jwk(private_key("RSA", 2), kid="only-pss", alg="PS256"),
        )
    )
    return token_client(jwks=file)


def challenge(client: RegistryClient, made: str | None, path: str = "/v2/") -> str:
    """Return what follows service in the challenge to a request that is refused."""
    answer = client.get(path, headers=bearer(made) if made is not None else {})
    assert (answer.status_code, error_code(answer)) == (401, "UNAUTHORIZED")
    start = f'Bearer realm="{REALM}",service="{SERVICE}"'
    found = answer.headers["WWW-Authenticate"]
    assert found.startswith(start)
    return found.removeprefix(start)


INVALID = ',error="invalid_token"'


@pytest.mark.parametrize(
    ("kind", "kid", "algorithm"),
    [
        ("RSA", "one", "RS256"),
        ("RSA", "one", "RS512"),
        ("RSA", "one", "PS384"),
        ("P-256", "curve", "ES256"),
        ("P-384", "larger", "ES384"),
        ("Ed25519", "edwards", "EdDSA"),
    ],
)
def test_a_good_token_opens_the_base(client: RegistryClient, kind: str, kid: str, algorithm: str):
    made = token(private_key(kind), algorithm, {"kid": kid})
    assert client.get("/v2/", headers=bearer(made)).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_the_schemes_name_is_in_any_case(client: RegistryClient, scheme: str):
    assert client.get("/v2/", headers={"Authorization": f"{scheme} {token(KEY)}"}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, basic("a", "b"), {"Authorization": "Bearer"}, {"Authorization": "Bearer a b"}]
)
def test_without_a_token_the_client_is_told_where_to_get_one(client: RegistryClient, headers: dict[str, str]):
    answer = client.get("/v2/", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == f'Bearer realm="{REALM}",service="{SERVICE}"'


@pytest.mark.parametrize(
    "said",
    [
        {"exp": -50},
        {"nbf": 50},
        {"iat": 50},
        {"nbf": None, "iat": None, "sub": None},
        {"access": None},
        {"access": []},
        {"aud": ["other", SERVICE]},
        {"sub": 7},
        {"access": [{"type": "repository", "name": "x", "actions": None}]},
    ],
)
def test_what_is_good_enough(client: RegistryClient, said: dict[str, Any]):
    assert client.get("/v2/", headers=bearer(token(KEY, **said))).status_code == 200


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"exp": -70}, "it has expired"),
        ({"nbf": 200}, "it is not valid yet"),
        ({"iat": 200}, "it is not valid yet"),
        ({"exp": None}, "it lacks exp, iss or aud"),
        ({"iss": None}, "it lacks exp, iss or aud"),
        ({"aud": None}, "it lacks exp, iss or aud"),
        ({"iss": "somebody"}, "another issuer made it"),
        ({"aud": "other"}, "it is for another service"),
        ({"aud": SERVICE + "x"}, "it is for another service"),
        ({"aud": ["other"]}, "it is for another service"),
        ({"aud": []}, "it lacks exp, iss or aud"),
        ({"aud": {"a": SERVICE}}, "it is for another service"),
        ({"exp": "soon"}, "it cannot be read"),
        ({"exp": float("inf")}, "it cannot be read"),
        ({"exp": []}, "it cannot be read"),
        ({"access": {}}, "its access is not a list"),
        ({"access": "repository:team/app:pull"}, "its access is not a list"),
        ({"access": ["repository:team/app:pull"]}, "its access is not a list of objects"),
        (
            {"access": [{"name": "team/app", "actions": ["pull"]}]},
            "its access has something other than texts",
        ),
        ({"access": [{"type": "repository", "name": [], "actions": []}]}, "its access has something other"),
        ({"access": [{"type": "repository", "name": "x", "actions": [1]}]}, "its access has something other"),
        ({"access": [{"type": "repository", "name": "x", "actions": "pull"}]}, "its access is not a list"),
    ],
)
def test_a_token_that_says_something_else_is_invalid(
    client: RegistryClient, caplog: pytest.LogCaptureFixture, said: dict[str, Any], reason: str
):
    made = token(KEY, **said)
    with caplog.at_level(logging.INFO):
        assert challenge(client, made) == INVALID
    assert reason in caplog.text
    assert made not in caplog.text


def forged(header: dict[str, Any] | bytes, signature: bytes = b"x", said: Any = None) -> str:
    """Return a token with any header at all."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = json.dumps(claims() if said is None else said).encode()
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (head, body, signature))


def test_a_token_without_a_signature_is_invalid(client: RegistryClient):
    for algorithm in ("none", "None", "NONE", ""):
        assert challenge(client, forged({"alg": algorithm, "kid": "one"}, b"")) == INVALID
        assert challenge(client, forged({"alg": algorithm, "kid": "one"})) == INVALID


def test_a_public_key_is_no_shared_secret(client: RegistryClient):
    """The oldest attack: HS256 with what everybody may know."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (public, json.dumps(jwk(KEY, kid="one")).encode(), b"one", b""):
        signed = forged({"alg": "HS256", "kid": "one"}).rpartition(".")[0]
        mac = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).decode().rstrip("=")
        assert challenge(client, f"{signed}.{mac}") == INVALID


@pytest.mark.parametrize(
    ("kind", "kid", "algorithm"),
    [
        ("RSA", "curve", "RS256"),
        ("RSA", "edwards", "RS256"),
        ("P-256", "one", "ES256"),
        ("P-256", "larger", "ES256"),
        ("Ed25519", "one", "EdDSA"),
        ("RSA", "only-pss", "RS256"),
        ("RSA", "only-pss", "PS256"),
        ("RSA", "unknown", "RS256"),
        ("RSA", "", "RS256"),
    ],
)
def test_another_keys_name_does_not_help(client: RegistryClient, kind: str, kid: str, algorithm: str):
    assert challenge(client, token(private_key(kind), algorithm, {"kid": kid})) == INVALID


def test_a_key_is_used_with_its_own_algorithm_only(client: RegistryClient):
    for algorithm, status in (("PS256", 200), ("RS256", 401), ("PS384", 401)):
        made = token(private_key("RSA", 2), algorithm, {"kid": "only-pss"})
        assert client.get("/v2/", headers=bearer(made)).status_code == status


@pytest.mark.parametrize(
    "headers",
    [{}, {"kid": "one", "crit": ["exp"]}, {"kid": "one", "crit": ["b64"], "b64": True}, {"x5c": ["AAAA"]}],
)
def test_a_header_that_names_no_key_or_asks_for_more_is_invalid(
    client: RegistryClient, headers: dict[str, Any]
):
    assert challenge(client, token(KEY, headers=headers)) == INVALID


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RS256", "kid": 7},
        {"alg": "RS256", "kid": None},
        {"alg": ["RS256"], "kid": "one"},
        {"kid": "one"},
        {"alg": "RS256", "kid": "one", "b64": False},
        [],
        b"[" * 5000,
        b"\xff",
        b"",
        b"null",
        b'{"alg":"RS256","kid":"one","x":' + b"9" * 5000 + b"}",
    ],
)
def test_a_header_that_is_none_is_invalid(client: RegistryClient, header: Any):
    assert challenge(client, forged(header)) == INVALID


@pytest.mark.parametrize("body", [b"[", b"[]", b"null", b"\xff", b"[" * 4000, b'"text"', b"1"])
def test_what_is_signed_must_be_claims(client: RegistryClient, body: bytes):
    signed = jwt.api_jws.encode(body, KEY, "RS256", headers={"kid": "one"})
    assert challenge(client, signed) == INVALID


def test_every_changed_character_makes_a_token_invalid(client: RegistryClient):
    made = token(private_key("P-256"), "ES256", {"kid": "curve"})
    for place in range(0, len(made) - 1, 7):
        changed = made[:place] + ("A" if made[place] != "A" else "B") + made[place + 1 :]
        assert challenge(client, changed) == INVALID


@settings(max_examples=examples(150), deadline=None)
@given(
    st.text("abcAB019-_.=/+ ", max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))
)
def test_no_text_but_a_token_gets_in_or_makes_a_failure(client: RegistryClient, text: str):
    answer = client.get("/v2/", environ_overrides={"HTTP_AUTHORIZATION": f"Bearer {text}"})
    assert answer.status_code == 401


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_names = st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "jti", "access"])


@settings(max_examples=examples(150), deadline=None)
@given(st.dictionaries(_names, _json, max_size=4))
def test_whatever_an_issuer_signs_is_answered(client: RegistryClient, said: dict[str, Any]):
    payload = json.dumps({**claims(), **said}).encode()
    signed = jwt.api_jws.encode(payload, private_key("P-256"), "ES256", headers={"kid": "curve"})
    assert client.get("/v2/", headers=bearer(signed)).status_code in (200, 401)


_header_names = st.sampled_from(["alg", "kid", "x5c", "crit", "b64", "typ", "jwk"])


@settings(max_examples=examples(150), deadline=None)
@given(st.dictionaries(_header_names, _json | st.sampled_from(["RS256", "one"]), max_size=5))
def test_no_header_of_a_forged_token_gets_in(client: RegistryClient, header: dict[str, Any]):
    assert client.get("/v2/", headers=bearer(forged(header))).status_code == 401


# What a token allows


def test_a_token_allows_what_it_says_and_no_more(client: RegistryClient):
    pull, push = bearer(token(KEY)), bearer(token(KEY, access=PUSH))
    assert client.get(MANIFEST, headers=pull).status_code == 404
    assert client.get("/v2/team/app/tags/list", headers=pull).status_code == 404
    assert client.post("/v2/team/app/blobs/uploads/", headers=push).status_code == 202
    for answer in (
        client.post("/v2/team/app/blobs/uploads/", headers=pull),
        client.put(MANIFEST, headers=pull),
        client.delete(MANIFEST, headers=push),
        client.get("/v2/team/other/tags/list", headers=push),
        client.get("/v2/team/app/x/tags/list", headers=push),
        client.get("/v2/_catalog", headers=push),
    ):
        assert (answer.status_code, error_code(answer)) == (401, "UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"].endswith(',error="insufficient_scope"')


def test_a_challenge_names_the_scope_that_the_request_needs(client: RegistryClient):
    assert challenge(client, None, MANIFEST) == ',scope="repository:team/app:pull"'
    assert challenge(client, None, "/v2/_catalog") == ',scope="registry:catalog:*"'
    assert challenge(client, token(KEY), "/v2/x/tags/list") == (
        ',scope="repository:x:pull",error="insufficient_scope"'
    )


def test_the_list_of_repositories_is_for_those_who_may_do_everything_with_it(client: RegistryClient):
    def listed(name: str, *actions: str) -> int:
        access = [{"type": "registry", "name": name, "actions": list(actions)}]
        return client.get("/v2/_catalog", headers=bearer(token(KEY, access=access))).status_code

    assert listed("catalog", "*") == 200
    assert listed("catalog", "pull") == 401
    assert listed("catalog") == 401
    assert listed("*", "*") == 401


def test_a_star_stands_for_every_action(client: RegistryClient):
    access = [{"type": "repository", "name": "team/app", "actions": ["*"]}]
    headers = bearer(token(KEY, access=access))
    assert client.delete(MANIFEST, headers=headers).status_code == 404
    assert client.post("/v2/team/app/blobs/uploads/", headers=headers).status_code == 202


def test_two_entries_for_one_repository_are_added_up(client: RegistryClient):
    access = [{"type": "repository", "name": "a", "actions": [word]} for word in ("pull", "push")]
    headers = bearer(token(KEY, access=access))
    assert client.post("/v2/a/blobs/uploads/", headers=headers).status_code == 202


# Options


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(jwk(KEY, kid="one"), jwk(private_key("P-256"), kid="curve")))
    return path


def test_only_the_algorithms_of_the_option_are_taken(file: Path):
    client = token_client(jwks=file, signingalgorithms=["ES256"])
    assert client.get("/v2/", headers=bearer(token(KEY))).status_code == 401
    made = token(private_key("P-256"), "ES256", {"kid": "curve"})
    assert client.get("/v2/", headers=bearer(made)).status_code == 200


@pytest.mark.parametrize("algorithm", ["HS256", "none", "rs256", "RS255"])
def test_an_algorithm_that_anybody_could_sign_with_is_no_option(file: Path, algorithm: str):
    with pytest.raises(ConfigError, match=f"signingalgorithms: '{algorithm}' is none of PS256"):
        token_client(jwks=file, signingalgorithms=[algorithm])


def test_without_keys_there_is_no_start():
    with pytest.raises(ConfigError, match="rootcertbundle: this option or 'jwks' is required"):
        token_client()


def test_keys_are_rotated_without_a_restart(file: Path):
    clock = Clock()
    client = token_client(jwks=file, clock=clock)
    made = token(private_key("RSA", 3), headers={"kid": "new"})
    assert client.get("/v2/", headers=bearer(made)).status_code == 401
    file.write_bytes(jwks(jwk(private_key("RSA", 3), kid="new")))
    clock.now += 1.1
    assert client.get("/v2/", headers=bearer(made)).status_code == 200
    assert client.get("/v2/", headers=bearer(token(KEY))).status_code == 401
    file.write_bytes(b"{")
    clock.now += 1.1
    assert client.get("/v2/", headers=bearer(made)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "realm"),
    [
        ({"Host": "r.example.com:5000"}, "https://r.example.com:5000/t"),
        ({"Host": "r.example.com", "X-Forwarded-Proto": "http"}, "http://r.example.com/t"),
        ({"Host": 'a"b'}, REALM),
        ({"Host": "a", "X-Forwarded-Proto": "javascript"}, REALM),
    ],
)
def test_with_autoredirect_the_realm_is_where_the_client_asked(
    file: Path, headers: dict[str, str], realm: str
):
    client = token_client(jwks=file, autoredirect=True, autoredirectpath="/t")
    overrides = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    answer = client.get("/v2/", environ_overrides=overrides)
    assert answer.headers["WWW-Authenticate"] == f'Bearer realm="{realm}",service="{SERVICE}"'


@pytest.mark.parametrize("option", ["realm", "service"])
def test_what_no_header_can_hold_is_told_at_the_start(file: Path, option: str):
    for value in ("a\nb", "ä"):
        with pytest.raises(ConfigError, match=f"{option}: must be printable ASCII"):
            token_client(jwks=file, **{option: value})


def test_the_issuer_is_the_one_of_the_option(file: Path):
    client = token_client(jwks=file, issuer="other")
    assert client.get("/v2/", headers=bearer(token(KEY, iss=ISSUER))).status_code == 401
    assert client.get("/v2/", headers=bearer(token(KEY, iss="other"))).status_code == 200
