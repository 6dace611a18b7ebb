"""Every key of Distribution's configuration gets the verdict that the table in the docs gives it."""

from __future__ import annotations

import copy
import gzip
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import PROJECT
from lab.required import cannot_run

from cfmiddleware.config import Config
from cfmiddleware.config.distributionkeys import KEYS, Key
from cfmiddleware.errors import ConfigError

sys.path.insert(0, str(PROJECT / "docs" / "_ext"))
from keyrows import cells

#: The reference that Debian has beside Distribution itself.
REFERENCE = Path("/usr/share/doc/docker-registry/configuration.md.gz")

#: What a key of this name, or with this end, may have as its value.
VALUES: dict[str, Any] = {
    "version": 0.1,
    "enabled": True,
    "disabled": False,
    "log.level": "warn",
    "loglevel": "warn",
    "log.formatter": "json",
    "log.fields": {"service": "registry"},
    "log.reportcaller": True,
    "storage.filesystem.maxthreads": 100,
    "storage.s3.loglevel": "debug",
    "storage.s3.regionendpoint": "http://s3.example.com",
    "storage.s3.redirectendpoint": "http://s3.example.com",
    "storage.s3.storageclass": "STANDARD",
    "storage.s3.objectacl": "private",
    "storage.inmemory": {},
    "storage.redirect.disable": True,
    "storage.cache.blobdescriptor": "inmemory",
    "storage.cache.layerinfo": "inmemory",
    "storage.maintenance.uploadpurging.age": "168h",
    "storage.maintenance.uploadpurging.dryrun": False,
    "storage.tag.concurrencylimit": 8,
    "auth.token.signingalgorithms": ["RS256"],
    "middleware.storage.name": "cloudfront",
    "middleware.storage.cloudfront.baseurl": "https://d111111abcdef8.cloudfront.net",
    "middleware.storage.cloudfront.ipfilteredby": "aws",
    "middleware.storage.redirect.baseurl": "https://cdn.example.com:5443",
    "middleware.storage.rewrite.scheme": "https",
    "middleware.storage.cloudfront.awsregion": "us-east-1, us-east-2",
    "middleware.storage.cloudfront.iprangesurl": "https://ip-ranges.amazonaws.com/ip-ranges.json",
    "notifications.endpoints.url": "https://listener.example.com",
    "notifications.events.includereferences": True,
    "notifications.endpoints.headers": {"Authorization": ["x"]},
    "notifications.endpoints.ignore.actions": ["pull"],
    "http.addr": "localhost:5000",
    "http.net": "tcp",
    "http.host": "https://registry.example.com:5000",
    "http.prefix": "/my/nested/registry/",
    "http.debug.addr": "localhost:5001",
    "http.debug.prometheus.path": "/metrics",
    "health.http.uri": "http://server/alive",
    "health.http.headers": {"Authorization": ["x"]},
    "health.tcp.addr": "redis:6379",
    **dict.fromkeys(("interval", "timeout", "backoff"), "10s"),
    **{"threshold": 3, "statuscode": 200},
    "http.headers": {"X-Content-Type-Options": ["nosniff"]},
    "http.tls.clientauth": "require-and-verify-client-cert",
    "http.tls.minimumtls": "tls1.2",
    "http.tls.ciphersuites": ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
    "redis.addr": "localhost:6379",
    "redis.addrs": ["localhost:6379"],
    "redis.db": 0,
    "redis.protocol": 3,
    "redis.readonly": True,
    **dict.fromkeys(("maxretries", "maxredirects", "maxactiveconns"), 3),
    **dict.fromkeys(("pooltimeout", "minretrybackoff", "maxretrybackoff"), "10ms"),
    "proxy.remoteurl": "https://registry-1.docker.io",
    "validation.manifests.indexes.platforms": "all",
    "validation.manifests.urls.allow": [r"^https?://([^/]+\.)*example\.com/"],
    "validation.manifests.urls.deny": [r"^https?://www\.example\.com/"],
    "validation.manifests.indexes.platformlist": [{"os": "linux", "architecture": "amd64"}],
    **{name: ["x"] for name in ("clientcas", "rootcas", "hosts", "mediatypes", "actions", "classes")},
    **dict.fromkeys(("duration", "updatefrequency", "updatefrenquency", "draintimeout"), "60s"),
    **dict.fromkeys(("dialtimeout", "readtimeout", "writetimeout"), "10ms"),
    **dict.fromkeys(("chunksize", "multipartcopychunksize"), 10485760),
    **dict.fromkeys(("multipartcopymaxconcurrency", "multipartcopythresholdsize"), 33554432),
    **dict.fromkeys(("blobdescriptorsize", "maxentries", "maxtags", "poolsize", "maxactive"), 100),
    **dict.fromkeys(("forcepathstyle", "encrypt", "secure", "v4auth", "usedualstack", "accelerate"), True),
    **dict.fromkeys(("skipverify", "usefipsendpoint", "relativeurls", "autoredirect"), False),
}

#: What a section must have so that it can be read, and what must stand beside a key.
BELOW: dict[str, Any] = {
    "log.hooks": {"type": "mail"},
    "notifications.endpoints": {"name": "x", "url": "https://listener.example.com"},
    "storage.s3": {"bucket": "images", "region": "us-west-1"},
    "auth.token": {"realm": "x", "service": "x", "issuer": "x", "rootcertbundle": "x"},
    "auth.htpasswd": {"realm": "x", "path": "x"},
    "http.tls": {"certificate": "x", "key": "x"},
    "redis": {"addr": "localhost:6379"},
    "health.file": {"file": "x"},
    "health.http": {"uri": "http://server/alive"},
    "health.tcp": {"addr": "redis:6379"},
}
BESIDE: dict[str, Any] = {
    "storage.s3.accesskey": {"secretkey": "x"},
    "storage.s3.secretkey": {"accesskey": "x"},
    "storage.s3.keyid": {"encrypt": True},
    "http.tls.clientauth": {"clientcas": ["x"]},
    "redis.addrs": {"addr": None},
    "redis.sentinelusername": {"mastername": "x"},
    "redis.sentinelpassword": {"mastername": "x"},
    "redis.tls.certificate": {"key": "x"},
    "redis.tls.key": {"certificate": "x"},
}

#: Sections that are lists in a file.
LISTS = ("log.hooks", "notifications.endpoints", "health.file", "health.http", "health.tcp")

DRIVERS = {"filesystem", "s3", "inmemory", "azure", "gcs", "swift", "oss"}

ENTRIES = ("middleware.registry", "middleware.repository", "middleware.storage")


def value_of(name: str) -> Any:
    return copy.deepcopy(VALUES.get(name, VALUES.get(name.rpartition(".")[2], "x")))


def put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
    if value is None:
        tree.pop(path[-1], None)
    else:
        tree[path[-1]] = value


def configuration(key: Key, name: str) -> dict[str, Any]:
    """Return a configuration that has the key and what must stand beside it."""
    tree: dict[str, Any] = {}
    entry = next((e for e in ENTRIES if name.startswith(e + ".")), None)
    if entry is not None:
        rest = name.removeprefix(entry + ".")
        made: dict[str, Any] = {"name": "x", "options": {}}
        middleware, _, option = rest.partition(".")
        if option:
            made = {"name": middleware, "options": {option: value_of(name)}}
        elif rest != "options":
            made[rest] = value_of(name)
        if entry == "middleware.storage" and not option:
            made["name"] = "cloudfront"
        put(tree, entry.split("."), [made])
    else:
        if "enabled" in key.below:
            put(tree, [*key.name.split("."), "enabled"], True)
        for section, content in BELOW.items():
            if name.startswith(section + "."):
                put(tree, section.split("."), copy.deepcopy(content))
        for option, value in BESIDE.get(name, {}).items():
            put(tree, [*name.split(".")[:-1], option], value)
        put(tree, name.split("."), value_of(name))
        for place in LISTS:
            first, second = place.split(".")
            if second in tree.get(first, {}):
                tree[first][second] = [tree[first][second]]
    if not DRIVERS & tree.get("storage", {}).keys():
        put(tree, ["storage", "s3"], copy.deepcopy(BELOW["storage.s3"]))
    return tree


EVERY_KEY = [(key, name) for key in KEYS for name in key.names]


@pytest.mark.parametrize(("key", "name"), EVERY_KEY, ids=[name for _, name in EVERY_KEY])
def test_each_key_gets_its_verdict(key: Key, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    tree = configuration(key, name)
    refused = ""
    try:
        Config(tree, "config.yml", tmp_path)
    except ConfigError as error:
        refused = str(error)
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]

    if key.verdict == "error":
        assert refused.startswith(f"config.yml: {key.name}: ")
        assert key.text in refused or key.name.startswith(("storage.", "auth.", "http.tls."))
        return
    assert refused == ""
    if key.verdict == "warned":
        assert said == [f"config.yml: {key.name}: is not acted on: {key.text}"]
    else:
        # What is acted on may be said something about, such as that a key is spelt otherwise.
        assert not any("not acted on" in line for line in said)
        assert key.verdict == "acted on" or said == []


def test_no_key_has_two_verdicts():
    assert [name for name, times in Counter(name for _, name in EVERY_KEY).items() if times > 1] == []


def test_whatever_is_not_just_acted_on_says_what_it_means():
    assert [key.name for key in KEYS if not key.text and key.verdict != "acted on"] == []


def test_the_table_of_the_docs_has_a_row_for_each_key():
    rows = [cells(key) for key in KEYS]

    assert [verdict for _, verdict, _ in rows] == [key.verdict for key in KEYS]
    for key, (name, _, text) in zip(KEYS, rows, strict=True):
        assert all(f"``{below}``" in name for below in key.below)
        assert text.lower() == key.text.lower()
    page = (PROJECT / "docs" / "distribution-keys.rst").read_text(encoding="utf-8")
    assert "\n.. distributionkeys::\n" in page


def documented(node: yaml.Node, path: str = "") -> Iterator[str]:
    """Yield each key of a YAML text, also where a mapping has a key twice."""
    known = {name for key in KEYS for name in key.names}
    if path in known and path not in ("log.hooks", "proxy"):
        yield path
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from documented(value, f"{path}.{name.value}".lstrip("."))
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            under = path
            if path == "middleware.storage" and isinstance(entry, yaml.MappingNode):
                fields = {name.value: value for name, value in entry.value}
                under = f"{path}.{fields['name'].value}"
                entry = fields["options"]
            yield from documented(entry, under)
    else:
        yield path


@pytest.mark.servers
def test_each_key_of_the_reference_beside_debians_distribution_is_in_the_list():
    if not REFERENCE.exists():
        cannot_run(f"{REFERENCE}: not installed; Debian has it in docker-registry")
    text = gzip.decompress(REFERENCE.read_bytes()).decode()
    (example,) = re.findall(r"^version: 0\.1\nlog:\n.*?(?=^```)", text, re.MULTILINE | re.DOTALL)[:1]
    names = set(documented(yaml.compose(example)))
    known = {name for key in KEYS for name in key.names}

    assert len(names) > 100
    assert names - known == set()
