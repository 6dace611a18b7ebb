"""The section `auth` of a configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.auth_material import ISSUER, REALM, SERVICE, basic, bearer, htpasswd, jwk, jwks, private_key, token
from werkzeug.test import Client

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keys import generate

TOKEN = {"realm": REALM, "service": SERVICE, "issuer": ISSUER}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "users").write_bytes(htpasswd({"alice": "x"}))
    (tmp_path / "jwks.json").write_bytes(jwks(jwk(private_key("P-256"), kid="one")))
    (tmp_path / "key.pem").write_text(generate("ecdsa").private_pem)
    return tmp_path


def load(directory: Path, auth: Any, environ: dict[str, str] | None = None, **sections: Any) -> Config:
    """Read a file whose section `auth` is as given; `...` leaves it out."""
    tree = {"version": 0.1, "storage": {"inmemory": {}}, **sections}
    if auth is not ...:
        tree["auth"] = auth
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    return Config.load(directory / "config.yml", environ or {})


def status(config: Config, headers: dict[str, str] | None = None) -> int:
    return Client(config.registry()).get("/v2/", headers=headers).status_code


def refusal(directory: Path, auth: Any, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, auth, **more).registry()
    (line,) = str(caught.value).splitlines()
    start = f"{directory}/config.yml: "
    assert line.startswith(start)
    return line.removeprefix(start).replace(f"{directory}/", "")


def test_without_the_section_everybody_may_do_everything(directory: Path):
    config = load(directory, ...)
    assert not config.has_auth()
    assert status(config) == 200


def test_a_relative_path_of_users_is_relative_to_the_file(directory: Path):
    config = load(directory, {"htpasswd": {"realm": "r", "path": "users"}})
    assert config.has_auth()
    assert status(config) == 401
    assert status(config, basic("alice", "x")) == 200


def test_a_relative_path_of_keys_is_relative_to_the_file(directory: Path):
    config = load(directory, {"token": {**TOKEN, "jwks": "jwks.json", "signingalgorithms": ["ES256"]}})
    assert status(config) == 401
    assert status(config, bearer(token(private_key("P-256"), "ES256"))) == 200


def test_variables_alone_can_ask_for_it_as_in_distribution(directory: Path):
    environ = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "r",
        "REGISTRY_AUTH_HTPASSWD_PATH": str(directory / "users"),
    }
    config = load(directory, ..., environ)
    assert status(config) == 401
    assert status(config, basic("alice", "x")) == 200


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        (None, "auth: is empty; there are htpasswd and token, or leave the section out"),
        ({}, "auth: is empty; there are htpasswd and token, or leave the section out"),
        ("htpasswd", "auth: must be a section of options"),
        ({"htpaswd": {}}, "auth.htpaswd: there is no such way to authenticate (did you mean 'htpasswd'?)"),
        ({"silly": {}}, "auth.silly: there is no such way to authenticate; there are htpasswd and token"),
        ({"htpasswd": {}, "token": {}}, "auth: htpasswd and token are two ways; there can be one only"),
        ({"htpasswd": None}, "auth.htpasswd.realm: this option is required"),
        ({"htpasswd": "users"}, "auth.htpasswd: must be a section of options"),
        ({"htpasswd": {"realm": "r"}}, "auth.htpasswd.path: this option is required"),
        ({"htpasswd": {"realm": "r", "pth": "p"}}, "auth.htpasswd.pth: there is no such option"),
        ({"htpasswd": {"realm": "ä", "path": "users"}}, "auth.htpasswd.realm: must be printable ASCII"),
        (
            {"htpasswd": {"realm": "r", "path": "none"}},
            "auth.htpasswd: none: cannot be read: No such file or directory",
        ),
        (
            {"htpasswd": {"realm": "r", "path": "key.pem"}},
            "auth.htpasswd: key.pem: line 1 is not a user and a bcrypt hash",
        ),
        ({"token": {}}, "auth.token.realm: this option is required"),
        ({"token": {**TOKEN, "issuer": ""}}, "auth.token.issuer: this option is required"),
        ({"token": TOKEN}, "auth.token.rootcertbundle: this option or 'jwks' is required"),
        ({"token": {**TOKEN, "jwks": "none"}}, "auth.token: none: cannot be read: No such file"),
        ({"token": {**TOKEN, "jwks": "users"}}, "auth.token: users: is not a JSON Web Key Set"),
        ({"token": {**TOKEN, "rootcertbundle": "users"}}, "auth.token: users: has no certificate in PEM"),
        (
            {"token": {**TOKEN, "jwks": "jwks.json", "signingalgorithms": ["HS256"]}},
            "auth.token.signingalgorithms: 'HS256' is none of PS256, ",
        ),
        (
            {"token": {**TOKEN, "jwks": "jwks.json", "signingalgorithms": 7}},
            "auth.token.signingalgorithms: must be a list, or text with commas between the words",
        ),
        (
            {"token": {**TOKEN, "jwks": "jwks.json", "signingalgorithms": []}},
            "auth.token.signingalgorithms: must be a list such as [RS256, ES256]",
        ),
        (
            {"token": {**TOKEN, "jwks": "jwks.json", "autoredirect": "maybe"}},
            "auth.token.autoredirect: 'maybe' is neither true nor false",
        ),
    ],
)
def test_a_mistake_is_one_line(directory: Path, auth: Any, line: str):
    assert refusal(directory, auth).startswith(line)


def wrapped(directory: Path, **options: Any) -> dict[str, Any]:
    """Return a section `middleware` with a wrapper."""
    named = {"baseurl": "https://d1.cloudfront.net", "privatekey": "key.pem", "keypairid": "K1", **options}
    return {"middleware": {"storage": [{"name": "cloudfront", "options": named}]}}


def test_a_wrapper_that_asks_nobody_does_not_go_with_it(directory: Path):
    auth = {"htpasswd": {"realm": "r", "path": "users"}}
    for probe in ("none", " None"):
        with pytest.raises(ConfigError, match=r"options\.probe: 'none' authorises every client"):
            load(directory, auth, **wrapped(directory, probe=probe)).app()
    load(directory, auth, **wrapped(directory, probe="head")).app()
    load(directory, ..., **wrapped(directory, probe="none")).app()


_WITHOUT = """
import sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None  # as if it were not installed
from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError
try:
    Config.load(sys.argv[1], {}).registry()
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("auth", "without", "line"),
    [
        ({"htpasswd": {"realm": "r", "path": "users"}}, "bcrypt", "auth.htpasswd: bcrypt is not installed"),
        ({"token": {**TOKEN, "jwks": "jwks.json"}}, "jwt", "auth.token: jwt is not installed"),
        ({"token": {**TOKEN, "jwks": "jwks.json"}}, "cryptography", "auth.token: cryptography"),
        ({"htpasswd": {"realm": "r", "path": "users"}}, "jwt,cryptography", ""),
        (..., "bcrypt,jwt", ""),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(
    directory: Path, auth: Any, without: str, line: str
):
    load(directory, auth)
    command = [sys.executable, "-c", _WITHOUT, str(directory / "config.yml"), without]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    said = done.stdout.removeprefix(f"{directory}/config.yml: ")
    assert said.startswith(line)
    assert bool(said) == bool(line)
    assert said == "" or said.endswith("; install cfmiddleware[auth]\n")
