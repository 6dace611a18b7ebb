"""The settings that real clients are tried in: where the bytes are, who may come in, how many workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cfmiddleware.signing.keys import generate
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
from lab.client_service import Service
from lab.clients import Oras, _Client
from lab.servers import CFMIDDLEWARE, S3Server, free_ports, running

USER, PASSWORD = "alice", "open:sesame"


class Setting(NamedTuple):
    """How a registry behind the wrapper, and its edge, are set up.

    :param storage: `filesystem` or `s3`.
    :param auth: `htpasswd`, `token` or nothing.
    """

    storage: str
    auth: str
    workers: int

    def __str__(self) -> str:
        return f"{self.storage}, {self.auth or 'no'} authentication, {self.workers} workers"

    @contextlib.contextmanager
    def running(self, directory: Path, s3: S3Server, **sections: Any) -> Iterator[Place]:
        """Run `cfmiddleware serve` in this setting until the block is left.

        :param sections: more of the configuration.
        """
        port, edge_port = free_ports(2)
        (directory / "key.pem").write_text(generate("ecdsa").private_pem)
        wrapper = {"baseurl": f"http://127.0.0.1:{edge_port}", "privatekey": "key.pem", "keypairid": "K1"}
        tree = {
            "version": 0.1,
            "storage": {**STORAGES[self.storage](s3), "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{port}", **sections.pop("http", {})},
            "server": {"workers": self.workers},
            "middleware": {"storage": [{"name": "cloudfront", "options": wrapper}]},
            "edge": {"addr": f"127.0.0.1:{edge_port}"},
            **sections,
        }
        with contextlib.ExitStack() as stack:
            if self.auth:
                tree["auth"] = stack.enter_context(AUTHENTICATIONS[self.auth](directory))
            (directory / "config.yml").write_text(yaml.safe_dump(tree))
            command = [CFMIDDLEWARE, "serve", "config.yml"]
            server = stack.enter_context(running(command, directory, ports=[port, edge_port]))
            yield Place(self, Service(server, f"127.0.0.1:{port}"))


class Place(NamedTuple):
    """A registry that runs in a setting."""

    setting: Setting
    service: Service

    @property
    def registry(self) -> str:
        """Its `host:port`."""
        return self.service.registry

    def let_in(self, *clients: _Client) -> None:
        """Log the clients in, where that is necessary."""
        for client in clients if self.setting.auth else ():
            client.log_in(self.registry, USER, PASSWORD)

    def oras(self, directory: Path, credential: tuple[str, str] | None = (USER, PASSWORD)) -> Oras:
        """Return an `oras` that has a credential, where one is necessary."""
        oras = Oras(directory, self.registry, "basic" if self.setting.auth == "htpasswd" else "token")
        if self.setting.auth and credential:
            oras.log_in(*credential)
        return oras


def on_filesystem(s3: S3Server) -> dict[str, Any]:
    return {"filesystem": {"rootdirectory": "objects"}}


def on_s3(s3: S3Server) -> dict[str, Any]:
    return {"s3": s3.driver_options(s3.new_bucket(), rootdirectory="/team/prod")}


STORAGES: Mapping[str, Callable[[S3Server], dict[str, Any]]] = {"filesystem": on_filesystem, "s3": on_s3}


@contextlib.contextmanager
def by_password(directory: Path) -> Iterator[dict[str, Any]]:
    (directory / "users").write_bytes(htpasswd({USER: PASSWORD}))
    yield {"htpasswd": {"realm": "registry", "path": "users"}}


class _Everything(dict[str, Any]):
    """What someone may do who may do everything, in every repository."""

    def get(self, name: str, default: object = None) -> Any:
        return ("pull", "push", "delete", "*")


@contextlib.contextmanager
def by_token(directory: Path) -> Iterator[dict[str, Any]]:
    key = private_key("RSA")
    (directory / "jwks.json").write_bytes(jwks(jwk(key, kid="one")))
    with running_token_server(TokenServer(key, {USER: PASSWORD}, {USER: _Everything()})) as server:
        named = {"realm": server.realm, "service": SERVICE, "issuer": ISSUER, "jwks": "jwks.json"}
        yield {"token": named}


AUTHENTICATIONS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[dict[str, Any]]]] = {
    "htpasswd": by_password,
    "token": by_token,
}

OPEN = (Setting("filesystem", "", 2), Setting("s3", "", 4))
CLOSED = (Setting("filesystem", "htpasswd", 4), Setting("s3", "token", 2))


def every_setting(*by_default: Setting) -> list[Any]:
    """Return all settings as parameters of a fixture; those that are not named here are marked `long`."""
    return [
        pytest.param(setting, marks=[] if setting in by_default else [pytest.mark.long])
        for setting in OPEN + CLOSED
    ]
