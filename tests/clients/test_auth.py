"""Real clients that log in: with a user's password, and with tokens from a small token server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.auth_material import (
    ISSUER,
    SERVICE,
    TokenServer,
    htpasswd,
    jwk,
    jwks,
    private_key,
    running_token_server,
)
from lab.clients import ClientError, Podman, Skopeo
from lab.images import Image, blobs_in
from lab.servers import CFMIDDLEWARE, free_ports, running
from lab.serving import Service

from cfmiddleware.signing.keys import generate

pytestmark = pytest.mark.clients

KEY = private_key("RSA")

#: What the clients say of a 401, each in words of its own.
REFUSED = r"(?i)denied|authentication required|unauthorized"

EVERYTHING = ("pull", "push", "delete")


@contextlib.contextmanager
def serving(directory: Path, auth: dict[str, Any]) -> Iterator[Service]:
    """Run `cfmiddleware serve` on a file with a wrapper and an edge."""
    port, edge_port = free_ports(2)
    (directory / "key.pem").write_text(generate("ecdsa").private_pem)
    wrapper = {"baseurl": f"http://127.0.0.1:{edge_port}", "privatekey": "key.pem", "keypairid": "K1"}
    tree = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "objects"}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "middleware": {"storage": [{"name": "cloudfront", "options": wrapper}]},
        "edge": {"addr": f"127.0.0.1:{edge_port}"},
        "auth": auth,
    }
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], directory, ports=[port, edge_port]) as server:
        yield Service(server, port, edge_port)


@pytest.fixture(scope="module")
def with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry with users."""
    directory = tmp_path_factory.mktemp("users")
    (directory / "users").write_bytes(htpasswd({"alice": "open:sesame"}))
    with serving(directory, {"htpasswd": {"realm": "r", "path": "users"}}) as service:
        yield f"127.0.0.1:{service.port}"


@pytest.fixture(scope="module")
def token_server() -> Iterator[TokenServer]:
    rights = {
        "alice": dict.fromkeys(("team/app", "team/copy", "team/base"), EVERYTHING),
        "bob": {"team/app": ("pull",), "bobs/copy": EVERYTHING},
    }
    with running_token_server(TokenServer(KEY, {"alice": "a-pass", "bob": "b-pass"}, rights)) as server:
        yield server


@pytest.fixture(scope="module")
def with_tokens(token_server: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry that takes the token server's tokens."""
    directory = tmp_path_factory.mktemp("tokens")
    (directory / "jwks.json").write_bytes(jwks(jwk(KEY, kid="one")))
    named = {"realm": token_server.realm, "service": SERVICE, "issuer": ISSUER, "jwks": "jwks.json"}
    with serving(directory, {"token": named}) as service:
        yield f"127.0.0.1:{service.port}"


def log_in(client: Skopeo | Podman, registry: str, credential: str) -> None:
    user, _, password = credential.partition(":")
    client.run("login", "--tls-verify=false", "--username", user, "--password", password, registry)


def test_skopeo_logs_in_pushes_and_pulls(with_users: str, skopeo: Skopeo, image: Image, tmp_path: Path):
    log_in(skopeo, with_users, "alice:open:sesame")
    skopeo.push(image.layout, f"{with_users}/team/app:1")
    skopeo.pull(f"{with_users}/team/app:1", tmp_path / "back")

    assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
    assert skopeo.tags(f"{with_users}/team/app") == ["1"]
    assert skopeo.inspect(f"{with_users}/team/app:1")["Digest"] == image.manifest
    skopeo.delete(f"{with_users}/team/app:1")


def test_skopeo_takes_a_credential_for_one_command(with_users: str, skopeo: Skopeo, other_image: Image):
    reference = f"docker://{with_users}/creds:1"
    skopeo.copy(f"oci:{other_image.layout}", reference, "--dest-creds", "alice:open:sesame")
    with pytest.raises(ClientError, match=REFUSED):
        skopeo.copy(f"oci:{other_image.layout}", reference, "--dest-creds", "alice:wrong")


def test_skopeo_gets_nothing_without_a_password(with_users: str, skopeo: Skopeo, other_image: Image):
    with pytest.raises(ClientError, match=REFUSED):
        skopeo.push(other_image.layout, f"{with_users}/closed:1")
    with pytest.raises(ClientError, match=REFUSED):
        skopeo.tags(f"{with_users}/closed")


@pytest.mark.parametrize("credential", ["alice:wrong", "nobody:open:sesame"])
def test_a_wrong_password_is_refused_at_the_login(with_users: str, skopeo: Skopeo, credential: str):
    with pytest.raises(ClientError, match="invalid username/password"):
        log_in(skopeo, with_users, credential)


def test_podman_logs_in_and_pulls_what_skopeo_pushed(
    with_users: str, podman: Podman, skopeo: Skopeo, image: Image
):
    log_in(skopeo, with_users, "alice:open:sesame")
    skopeo.push(image.layout, f"{with_users}/podman/app:1")
    with pytest.raises(ClientError, match=REFUSED):
        podman.pull(f"{with_users}/podman/app:1")

    log_in(podman, with_users, "alice:open:sesame")

    assert podman.pull(f"{with_users}/podman/app:1") == image.config.removeprefix("sha256:")
    podman.push(f"{with_users}/podman/app:1")


def test_skopeo_gets_tokens_for_what_it_does(
    with_tokens: str, token_server: TokenServer, skopeo: Skopeo, image: Image, tmp_path: Path
):
    log_in(skopeo, with_tokens, "alice:a-pass")
    skopeo.push(image.layout, f"{with_tokens}/team/app:1")
    skopeo.pull(f"{with_tokens}/team/app:1", tmp_path / "back")

    assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
    assert skopeo.tags(f"{with_tokens}/team/app") == ["1"]
    assert any(scope.startswith("repository:team/app:") for scope in token_server.scopes)


def test_who_may_only_pull_cannot_push(with_tokens: str, skopeo: Skopeo, image: Image, tmp_path: Path):
    skopeo.copy(f"oci:{image.layout}", f"docker://{with_tokens}/team/app:2", "--dest-creds", "alice:a-pass")
    log_in(skopeo, with_tokens, "bob:b-pass")
    skopeo.pull(f"{with_tokens}/team/app:2", tmp_path / "back")
    with pytest.raises(ClientError, match=REFUSED):
        skopeo.push(image.layout, f"{with_tokens}/team/app:3")
    with pytest.raises(ClientError, match=REFUSED):
        skopeo.delete(f"{with_tokens}/team/app:2")


def test_a_copy_between_repositories_works_with_and_without_the_right_to_mount(
    with_tokens: str, skopeo: Skopeo, other_image: Image, tmp_path: Path
):
    log_in(skopeo, with_tokens, "alice:a-pass")
    skopeo.push(other_image.layout, f"{with_tokens}/team/base:1")
    skopeo.copy(f"docker://{with_tokens}/team/base:1", f"docker://{with_tokens}/team/copy:1")
    # Bob may push to his own, and learns nothing of what lies in alice's.
    log_in(skopeo, with_tokens, "bob:b-pass")
    skopeo.push(other_image.layout, f"{with_tokens}/bobs/copy:1")
    skopeo.pull(f"{with_tokens}/bobs/copy:1", tmp_path / "back")

    assert blobs_in(tmp_path / "back") == blobs_in(other_image.layout)


def test_nobody_in_particular_is_told_to_log_in(with_tokens: str, skopeo: Skopeo):
    with pytest.raises(ClientError, match=REFUSED):
        skopeo.tags(f"{with_tokens}/team/app")


def test_podman_logs_in_with_a_token(with_tokens: str, podman: Podman, skopeo: Skopeo, image: Image):
    skopeo.copy(f"oci:{image.layout}", f"docker://{with_tokens}/team/app:4", "--dest-creds", "alice:a-pass")
    log_in(podman, with_tokens, "bob:b-pass")

    assert podman.pull(f"{with_tokens}/team/app:4") == image.config.removeprefix("sha256:")
