"""The registries in `examples/`: each README's commands as they stand, and what the registry then does."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest
from lab import PROJECT
from lab.clients import find_program
from lab.images import Image, blobs_in
from lab.servers import Server, eventually, free_ports
from lab.serving import Answer, ask

pytestmark = [pytest.mark.clients, pytest.mark.long]

EXAMPLES = PROJECT / "examples"
PORTS = ("127.0.0.1:5000", "127.0.0.1:5001", "127.0.0.1:9000", "-p 9000")
_BLOCK = re.compile(r"::\n\n((?:    .*\n)+)")


class Registry(NamedTuple):
    """One of them, after the last command of its README."""

    here: Path
    url: str
    edge: str
    server: Server

    def token(self, *scopes: str, password: str = "sesame") -> Answer:
        basic = base64.b64encode(f"alice:{password}".encode()).decode()
        query = "&".join(f"scope={scope}" for scope in scopes)
        return ask("GET", f"{self.url}/token?service=x&{query}", headers={"Authorization": f"Basic {basic}"})

    def ask(self, method: str, path: str, *scopes: str) -> Answer:
        """Ask with a token for *scopes*; without a token where there are none."""
        headers = {}
        if scopes:
            headers["Authorization"] = f"Bearer {json.loads(self.token(*scopes).body)['token']}"
        return ask(method, self.url + path, headers=headers)


def commands(readme: str) -> str:
    """Return what a reader types: the blocks that are not Python, without what is installed already."""
    blocks = [dedent(found) for found in _BLOCK.findall(readme) if "CloudFrontMiddleware(" not in found]
    return "".join(
        line + "\n" for block in blocks for line in block.splitlines() if not line.startswith("pip install")
    )


@pytest.fixture(scope="module", params=["flask-registry", "django-registry"])
def registry(
    request: pytest.FixtureRequest, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    find_program("skopeo")
    scratch = tmp_path_factory.mktemp(request.param)
    here = scratch / "example"
    here.mkdir()
    own, edge, s3 = free_ports(3)
    for name in ("README.rst", "registry.py", "edge.yml"):
        text = (EXAMPLES / request.param / name).read_text()
        new = (f"127.0.0.1:{own}", f"127.0.0.1:{edge}", f"127.0.0.1:{s3}", f"-p {s3}")
        for old, port in zip(PORTS, new, strict=True):
            text = text.replace(old, port)
        (here / name).write_text(text)
    policy = scratch / "home/.config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    script = f"set -e\ncd {here}\n{commands((here / 'README.rst').read_text())}\necho reached the end\nwait\n"
    # The reader has to wait for servers; a test looks whether they are there.
    for port, wait in ((s3, "& sleep 5"), (own, "&\nsleep 5")):
        there = f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done"
        assert wait in script
        script = script.replace(wait, f"&\n{there}", 1)
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(scratch / "home"),
        "IMAGE": f"oci:{image.layout}",
        "TMPDIR": str(scratch),
        "_CONTAINERS_ROOTLESS_UID": "1",
    }
    server = Server(["bash", "-c", script], scratch, env)
    try:
        ended = eventually(
            lambda: "reached the end" in server.stdout or server.process.poll() is not None, 240
        )
        assert ended, server.stderr
        assert "reached the end" in server.stdout, server.stdout + server.stderr
        yield Registry(here, f"http://127.0.0.1:{own}", f"http://127.0.0.1:{edge}", server)
    finally:
        server.stop(signal.SIGTERM, 3)


def test_the_image_that_was_pushed_came_back_through_the_edge(registry: Registry, image: Image):
    assert blobs_in(registry.here / "pulled") == blobs_in(image.layout)

    def sent() -> list[str]:
        return re.findall(r"edge GET \S*/([0-9a-f]{64})/data 200", registry.server.stderr)

    assert eventually(lambda: {f"sha256:{each}" for each in sent()} >= set(image.blobs), 30)


def test_a_blob_is_a_redirect_to_the_edge_for_one_who_may_pull_it(registry: Registry, image: Image):
    answer = registry.ask("GET", f"/v2/alice/app/blobs/{image.config}", "repository:alice/app:pull")

    assert answer.status == 307
    assert answer.headers["Location"].startswith(f"{registry.edge}/docker/registry/v2/blobs/sha256/")
    assert ask("GET", answer.headers["Location"]).status == 200


@pytest.mark.parametrize(
    "scopes",
    [
        (),
        ("repository:alice/other:pull,push",),
        ("repository:alice/app:push",),
        ("repository:bob/app:pull",),
    ],
    ids=["no token", "another repository", "another action", "another user's"],
)
def test_a_token_for_something_else_is_401_without_a_signed_url(
    registry: Registry, image: Image, scopes: tuple[str, ...]
):
    answer = registry.ask("GET", f"/v2/alice/app/blobs/{image.config}", *scopes)

    assert answer.status == 401
    assert "Location" not in answer.headers
    assert b"Signature" not in answer.body
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith(f'Bearer realm="{registry.url}/token",')
    assert 'scope="repository:alice/app:pull"' in challenge


def test_a_blob_that_another_repository_has_is_not_there(registry: Registry, image: Image):
    path = f"/v2/alice/other/blobs/{image.config}"
    assert registry.ask("GET", path, "repository:alice/other:pull").status == 404


def test_who_may_only_pull_cannot_push(registry: Registry):
    assert registry.ask("POST", "/v2/alice/app/blobs/uploads/", "repository:alice/app:pull").status == 401
    answer = registry.ask("POST", "/v2/alice/app/blobs/uploads/", "repository:alice/app:pull,push")
    assert answer.status == 202


def test_a_wrong_password_gets_no_token(registry: Registry):
    answer = registry.token("repository:alice/app:pull", password="wrong")
    assert answer.status == 401
    assert b'"token"' not in answer.body
    for credential in ("Basic !", "Basic", "Bearer x", ""):
        assert ask("GET", f"{registry.url}/token", headers={"Authorization": credential}).status == 401


def test_it_is_read_in_ten_minutes(registry: Registry):
    code = (registry.here / "registry.py").read_text().splitlines()
    assert len([line for line in code if line.strip() and not line.strip().startswith("#")]) <= 170
    assert len((registry.here / "README.rst").read_text().splitlines()) <= 50
