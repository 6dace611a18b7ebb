"""A wrapped app of any kind while a health check fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab.apps import BLOB, ask, request

from cfmiddleware.config import Config
from cfmiddleware.health.watch import Health
from cfmiddleware.middleware.guarded import Guarded
from cfmiddleware.registry.app import Registry
from cfmiddleware.signing.keys import generate
from cfmiddleware.storage.memory import MemoryDriver


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


class Sick(Health):
    """Health that is as a test says, and looks at nothing."""

    sick = True

    def __init__(self, redirects: bool) -> None:
        super().__init__([], redirects=redirects)

    @property
    def is_healthy(self) -> bool:
        return not self.sick


@pytest.mark.parametrize("redirects", [False, True])
def test_only_pulls_and_what_is_not_of_the_registry_pass_while_a_check_fails(redirects: bool):
    health = Sick(redirects)
    guarded = Guarded(app, health, "/hub")

    def codes() -> list[int]:
        asked = [("GET", "/"), ("GET", "/v2/"), ("GET", "/hub/v2/"), ("GET", "/hub/v2"), ("HEAD", "/hub/v2/")]
        asked += [("PUT", "/hub/v2/team/app/manifests/v1"), ("GET", f"/hub{BLOB}"), ("HEAD", f"/hub{BLOB}")]
        return [ask(guarded, request(path, method)).code for method, path in asked]

    assert codes() == [200, 200, 503, 503, 503, 503, 200 if redirects else 503, 503]
    answer = ask(guarded, request("/hub/v2/"))
    assert json.loads(answer.body)["errors"][0]["code"] == "UNAVAILABLE"
    assert dict(answer.headers)["Retry-After"]
    health.sick = False
    assert codes() == [200] * 8


def test_a_configuration_file_guards_the_app_that_it_wraps_and_leaves_ours_to_itself(tmp_path: Path):
    (tmp_path / "pk-K1.pem").write_text(generate("ecdsa").private_pem)
    options = {"baseurl": "d1.example", "privatekey": "pk-K1.pem"}
    tree: dict[str, Any] = {
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
        "health": {"file": [{"file": str(tmp_path / "down"), "interval": "10s"}]},
    }
    config = Config(tree, "config.yml", tmp_path)
    assert isinstance(config.surrounded(app), Guarded)
    assert not isinstance(config.surrounded(Registry(MemoryDriver())), Guarded)
    del tree["health"]
    assert not isinstance(Config(tree, "config.yml", tmp_path).surrounded(app), Guarded)
