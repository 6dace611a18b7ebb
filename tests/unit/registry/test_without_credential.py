"""What needs no credential: a probe's `GET /`, and a browser's question before a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab.apps import Answered, ask, request
from lab.auth_material import htpasswd

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest

BLOB = f"/v2/team/app/blobs/{Digest.of(b'layer')}"


def app(directory: Path, *, auth: bool, **sections: Any) -> Any:
    """Return a registry whose answers may be read by a page of another site."""
    (directory / "htpasswd").write_bytes(htpasswd({"alice": "open sesame"}))
    headers = {"Access-Control-Allow-Origin": ["http://ui.example.com"]}
    tree: dict[str, Any] = {"storage": {"inmemory": None}, "http": {"headers": headers}, **sections}
    if auth:
        tree["auth"] = {"htpasswd": {"realm": "r", "path": "htpasswd"}}
    return Config(tree, "config.yml", directory).app()


@pytest.fixture(params=[False, True], ids=["open", "with auth"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return app(tmp_path, auth=request.param)


def field(answer: Answered, name: str) -> str | None:
    return next((value for header, value in answer.headers if header == name), None)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_is_200_for_balancers_and_probes(registry: Any, method: str):
    answer = ask(registry, request("/", method))

    assert (answer.code, answer.body, field(answer, "Cache-Control")) == (200, b"", "no-cache")


def test_the_root_of_a_mounted_or_prefixed_registry_is_one_too(tmp_path: Path):
    prefixed = app(tmp_path, auth=True, http={"prefix": "/registry"})

    paths = ["/", "", "/registry", "/registry/", "/other", "/registry/other"]
    assert [ask(prefixed, request(path)).code for path in paths] == [200, 200, 200, 200, 404, 404]


def test_the_root_takes_nothing_else(registry: Any):
    assert ask(registry, request("/", "POST")).code == 405


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/v2/", "GET, HEAD, OPTIONS"),
        ("/v2/_catalog", "GET, HEAD, OPTIONS"),
        ("/v2/team/app/tags/list", "GET, HEAD, OPTIONS"),
        (BLOB, "GET, HEAD, OPTIONS"),
        ("/v2/team/app/manifests/latest", "GET, HEAD, OPTIONS, PUT"),
        ("/v2/team/app/blobs/uploads/", "OPTIONS, POST"),
    ],
)
def test_a_browsers_preflight_is_200_without_a_credential(registry: Any, path: str, methods: str):
    preflight = {"HTTP_ORIGIN": "http://ui.example.com", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET"}

    answer = ask(registry, request(path, "OPTIONS", **preflight))

    assert (answer.code, answer.body, field(answer, "Allow")) == (200, b"", methods)
    assert field(answer, "Access-Control-Allow-Origin") == "http://ui.example.com"


def test_what_may_be_deleted_says_so(tmp_path: Path):
    registry = app(tmp_path, auth=True, storage={"inmemory": None, "delete": {"enabled": True}})

    answer = ask(registry, request("/v2/team/app/manifests/latest", "OPTIONS"))

    assert field(answer, "Allow") == "DELETE, GET, HEAD, OPTIONS, PUT"


def test_a_preflight_passes_the_wrapper(tmp_path: Path):
    from cfmiddleware.signing.keys import generate

    key = {"privatekey": generate("ecdsa").private_pem, "keypairid": "K1"}
    entry = {"name": "cloudfront", "options": {"baseurl": "https://d.example", **key}}
    registry = app(tmp_path, auth=True, middleware={"storage": [entry]})

    assert ask(registry, request(BLOB, "OPTIONS")).code == 200


def test_everything_else_asks_for_the_credential(tmp_path: Path):
    registry = app(tmp_path, auth=True)

    assert {ask(registry, request(path)).code for path in ("/v2/", BLOB, "/v2/_catalog")} == {401}


def test_a_path_that_is_none_is_404_for_a_preflight_too(registry: Any):
    assert ask(registry, request("/other", "OPTIONS")).code == 404
