"""Clients that are slow, or do not go on at all, keep nobody else waiting."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from lab.registry_client import OCI_MANIFEST, image_manifest
from lab.servers import CFMIDDLEWARE, Server, eventually, free_port, members, running
from lab.serving import Answer, ask
from lab.signing_material import rsa_pem
from lab.slow_clients import KINDS, SlowClients, Targets, begin_uploads

from cfmiddleware.digest import Digest

HELD = 300

#: Seconds that a good client waits.
PATIENCE = 10

#: A blob that the registry serves itself, because it is small, and one that it redirects.
SERVED, REDIRECTED = b"s" * (2 << 20), b"r" * ((2 << 20) + 1)

#: Every kind of slow client on every kind of connection; in plain HTTP there is no handshake to stall in.
WAYS = [
    pytest.param(kind, tls, id=f"{kind}-{'tls' if tls else 'plain'}", marks=[pytest.mark.long] if tls else [])
    for kind, tls in itertools.product(KINDS, (False, True))
    if tls or kind != "handshake"
]


class Registry(NamedTuple):
    """A registry that redirects what is large, and its certificate where it speaks TLS."""

    server: Server
    port: int
    certificate: Path | None

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Answer:
        """Ask as a good client does, on a new connection."""
        url = f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}{path}"
        headers = {"Content-Type": kind} if kind else {}
        return ask(method, url, body, headers, PATIENCE, self.certificate)

    def push(self, name: str, content: bytes) -> Digest:
        """Push a blob in one request."""
        digest = Digest.of(content)
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
        assert answer.status == 201, answer
        return digest

    def descriptors(self) -> int:
        """Return how many descriptors its processes have open."""
        return sum(map(_open, members(self.server.process.pid)))


def _open(process: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{process}/fd"))
    return 0


@contextlib.contextmanager
def serve(directory: Path, certificate: Path | None) -> Iterator[Registry]:
    (directory / "pk-KSLOWCLIENTS.pem").write_text(rsa_pem(1))
    port = free_port()
    options = {
        "baseurl": "https://d111111abcdef8.cloudfront.net",
        "privatekey": "pk-KSLOWCLIENTS.pem",
        "minimumsize": len(REDIRECTED),
    }
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if certificate is not None:
        http["tls"] = {"certificate": str(certificate), "key": str(certificate)}
    tree = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": http,
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
    }
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], directory, ports=[port]) as server:
        yield Registry(server, port, certificate)


@pytest.fixture(scope="module")
def registries(
    tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> Iterator[dict[bool, tuple[Registry, Targets]]]:
    """A registry without TLS and one with it, each with what the slow clients ask for."""
    with contextlib.ExitStack() as stack:
        found = {}
        for tls in (False, True):
            directory = tmp_path_factory.mktemp("registry")
            registry = stack.enter_context(serve(directory, certificate if tls else None))
            found[tls] = registry, targets(registry)
        yield found


def targets(registry: Registry) -> Targets:
    served = registry.push("app", SERVED)
    registry.push("app", REDIRECTED)
    large = image_manifest(served, [served], annotations={"filler": "x" * ((4 << 20) - 2000)})
    answer = registry.ask("PUT", "/v2/app/manifests/large", json.dumps(large).encode(), OCI_MANIFEST)
    assert answer.status == 201, answer
    uploads = begin_uploads(registry.port, "app", HELD, registry.certificate)
    return Targets(
        registry.port,
        registry.certificate,
        manifest="/v2/app/manifests/large",
        blob=f"/v2/app/blobs/{served}",
        uploads=uploads,
    )


@pytest.mark.parametrize(("kind", "tls"), WAYS)
def test_others_are_answered_while_slow_clients_are_held(
    registries: dict[bool, tuple[Registry, Targets]], kind: str, tls: bool
):
    registry, targets = registries[tls]
    before = registry.descriptors()

    with SlowClients(targets, kind, HELD) as clients:
        assert clients.wait_until_open()
        for number in range(5):
            assert registry.ask("GET", "/v2/").status == 200
            assert registry.ask("GET", f"/v2/app/blobs/{Digest.of(REDIRECTED)}").status == 307
            small = registry.push("app", f"{kind} {tls} {number}".encode())
            manifest = json.dumps(image_manifest(small, [small])).encode()
            assert registry.ask("PUT", "/v2/app/manifests/small", manifest, OCI_MANIFEST).status == 201
        assert clients.counts().highest == HELD

    # Connections to whatever the registry itself uses may stay.
    assert eventually(lambda: registry.descriptors() <= before + 20, 30), (before, registry.descriptors())
