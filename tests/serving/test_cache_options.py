"""What `storage.cache` and `redis` of a configuration may say, and the one line for what they may not."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.registry_client import RegistryClient
from lab.tls import write_certificate
from werkzeug.test import Client

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.cache.descriptors import DescriptorCache, InMemoryDescriptorCache, Located

CONTENT = b"a blob"
DIGEST = Digest.of(CONTENT)
HERE = Located.of(DIGEST, len(CONTENT))
SECRET = "open sesame"


def load(tmp_path: Path, cache: Any = None, redis: Any = None, **environ: str) -> Config:
    tree: dict[str, Any] = {"version": 0.1, "storage": {"inmemory": {}}}
    if cache is not None:
        tree["storage"]["cache"] = cache
    if redis is not None:
        tree["redis"] = redis
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(tree))
    return Config.load(file, environ)


def built(tmp_path: Path, cache: Any = None, redis: Any = None, **environ: str) -> DescriptorCache | None:
    """Return what the registry of a file remembers with."""
    config = load(tmp_path, cache, redis, **environ)
    config.registry()
    return config.descriptors()


def refusal(tmp_path: Path, cache: Any = None, redis: Any = None, **environ: str) -> str:
    """Return the line that a file is refused with, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        built(tmp_path, cache, redis, **environ)
    line = str(caught.value)
    assert "\n" not in line
    assert SECRET not in line
    assert line.startswith(f"{tmp_path}/config.yml: ")
    return line.removeprefix(f"{tmp_path}/config.yml: ")


def settings_of(descriptors: Any) -> dict[str, Any]:
    """Return what a client of Redis was made with."""
    settings: dict[str, Any] = descriptors._client.connection_pool.connection_kwargs
    return settings


REDIS = {"blobdescriptor": "redis"}
ADDRESS = {"addr": "redis.example.com:6379"}


@pytest.mark.parametrize("cache", [None, {}, {"blobdescriptor": None}, {"blobdescriptor": ""}])
def test_without_a_kind_nothing_is_remembered(tmp_path: Path, cache: Any):
    assert built(tmp_path, cache) is None
    assert built(tmp_path, cache, ADDRESS) is None


@pytest.mark.parametrize("name", ["blobdescriptor", "layerinfo"])
def test_each_worker_remembers_by_itself(tmp_path: Path, name: str):
    assert isinstance(built(tmp_path, {name: "inmemory"}), InMemoryDescriptorCache)


def test_the_registry_of_a_file_remembers(tmp_path: Path):
    for kind, status in (("inmemory", 200), ("", 404)):
        config = load(tmp_path, {"blobdescriptor": kind})
        client = RegistryClient.__new__(RegistryClient)
        client.driver, client.registry = config.driver(), config.registry()
        Client.__init__(client, client.registry)
        client.push_blob("app", CONTENT)
        assert client.head(f"/v2/app/blobs/{DIGEST}").status_code == 200
        client.driver.delete(
            [path for path in map("/docker/".__add__, client.objects()) if "_layers" in path]
        )
        assert client.head(f"/v2/app/blobs/{DIGEST}").status_code == status


def test_how_many_are_remembered_and_for_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for options, most in (({}, 10_000), ({"blobdescriptorsize": 3}, 3), ({"blobdescriptorsize": "7"}, 7)):
        descriptors = built(tmp_path, {"blobdescriptor": "inmemory", **options})
        assert isinstance(descriptors, InMemoryDescriptorCache)
        for number in range(most + 2):
            descriptors.find(f"app{number}", DIGEST, lambda: HERE)
        assert len(descriptors) == most
    for options, seconds in (({}, 60), ({"blobdescriptorttl": "10m"}, 600), ({"blobdescriptorttl": 1}, 1)):
        kinds = [
            built(tmp_path, {"blobdescriptor": kind, **options}, ADDRESS) for kind in ("inmemory", "redis")
        ]
        assert [kind._seconds for kind in kinds] == [seconds, seconds]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cache", "line"),
    [
        ({"blobdescriptor": "memory"}, "storage.cache.blobdescriptor: 'memory' is none of inmemory, redis"),
        (
            {"blobdescriptor": "redsi"},
            "storage.cache.blobdescriptor: 'redsi' is none of inmemory, redis (did you mean 'redis'?)",
        ),
        ({"layerinfo": "disk"}, "storage.cache.layerinfo: 'disk' is none of inmemory, redis"),
        ({"blobdescriptor": True}, "storage.cache.blobdescriptor: True is none of inmemory, redis"),
        ({"blobdescripter": "redis"}, "storage.cache.blobdescripter: there is no such option"),
        ("inmemory", "storage.cache: must be a section of options"),
        (["inmemory"], "storage.cache: must be a section of options"),
        (
            {"blobdescriptorsize": 0},
            "storage.cache.blobdescriptorsize: 0 is not a whole number of at least 1",
        ),
        ({"blobdescriptorsize": "many"}, "storage.cache.blobdescriptorsize: 'many' is not a whole number"),
        ({"blobdescriptorttl": "soon"}, "storage.cache.blobdescriptorttl: 'soon' is not a duration"),
        ({"blobdescriptorttl": "0s"}, "storage.cache.blobdescriptorttl: '0s' must be whole seconds"),
        ({"blobdescriptorttl": "500ms"}, "storage.cache.blobdescriptorttl: '500ms' must be whole seconds"),
        ({"blobdescriptorttl": -5}, "storage.cache.blobdescriptorttl: "),
        (REDIS, "storage.cache.blobdescriptor: redis needs a section 'redis' with 'addr'"),
    ],
)
def test_what_the_cache_may_not_say(tmp_path: Path, cache: Any, line: str):
    assert refusal(tmp_path, cache).startswith(line)


@pytest.mark.parametrize("cache", [None, REDIS])
@pytest.mark.parametrize(
    ("redis", "line"),
    [
        ("localhost:6379", "redis: must be a section of options"),
        ({"password": SECRET}, "redis.addr: this option is required; write it like redis.example.com:6379"),
        ({"addr": "localhost"}, "redis.addr: must be a host and a port"),
        ({"addr": "localhost:0"}, "redis.addr: must be a host and a port"),
        ({"addr": "localhost:65536"}, "redis.addr: must be a host and a port"),
        ({"addr": f"redis://:{SECRET}@localhost:6379"}, "redis.addr: must be a host and a port"),
        ({"addr": ["localhost:6379"]}, "redis.addr: must be a host and a port"),
        ({"addrs": []}, "redis.addrs: must be a list of hosts and ports"),
        ({"addrs": 5}, "redis.addrs: must be a list of hosts and ports"),
        ({"addrs": ["a:1", "b:1"], "db": 1}, "redis.db: several addresses are a cluster, which has database"),
        ({**ADDRESS, "sentinelpassword": SECRET}, "redis.sentinelpassword: goes with 'mastername'"),
        ({**ADDRESS, "clientname": "a b"}, "redis.clientname: must be printable and without blanks"),
        ({**ADDRESS, "protocol": 1}, "redis.protocol: 1 is not a whole number from 2 to 3"),
        ({**ADDRESS, "maxretries": "x"}, "redis.maxretries: 'x' is not a whole number"),
        ({**ADDRESS, "minretrybackoff": "soon"}, "redis.minretrybackoff: 'soon' is not a duration"),
        ({**ADDRESS, "tls": {"rootcas": ["no.pem"]}}, "redis.tls.rootcas[0]: {}/no.pem cannot be read"),
        ({"addrs": [f":{SECRET}@a"]}, "redis.addrs[0]: must be a host and a port"),
        ({**ADDRESS, "addrs": ["a:1"]}, "redis.addrs: goes without 'addr'"),
        (
            {**ADDRESS, "passwort": SECRET},
            "redis.passwort: there is no such option (did you mean 'password'?)",
        ),
        ({**ADDRESS, "password": 12345}, "redis.password: must be text; put it in quotes"),
        ({**ADDRESS, "password": [SECRET]}, "redis.password: must be text; put it in quotes"),
        ({**ADDRESS, "username": 5}, "redis.username: must be text; put it in quotes"),
        ({**ADDRESS, "db": -1}, "redis.db: -1 is not a whole number of at least 0"),
        ({**ADDRESS, "db": "first"}, "redis.db: 'first' is not a whole number"),
        ({**ADDRESS, "dialtimeout": "soon"}, "redis.dialtimeout: 'soon' is not a duration"),
        ({**ADDRESS, "readtimeout": 0}, "redis.readtimeout: 0 must be from 1ms to 1h"),
        ({**ADDRESS, "writetimeout": "2h"}, "redis.writetimeout: '2h' must be from 1ms to 1h"),
        ({**ADDRESS, "pool": 5}, "redis.pool: must be a section of options"),
        ({**ADDRESS, "pool": {"maxactiv": 5}}, "redis.pool.maxactiv: there is no such option (did you mean"),
        ({**ADDRESS, "pool": {"maxactive": "x"}}, "redis.pool.maxactive: 'x' is not a whole number"),
        ({**ADDRESS, "poolsize": 0}, "redis.poolsize: 0 is not a whole number of at least 1"),
        ({**ADDRESS, "tls": True}, "redis.tls: must be a section of options"),
        (
            {**ADDRESS, "tls": {"enabled": "perhaps"}},
            "redis.tls.enabled: 'perhaps' is neither true nor false",
        ),
        ({**ADDRESS, "tls": {"ca": "x"}}, "redis.tls.ca: there is no such option"),
        ({**ADDRESS, "tls": {"certificate": "own.pem"}}, "redis.tls: 'certificate' and 'key' go together"),
        ({**ADDRESS, "tls": {"key": "own.pem"}}, "redis.tls: 'certificate' and 'key' go together"),
        (
            {**ADDRESS, "tls": {"certificate": "no.pem", "key": "own.pem"}},
            "redis.tls.certificate: {}/no.pem cannot be read: No such file or directory",
        ),
        (
            {**ADDRESS, "tls": {"certificate": "own.pem", "key": "no.pem"}},
            "redis.tls.key: {}/no.pem cannot be read: No such file or directory",
        ),
        (
            {**ADDRESS, "tls": {"certificate": "own.pem", "key": "other.pem"}},
            "redis.tls: 'certificate' and 'key' must be PEM files of one pair",
        ),
        (
            {**ADDRESS, "tls": {"certificate": "own.pem", "key": "config.yml"}},
            "redis.tls: 'certificate' and 'key' must be PEM files of one pair",
        ),
        ({**ADDRESS, "tls": {"clientcas": {"own.pem": 1}}}, "redis.tls.clientcas: must be a list, or text"),
        (
            {**ADDRESS, "tls": {"clientcas": ["own.pem", "no.pem"]}},
            "redis.tls.clientcas[1]: {}/no.pem cannot be read: No such file or directory",
        ),
        (
            {**ADDRESS, "tls": {"clientcas": ["own.pem", "config.yml"]}},
            "redis.tls.clientcas[1]: {}/config.yml must be a PEM file of certificates",
        ),
    ],
)
def test_what_redis_may_not_say_whether_or_not_it_is_used(tmp_path: Path, cache: Any, redis: Any, line: str):
    for name in ("own.pem", "other.pem"):
        write_certificate(tmp_path / name)
    assert refusal(tmp_path, cache, redis).startswith(line.format(tmp_path))


def test_what_redis_is_asked_with(tmp_path: Path):
    settings = settings_of(built(tmp_path, REDIS, ADDRESS))
    usual = {
        "host": "redis.example.com",
        "port": 6379,
        "username": None,
        "password": None,
        "db": 0,
        "socket_connect_timeout": 0.2,
        "socket_timeout": 0.2,
    }
    assert settings | usual == settings
    assert "ssl_ca_data" not in settings
    # Its own default is to try ten times, for seconds.
    assert settings["retry"]._retries == 1
    given = {
        "addrs": ["[2001:db8::1]:6380"],
        "username": "registry",
        "password": f" {SECRET} ".strip(),
        "db": "3",
        "dialtimeout": "10ms",
        "readtimeout": 2,
        "writetimeout": "1.5s",
        "pool": {"maxactive": 5},
    }
    descriptors: Any = built(tmp_path, {"layerinfo": "redis"}, given)
    named = {
        "host": "2001:db8::1",
        "port": 6380,
        "username": "registry",
        "password": SECRET,
        "db": 3,
        "socket_connect_timeout": 0.01,
        "socket_timeout": 2,
    }
    settings = settings_of(descriptors)
    assert settings | named == settings
    assert descriptors._client.connection_pool.max_connections == 5


def test_further_options_are_those_of_the_client(tmp_path: Path):
    write_certificate(tmp_path / "own.pem")
    write_certificate(tmp_path / "other.pem")
    given = {
        **ADDRESS,
        "clientname": "registry",
        "maxretries": 4,
        "minretrybackoff": "8ms",
        "maxretrybackoff": "512ms",
        "maxactiveconns": 6,
        "poolsize": 3,
        "pooltimeout": "2s",
        "protocol": 3,
        "tls": {"rootcas": ["own.pem"], "clientcas": ["other.pem"]},
    }
    descriptors: Any = built(tmp_path, REDIS, given)
    settings, pool = settings_of(descriptors), descriptors._client.connection_pool

    assert (settings["client_name"], settings["retry"]._retries) == ("registry", 4)
    assert settings["ssl_ca_data"].count("BEGIN CERTIFICATE") == 2
    assert (pool.max_connections, pool.timeout) == (6, 2)
    assert settings_of(built(tmp_path, REDIS, {**ADDRESS, "maxretries": -1}))["retry"]._retries == 0


def test_what_lies_in_the_memory_of_one_process_is_never_what_another_one_remembers(tmp_path: Path):
    one, other = (built(tmp_path, REDIS, ADDRESS) for _ in range(2))
    assert one._name("app", DIGEST) != other._name("app", DIGEST)  # type: ignore[union-attr]


def test_the_name_in_a_certificate_of_redis_is_looked_at_whatever_the_version_of_its_package(tmp_path: Path):
    write_certificate(tmp_path / "own.pem")
    for section in ({"enabled": True}, {"clientcas": ["own.pem"]}, {"clientcas": "own.pem"}):
        settings = settings_of(built(tmp_path, REDIS, {**ADDRESS, "tls": section}))
        assert (settings["ssl_cert_reqs"], settings["ssl_check_hostname"]) == ("required", True)
    off = {**ADDRESS, "tls": {"enabled": False, "clientcas": ["own.pem"]}}
    assert "ssl_check_hostname" not in settings_of(built(tmp_path, REDIS, off))


def test_options_that_do_nothing_here_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    given = {**ADDRESS, "maxidleconns": 5, "pool": {"maxidle": 16, "idletimeout": "300s"}}
    with caplog.at_level(logging.WARNING):
        load(tmp_path, REDIS, given).registry()
    assert [message.partition(": is not acted on")[0] for message in caplog.messages] == [
        f"{tmp_path}/config.yml: redis.{name}"
        for name in ("pool.maxidle", "maxidleconns", "pool.idletimeout")
    ]


@pytest.mark.parametrize("cache", [None, {"blobdescriptor": "inmemory"}, REDIS])
@pytest.mark.parametrize("place", ["a\udce9b", "loop/below", "x\0y"], ids=["no UTF-8", "a loop", "a NUL"])
def test_where_the_data_is_can_be_no_reason_to_fail_otherwise_than_without_a_cache(
    tmp_path: Path, cache: Any, place: str
):
    (tmp_path / "loop").symlink_to("loop")
    tree = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": place}}}
    if cache is not None:
        tree["storage"]["cache"] = cache
        tree["redis"] = ADDRESS
    Config(tree, "config.yml", tmp_path).registry()  # what is wrong with it is said by the check at the start


# Variables


def test_variables_name_the_kind_and_the_redis(tmp_path: Path):
    variables = {"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "inmemory"}
    assert isinstance(built(tmp_path, **variables), InMemoryDescriptorCache)
    assert isinstance(built(tmp_path, REDIS, **variables), InMemoryDescriptorCache)
    variables = {
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
        "REGISTRY_REDIS_ADDR": "localhost:6379",
        "REGISTRY_REDIS_PASSWORD": SECRET,
        "REGISTRY_REDIS_POOL_MAXACTIVE": "7",
    }
    settings = settings_of(built(tmp_path, **variables))
    assert (settings["host"], settings["port"], settings["password"]) == ("localhost", 6379, SECRET)
    assert refusal(tmp_path, REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR="none").startswith(
        "storage.cache.blobdescriptor: 'none' is none of inmemory, redis"
    )
    number = refusal(tmp_path, REDIS, ADDRESS, REGISTRY_REDIS_PASSWORD="12345")
    assert number == "redis.password: must be text; put it in quotes"


# The password


def test_the_password_is_in_no_text_of_what_was_built(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = load(tmp_path, REDIS, {**ADDRESS, "addr": "127.0.0.1:1", "password": SECRET})
    registry, descriptors = config.registry(), config.descriptors()
    assert descriptors is not None
    descriptors.find("app", DIGEST, lambda: HERE)
    descriptors.forget("app", DIGEST)
    for thing in (config, config.settings, registry, descriptors):
        assert SECRET not in repr(thing) + str(thing)
    assert "the descriptor cache is not used" in caplog.text
    assert SECRET not in caplog.text


# Without the package

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "redis":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from cfmiddleware.cli import main

sys.argv = ["cfmiddleware", "serve", "config.yml"]
sys.exit(main())
"""


def test_without_the_package_of_redis_the_start_says_what_to_install(tmp_path: Path):
    load(tmp_path, REDIS, {**ADDRESS, "password": SECRET})
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BLOCKED)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith(
            "config.yml: storage.cache.blobdescriptor: redis is not installed; install cfmiddleware[redis]"
        )
    )
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr
