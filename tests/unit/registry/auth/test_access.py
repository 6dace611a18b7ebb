"""What each request needs, and mounts from repositories that a client may or may not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.auth_material import bearer, jwk, jwks, private_key, token, token_client
from lab.registry_client import RegistryClient

from cfmiddleware.digest import Digest
from cfmiddleware.registry.auth.access import Access, Grant, needed
from cfmiddleware.registry.routes import parse_route

DIGEST = "sha256:" + "0" * 64
KEY = private_key("P-256")


@pytest.mark.parametrize(
    ("methods", "path", "scopes"),
    [
        ("GET HEAD POST DELETE", "/v2/", []),
        ("GET HEAD", "/v2/_catalog", ["registry:catalog:*"]),
        ("GET HEAD", "/v2/a/b/tags/list", ["repository:a/b:pull"]),
        ("GET HEAD", f"/v2/a/b/blobs/{DIGEST}", ["repository:a/b:pull"]),
        ("GET HEAD", "/v2/a/b/manifests/latest", ["repository:a/b:pull"]),
        ("PUT BREW", "/v2/a/b/manifests/latest", ["repository:a/b:pull,push"]),
        ("POST GET", "/v2/a/b/blobs/uploads/", ["repository:a/b:pull,push"]),
        ("PATCH PUT GET HEAD", "/v2/a/b/blobs/uploads/x", ["repository:a/b:pull,push"]),
        ("DELETE", f"/v2/a/b/blobs/{DIGEST}", ["repository:a/b:delete"]),
        ("DELETE", "/v2/a/b/manifests/latest", ["repository:a/b:delete"]),
        ("DELETE", "/v2/a/b/blobs/uploads/x", ["repository:a/b:delete"]),
    ],
)
def test_what_a_request_needs(methods: str, path: str, scopes: list[str]):
    for method in methods.split():
        assert [str(access) for access in needed(parse_route(path), method)] == scopes


_actions = st.lists(st.sampled_from(["pull", "push", "delete", "*"]), max_size=4)


@given(_actions, _actions.map(tuple))
def test_a_grant_allows_what_is_in_it(allowed: list[str], asked: tuple[str, ...]):
    grant = Grant("u", {("repository", "a"): frozenset(allowed)})
    assert grant.allows(Access("repository", "a", asked)) == ("*" in allowed or set(asked) <= set(allowed))
    assert grant.may_pull("a") == bool({"pull", "*"} & set(allowed))
    assert not grant.may_pull("b")
    assert not grant.allows(Access("registry", "a", ("pull",)))


def test_who_may_do_everything_may_do_anything():
    assert Grant("u").allows(Access("registry", "catalog", ("*",)))


@pytest.fixture
def client(tmp_path: Path) -> RegistryClient:
    (tmp_path / "jwks.json").write_bytes(jwks(jwk(KEY, kid="one")))
    return token_client(jwks=tmp_path / "jwks.json")


def headers(**actions: str) -> dict[str, str]:
    """Return a token with actions on repositories, such as `target="pull,push"`."""
    access = [
        {"type": "repository", "name": name, "actions": words.split(",")} for name, words in actions.items()
    ]
    return bearer(token(KEY, "ES256", access=access))


@pytest.fixture
def digest(client: RegistryClient) -> Digest:
    """A blob of the repository `source`."""
    found = Digest.of(b"content")
    answer = client.post(
        f"/v2/source/blobs/uploads/?digest={found}", data=b"content", headers=headers(source="pull,push")
    )
    assert answer.status_code == 201
    return found


def mount(client: RegistryClient, digest: Any, sent: dict[str, str]) -> Any:
    return client.post(f"/v2/target/blobs/uploads/?mount={digest}&from=source", headers=sent)


def test_a_blob_is_mounted_by_who_may_read_its_source(client: RegistryClient, digest: Digest):
    sent = headers(target="pull,push", source="pull")
    assert mount(client, digest, sent).status_code == 201
    assert client.get(f"/v2/target/blobs/{digest}", headers=sent).data == b"content"


def test_for_anybody_else_a_mount_is_an_upload_like_any_other(client: RegistryClient, digest: Digest):
    sent = headers(target="pull,push", source="push")
    there, not_there = mount(client, digest, sent), mount(client, Digest.of(b"other"), sent)
    assert (there.status_code, not_there.status_code) == (202, 202)
    assert set(dict(there.headers)) == set(dict(not_there.headers))
    assert client.get(f"/v2/target/blobs/{digest}", headers=sent).status_code == 404
    finished = client.put(there.headers["Location"] + f"?digest={digest}", data=b"content", headers=sent)
    assert finished.status_code == 201


def test_a_challenge_to_a_mount_asks_for_its_source_too(client: RegistryClient, digest: Digest):
    found = mount(client, digest, {}).headers["WWW-Authenticate"]
    assert 'scope="repository:target:pull,push repository:source:pull"' in found


@pytest.mark.parametrize(
    "query", ["from=source", "mount=x", "mount=x&from=", 'mount=x&from=a"b', "mount&from=%0d%0a"]
)
def test_a_challenge_repeats_nothing_but_a_name(client: RegistryClient, query: str):
    found = client.post(f"/v2/target/blobs/uploads/?{query}").headers["WWW-Authenticate"]
    assert found.endswith('scope="repository:target:pull,push"')
