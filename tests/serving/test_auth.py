"""No signed URL without a valid credential: the whole command, wrapped, with its edge, over real HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.auth_material import (
    ISSUER,
    PULL,
    PUSH,
    REALM,
    SERVICE,
    basic,
    bearer,
    htpasswd,
    jwk,
    jwks,
    private_key,
    token,
)
from lab.servers import CFMIDDLEWARE, eventually, free_ports, running
from lab.serving import Answer, Service, ask

from cfmiddleware.digest import Digest
from cfmiddleware.signing.keys import generate

CONTENT = b"layer" * 1000
DIGEST = Digest.of(CONTENT)
BLOB = f"/v2/team/app/blobs/{DIGEST}"
KEY = private_key("P-256")


@contextlib.contextmanager
def serving(directory: Path, auth: dict[str, Any], **options: Any) -> Iterator[Service]:
    """Run `cfmiddleware serve` on a file with a wrapper and an edge."""
    port, edge_port = free_ports(2)
    (directory / "key.pem").write_text(generate("ecdsa").private_pem)
    named = {"baseurl": f"http://127.0.0.1:{edge_port}", "privatekey": "key.pem", "keypairid": "K1"}
    tree = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "middleware": {"storage": [{"name": "cloudfront", "options": {**named, **options}}]},
        "edge": {"addr": f"127.0.0.1:{edge_port}"},
        "auth": auth,
    }
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    command = [CFMIDDLEWARE, "serve", "config.yml"]
    with running(command, directory, ports=[port, edge_port]) as server:
        yield Service(server, port, edge_port)


@pytest.fixture(scope="module", params=["get", "head"])
def with_users(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A registry with a blob, whose clients have a password."""
    directory = tmp_path_factory.mktemp("users")
    (directory / "users").write_bytes(htpasswd({"alice": "open sesame"}))
    with serving(directory, {"htpasswd": {"realm": "r", "path": "users"}}, probe=request.param) as service:
        push(service, basic("alice", "open sesame"))
        yield service


@pytest.fixture(scope="module")
def with_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A registry with a blob, whose clients bring tokens."""
    directory = tmp_path_factory.mktemp("tokens")
    (directory / "jwks.json").write_bytes(jwks(jwk(KEY, kid="one")))
    named = {"realm": REALM, "service": SERVICE, "issuer": ISSUER, "jwks": "jwks.json"}
    with serving(directory, {"token": named}) as service:
        push(service, bearer(token(KEY, "ES256", access=PUSH)))
        yield service


def push(service: Service, headers: dict[str, str]) -> None:
    url = f"{service.url}/v2/team/app/blobs/uploads/?digest={DIGEST}"
    answer = ask("POST", url, CONTENT, headers)
    assert answer.status == 201, answer


def get(service: Service, headers: dict[str, str], method: str = "GET") -> Answer:
    return ask(method, service.url + BLOB, headers=headers)


def assert_refused(answer: Answer) -> None:
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"]
    assert answer.headers["Location"] is None
    assert b"Signature" not in answer.body
    assert CONTENT[:10] not in answer.body


def assert_sent_to_the_edge(service: Service, answer: Answer) -> None:
    assert answer.status == 307
    location = answer.headers["Location"]
    assert location.startswith(f"http://127.0.0.1:{service.edge_port}/")
    assert ask("GET", location).body == CONTENT


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("alice", "wrong"),
        basic("bob", "open sesame"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic ????"},
        {"Authorization": "Bearer " + "a" * 100},
        {"Authorization": "Basic " + "A" * 7000},
        {"X-Authorization": "Basic YWxpY2U6b3BlbiBzZXNhbWU="},
    ],
)
def test_without_a_users_password_nobody_gets_a_signed_url(with_users: Service, headers: dict[str, str]):
    assert_refused(get(with_users, headers))
    assert_refused(get(with_users, {**headers, "Range": "bytes=0-1"}))


def test_with_a_users_password_the_pull_leaves_through_the_edge(with_users: Service):
    for _ in range(3):
        assert_sent_to_the_edge(with_users, get(with_users, basic("alice", "open sesame")))
    assert get(with_users, basic("alice", "open sesame"), "HEAD").status == 200


def test_who_was_let_in_opens_the_door_for_nobody_else(with_users: Service):
    assert_sent_to_the_edge(with_users, get(with_users, basic("alice", "open sesame")))
    assert_refused(get(with_users, basic("alice", "open sesam")))
    assert_refused(get(with_users, {}))


def test_two_credentials_in_one_request_are_none(with_users: Service):
    """A server joins them with a comma; which of the two counts is nothing to guess at."""
    good = basic("alice", "open sesame")["Authorization"]
    assert_refused(get(with_users, {"Authorization": good, "authorization": "Basic x"}))


@pytest.mark.parametrize(
    "said",
    [
        {"exp": -100},
        {"nbf": 1000},
        {"aud": "other"},
        {"iss": "other"},
        {"access": []},
        {"access": None},
        {"access": [{**PULL[0], "name": "team/other"}]},
        {"access": [{**PULL[0], "actions": ["push", "delete"]}]},
    ],
)
def test_a_token_that_is_not_enough_gets_no_signed_url(with_tokens: Service, said: dict[str, Any]):
    assert_refused(get(with_tokens, bearer(token(KEY, "ES256", **said))))


def test_anothers_token_gets_no_signed_url(with_tokens: Service):
    assert_refused(get(with_tokens, {}))
    assert_refused(get(with_tokens, basic("alice", "open sesame")))
    assert_refused(get(with_tokens, bearer(token(private_key("P-256", 5), "ES256"))))


def test_with_a_good_token_the_pull_leaves_through_the_edge(with_tokens: Service):
    assert_sent_to_the_edge(with_tokens, get(with_tokens, bearer(token(KEY, "ES256", access=PULL))))


def test_the_start_says_that_there_is_a_log_in(with_users: Service):
    assert "no authentication" not in with_users.server.stdout
    assert "Clients must log in first" in with_users.server.stdout


def test_neither_password_nor_token_nor_signature_is_logged(with_users: Service, with_tokens: Service):
    made = token(KEY, "ES256", exp=-100)
    get(with_tokens, bearer(made))
    get(with_users, basic("alice", "open sesam"))
    assert eventually(lambda: "a token is refused: it has expired" in with_tokens.server.stderr)
    for service in (with_users, with_tokens):
        logged = service.server.stdout + service.server.stderr
        for secret in (
            "sesam",
            basic("alice", "open sesame")["Authorization"][6:20],
            made[-40:],
            "$2b$",
            "Signature=",
        ):
            assert secret not in logged
