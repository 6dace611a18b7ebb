"""A secret that stands where a file's name should is never shown whole, whichever option it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError

SECRETS = ["MIIEowIBAAKCAQEA" + "q7Jx+/9A" * 200, "hunter2:s3cr3t-pw"]


def wrapper(**options: Any) -> dict[str, Any]:
    given = {"baseurl": "d1.example", "privatekey": "keys", **options}
    return {"middleware": {"storage": [{"name": "cloudfront", "options": given}]}}


OPTIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "privatekey": lambda secret: wrapper(privatekey=secret),
    "privatekey with an id": lambda secret: wrapper(privatekey=secret, keypairid="K1"),
    "keypairid": lambda secret: wrapper(privatekey="keys/pk-KEXAMPLE1.pem", keypairid=secret),
    "iprangesfile": lambda secret: wrapper(ipfilteredby="aws", iprangesfile=secret),
    "publickeys": lambda secret: {"edge": {"publickeys": {"K1": secret}}},
    "htpasswd": lambda secret: {"auth": {"htpasswd": {"realm": "r", "path": secret}}},
    "rootcertbundle": lambda secret: {
        "auth": {"token": {"realm": "http://r", "service": "s", "issuer": "i", "rootcertbundle": secret}}
    },
    "jwks": lambda secret: {
        "auth": {"token": {"realm": "http://r", "service": "s", "issuer": "i", "jwks": secret}}
    },
    "redis": lambda secret: {"redis": {"addr": "r:1", "tls": {"certificate": secret, "key": secret}}},
    "redis clientcas": lambda secret: {"redis": {"addr": "r:1", "tls": {"clientcas": [secret]}}},
    "tls": lambda secret: {"http": {"tls": {"certificate": secret, "key": secret}}},
}


def build(config: Config) -> None:
    """Build whatever opens files."""
    tls = config.tls_options()
    if tls is not None:
        tls.context()
    if config.edge_address() is not None:
        config.edge()
    config.app()


@pytest.mark.parametrize("secret", SECRETS, ids=["key", "password"])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_secret_given_as_a_path_is_not_repeated(
    directory: Path, option: str, secret: str, caplog: pytest.LogCaptureFixture
):
    tree = {"version": 0.1, "storage": {"inmemory": {}}, **OPTIONS[option](secret)}
    with pytest.raises(ConfigError) as caught:
        build(Config(tree, "config.yml", directory))
    for said in (str(caught.value), caplog.text):
        assert secret[8:] not in said
        assert secret.rpartition("/")[2] not in said
