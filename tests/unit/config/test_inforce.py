"""What is in force, and where each value comes from."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from lab.configurations import WRAPPED

import cfmiddleware
from cfmiddleware.config.inforce import HIDDEN, in_force
from cfmiddleware.config.sectionclasses import SECTION_CLASSES
from cfmiddleware.errors import ConfigError


def found(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> dict[str, tuple[str, str]]:
    file = directory / "config.yml"
    file.write_text(text)
    return {each.place: (each.value, each.source) for each in in_force(file, environ or {})}


def test_a_value_has_the_line_that_it_stands_in(tmp_path: Path):
    values = found(tmp_path, WRAPPED)
    assert values["log.level"] == ("debug", "line 3")
    assert values["storage.delete.enabled"] == ("true", "line 6")
    assert values["middleware.storage[0].options.baseurl"] == (
        "https://d111111abcdef8.cloudfront.net",
        "line 12",
    )


def test_a_value_that_a_variable_sets_has_its_name(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("10m")
    variables = {
        "REGISTRY_HTTP_ADDR": ":5001",
        "REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_DURATION": "30m",
        "REGISTRY_SERVER": "{workers: 5}",
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTORTTL_FILE": str(secret),
    }
    values = found(tmp_path, WRAPPED, variables)
    assert values["http.addr"] == (":5001", "REGISTRY_HTTP_ADDR")
    assert values["http.prefix"] == ("/registry", "line 7")
    assert values["middleware.storage[0].options.duration"] == (
        "30m",
        "REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_DURATION",
    )
    assert values["server.workers"] == ("5", "REGISTRY_SERVER")
    assert values["storage.cache.blobdescriptorttl"] == (
        "10m",
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTORTTL_FILE",
    )


def test_what_nobody_has_written_is_the_default(tmp_path: Path):
    values = found(tmp_path, WRAPPED)
    assert values["server.idletimeout"] == ("75s", "default")
    assert values["log.accesslog.disabled"] == ("false", "default")
    assert values["middleware.storage[0].options.probe"] == ("get", "default")
    assert not any(place.startswith("redis.") for place in values)


def test_the_defaults_of_small_sections_are_shown(tmp_path: Path):
    auth = "auth: {token: {realm: r, service: s, issuer: i, jwks: k}}"
    values = found(tmp_path, f"version: 0.1\nstorage: {{filesystem: }}\n{auth}\n")
    assert values["storage.filesystem.rootdirectory"] == ("/var/lib/registry", "default")
    assert values["auth.token.autoredirectpath"] == ("/auth/token", "default")
    assert values["catalog.maxentries"] == ("1000", "default")
    assert values["validation.manifests.mediatypes"] == ("all", "default")


def test_a_value_that_comes_by_an_alias_has_the_line_of_its_section(tmp_path: Path):
    text = (
        "version: 0.1\nstorage:\n  inmemory:\nhealth:\n  tcp:\n    - &one\n      addr: 'a:1'\n"
        "      interval: 20s\n    - <<: *one\n      addr: 'b:1'\n"
    )
    values = found(tmp_path, text)
    assert values["health.tcp[1].addr"] == ("b:1", "line 10")
    assert values["health.tcp[1].interval"] == ("20s", "line 9")


SECRETS = """
version: 0.1
storage:
  s3: {bucket: b, region: eu-west-1, accesskey: OPEN-1, secretkey: OPEN-2, sessiontoken: OPEN-3}
  cache: {blobdescriptor: redis}
redis: {addr: "localhost:6379", password: OPEN-4}
http: {secret: OPEN-5}
health:
  http: [{uri: "http://me:OPEN-6@example.com/alive?key=OPEN-12", headers: {Authorization: [OPEN-7]}}]
notifications:
  endpoints:
    - {name: a, url: "https://u:OPEN-8@example.com/x?key=OPEN-13#OPEN-14", headers: {X-Key: [OPEN-9]}}
reporting: {newrelic: {licensekey: OPEN-15}, bugsnag: {apikey: OPEN-16}}
log: {fields: {api_key: OPEN-17}}
middleware:
  storage:
    - name: cloudfront
      options:
        baseurl: https://d111111abcdef8.cloudfront.net
        keypairid: K1
        privatekey: |
          -----BEGIN RSA PRIVATE KEY-----
          OPEN-10
          -----END RSA PRIVATE KEY-----
"""


def test_no_secret_is_shown(tmp_path: Path):
    values = found(tmp_path, SECRETS, {"REGISTRY_PROXY_PASSWORD": "OPEN-11"})
    assert not any("OPEN" in value for value, _ in values.values())
    assert values["storage.s3.secretkey"] == (HIDDEN, "line 4")
    assert values["middleware.storage[0].options.privatekey"] == (HIDDEN, "line 21")
    assert values["health.http[0].uri"][0] == f"http://{HIDDEN}@example.com/alive?{HIDDEN}"


@pytest.mark.parametrize(
    "variables",
    [
        {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_HEADERS_AUTHORIZATION": "OPEN"},
        {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_HEADERS": "{Authorization: [OPEN]}"},
        {"REGISTRY_NOTIFICATIONS": "{endpoints: [{name: a, url: 'https://u:OPEN@h/', headers: {A: OPEN}}]}"},
        {"REGISTRY_STORAGE": "{s3: {bucket: b, region: r, accesskey: OPEN, secretkey: OPEN}}"},
        {"REGISTRY_REDIS": "{addr: 'localhost:6379', password: OPEN}"},
    ],
)
def test_no_secret_of_a_variable_is_shown(variables: dict[str, str], tmp_path: Path):
    text = "version: 0.1\nstorage: {s3: {bucket: b, region: r}}\nnotifications: {endpoints: [{name: a, url: 'https://h/'}]}\n"
    values = found(tmp_path, text, variables)
    assert set(variables) & {source for _, source in values.values()}
    assert not any("OPEN" in value for value, _ in values.values())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("http: {host: 'https://u:OPEN@h:0'}", "http.host"),
        (
            "middleware: {storage: [{name: cloudfront, options: {baseurl: 'https://u:OPEN@x'}}]}",
            "middleware.storage[0].options.baseurl",
        ),
        ("health: {http: [{uri: 'ftp://u:OPEN@h'}]}", "health.http[0].uri"),
        ("redis: {addr: 'redis://u:OPEN@h:1'}", "redis.addr"),
        ("server: {workers: 'http://u:OPEN@h'}", "server.workers"),
    ],
)
def test_a_mistake_in_a_url_is_told_without_its_password(text: str, place: str, tmp_path: Path):
    with pytest.raises(ConfigError) as refused:
        found(tmp_path, f"version: 0.1\nstorage: {{inmemory: }}\n{text}\n")
    assert f"config.yml: {place}: " in str(refused.value)
    assert "OPEN" not in str(refused.value)


def test_a_pipe_is_read_once(tmp_path: Path):
    reads, writes = os.pipe()
    os.write(writes, WRAPPED.encode())
    os.close(writes)
    try:
        places = {each.place: each.source for each in in_force(f"/dev/fd/{reads}", {})}
    finally:
        os.close(reads)
    assert places["log.level"] == "line 3"


def test_what_cannot_be_used_is_refused_as_at_the_start(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"server\.workers"):
        found(tmp_path, "version: 0.1\nstorage: {inmemory: }\nserver: {workers: none}\n")


def test_each_class_of_options_has_its_section():
    listed = {section.kind for section in SECTION_CLASSES}
    package = Path(cfmiddleware.__file__).parent
    for file in sorted([*package.glob("config/*options.py"), *package.glob("middleware/*options.py")]):
        module = importlib.import_module(f"cfmiddleware.{file.parent.name}.{file.stem}")
        for value in vars(module).values():
            is_local = isinstance(value, type) and value.__module__ == module.__name__
            if is_local and getattr(value, "PARSERS", None):
                assert value in listed
