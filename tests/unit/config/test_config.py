"""A `config.yml` as Distribution reads it, with our sections: what is built of it, how mistakes are told."""

from __future__ import annotations

import copy
import logging
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.configurations import WRAPPED, build, line_of_refusal, load, refusal
from lab.examples import examples
from werkzeug.test import Client

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keys import load_private_key

# What is built


def test_a_wrapped_registry_redirects_to_the_distribution_with_the_named_key(directory: Path):
    client = Client(load(directory, WRAPPED).app())
    digest = Digest.of(b"layer")
    client.post(f"/registry/v2/app/blobs/uploads/?digest={digest}", data=b"layer")

    answer = client.get(f"/registry/v2/app/blobs/{digest}")

    assert answer.status_code == 307
    assert answer.location.startswith(
        f"https://d111111abcdef8.cloudfront.net/docker/registry/v2/blobs/sha256/{digest.hex[:2]}/{digest.hex}"
        "/data?Expires="
    )
    assert answer.location.endswith("&Key-Pair-Id=KEXAMPLE1")


def test_without_the_middleware_the_registry_sends_its_blobs_itself(directory: Path):
    config = load(directory, "storage: inmemory\n".replace("inmemory", "{inmemory: }"))
    client = Client(config.app())
    digest = Digest.of(b"layer")
    client.post(f"/v2/app/blobs/uploads/?digest={digest}", data=b"layer")

    assert not config.has_wrapper()
    assert client.get(f"/v2/app/blobs/{digest}").data == b"layer"


def test_a_disabled_middleware_is_none(directory: Path):
    tree = yaml.safe_load(WRAPPED)
    tree["middleware"]["storage"][0]["disabled"] = True
    del tree["edge"]

    assert not load(directory, yaml.safe_dump(tree)).has_wrapper()


def test_paths_are_relative_to_the_file(directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    config = load(directory, WRAPPED.replace("inmemory:", "filesystem: {rootdirectory: objects}"))
    client = Client(config.app())
    client.post(f"/registry/v2/app/blobs/uploads/?digest={Digest.of(b'x')}", data=b"x")

    assert config.data() == str(directory / "objects")
    assert (directory / "objects" / "docker" / "registry" / "v2" / "blobs").is_dir()


def test_what_the_file_does_not_say_is_as_documented(directory: Path):
    config = load(directory, "storage: {inmemory: {}}")

    assert str(config.address()) == "127.0.0.1:5000"
    assert config.edge_address() is None
    assert config.log_options().level == "INFO"
    options = config.server_options()
    assert (options.connections, options.uploads) == (0, 32)
    assert options.idletimeout > 60  # proxies keep their connections for a minute


def test_an_empty_edge_section_asks_for_an_edge_on_port_5001(directory: Path):
    assert str(load(directory, WRAPPED).edge_address()) == "127.0.0.1:5001"


def test_deleting_is_off_unless_the_file_says_so_as_in_distribution(directory: Path):
    path = f"/v2/app/blobs/{Digest.of(b'x')}"
    on, off = "storage: {inmemory: , delete: {enabled: true}}", "storage: {inmemory: }"

    assert Client(load(directory, off).app()).delete(path).status_code == 405
    assert Client(load(directory, on).app()).delete(path).status_code == 404


def test_a_read_only_registry_takes_no_push(directory: Path):
    text = "storage: {inmemory: , maintenance: {readonly: {enabled: true}}}"

    assert Client(load(directory, text).app()).post("/v2/app/blobs/uploads/").status_code == 405


def test_as_many_uploads_are_taken_at_a_time_as_the_server_section_says(directory: Path):
    options = load(directory, "storage: {inmemory: }\nserver: {connections: 40, uploads: 7}").server_options()

    assert (options.connections, options.uploads) == (40, 7)


def test_the_directory_in_the_bucket_is_the_default_for_wrapper_and_edge(directory: Path):
    s3 = "s3: {region: eu-west-1, bucket: images, rootdirectory: /team/prod}"
    config = load(directory, WRAPPED.replace("inmemory:", s3))

    assert config.app().originpath == "/team/prod"  # type: ignore[attr-defined]  # the wrapper's
    assert config.edge().originpath == "/team/prod"


@pytest.mark.parametrize("blank", ["", '""', "/"])
def test_a_blank_origin_path_is_that_of_wrapper_and_edge(directory: Path, blank: str):
    s3 = "s3: {region: eu-west-1, bucket: images, rootdirectory: /team/prod}"
    text = WRAPPED.replace("inmemory:", s3).replace("duration: 10m", f"originpath: {blank}")
    config = load(directory, text)

    assert config.app().originpath == ""  # type: ignore[attr-defined]  # the wrapper's
    assert config.edge().originpath == ""


def test_a_storage_in_memory_has_one_worker_for_another_would_not_find_its_blobs(directory: Path):
    assert load(directory, "storage: {inmemory: }").server_options().workers == 1
    assert load(directory, "storage: {filesystem: }").server_options().workers == 2


# Mistakes, each told in one line


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ("duration: 10m", "durration: 10m"),
            "config.yml: middleware.storage[0].options.durration: there is no such option "
            "(did you mean 'duration'?)",
        ),
        (
            ("duration: 10m", "duration: soon"),
            "config.yml: middleware.storage[0].options.duration: 'soon' is not a duration; write seconds "
            "(1200) or Go's form (20m, 1h30m)",
        ),
        (
            ("name: cloudfront", "name: cloudfornt"),
            "config.yml: middleware.storage[0].name: 'cloudfornt' is unknown; there are 'cloudfront', "
            "'redirect' and 'rewrite'",
        ),
        (
            ("storage:\n  inmemory:", "storage:\n  inmemroy:"),
            "config.yml: storage.inmemroy: there is no such",
        ),
        (("http:", "htpp:"), "config.yml: htpp: there is no such section (did you mean 'http'?)"),
        (("addr:", "adr:"), "config.yml: http.adr: there is no such option (did you mean 'addr'?)"),
        (("level: debug", "levle: debug"), "config.yml: log.levle: there is no such option"),
        (("level: debug", "level: loud"), "config.yml: log.level: 'loud' is none of error, warn"),
        (
            ("127.0.0.1:5055", "5055"),
            "config.yml: http.addr: 5055 is not an address; write it like 127.0.0.1",
        ),
        (
            ("{enabled: true}", "{enabled: true}\n  maintenance: true"),
            "config.yml: storage.maintenance: must be",
        ),
        (
            ("{enabled: true}", "{enabled: true}\n  maintenance: {readonly: true}"),
            "config.yml: storage.maintenance.readonly: must be a section with 'enabled'",
        ),
        (
            ("{enabled: true}", "{enabled: true}\n  maintenance: {readonyl: {enabled: true}}"),
            "config.yml: storage.maintenance.readonyl: there is no such option (did you mean 'readonly'?)",
        ),
        (
            ("duration: 10m", '"a\\nb": 1'),
            "config.yml: middleware.storage[0].options.a\\nb: there is no such",
        ),
        (("duration: 10m", "1: 1"), "config.yml: middleware.storage[0].options.1: there is no such option"),
        (("edge:", "edge: {publickeys: {K: none.pem}}"), "config.yml: edge.publickeys.K: none.pem cannot be"),
        (("edge:", "edge: {prot: 1}"), "config.yml: edge.prot: there is no such option"),
        (
            ("edge:", "server: {headersize: 8}"),
            "config.yml: server.headersize: 8 is not a whole number from 1024",
        ),
        (("edge:", "server: {worker: 64}"), "config.yml: server.worker: there is no such option (did you"),
        (("enabled: true", "enabled: maybe"), "config.yml: storage.delete.enabled: 'maybe' is neither true"),
        (("enabled: true", "enable: true"), "config.yml: storage.delete.enable: there is no such option"),
        (("version: 0.1", "version: 0.3"), "config.yml: version: 0.3 is not known; it is 0.1"),
        (("pk-KEXAMPLE1", "pk-KOTHER"), "config.yml: middleware.storage[0].options."),
        (("privatekey:", "keypairid:"), "config.yml: middleware.storage[0].options.privatekey: this option"),
        (
            ("  inmemory:", "  inmemory:\n  filesystem:"),
            "config.yml: storage: inmemory and filesystem are two drivers; there can be one only",
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_told_with_its_place_in_the_file(directory: Path, change: tuple[str, str], line: str):
    assert change[0] in WRAPPED

    assert refusal(directory, WRAPPED.replace(*change, 1)).startswith(line)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("storage: [", "config.yml, line 1: this is not YAML"),
        ("storage:\n  inmemory:\n bad: 1\n", "config.yml, line 3: this is not YAML"),
        ("a: \x00", "config.yml: this is not YAML"),
        ("when: 2024-99-99", "config.yml: this is not YAML"),
        ("[" * 5000, "config.yml: this is not YAML"),
        (
            "http: {addr: ':1'}\nlog:\nhttp: {}\n",
            "config.yml, line 3: 'http' stands in line 1 already; write it once",
        ),
        (
            "http: {addr: ':1', addr: ':2'}\n",
            "config.yml, line 1: 'addr' stands in line 1 already; write it once",
        ),
        ("- storage", "config.yml: a configuration is a mapping of sections"),
        ("storage", "config.yml: a configuration is a mapping of sections"),
        ("", "config.yml: a configuration is a mapping of sections"),
        (b"storage: \xff", "config.yml: the configuration cannot be read: it is not UTF-8 text"),
        ("version: 0.1", "config.yml: storage: names no driver; there are filesystem, inmemory, s3"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_configuration_is_refused_in_one_line(directory: Path, text: str | bytes, words: str):
    assert refusal(directory, text).startswith(words)


@pytest.mark.parametrize(
    "value", ["*OPEN", "!OPEN x", "!OPEN!b x", "&a &OPEN x", "'OPEN", "@OPEN", "OPEN: b", "[OPEN"]
)
def test_what_is_not_yaml_is_refused_without_what_may_be_a_secret(directory: Path, value: str):
    line = refusal(directory, f"storage: {{inmemory: }}\nhttp:\n  secret: {value}\n")
    assert line.startswith("config.yml, line ")
    assert "this is not YAML" in line
    assert "OPEN" not in line


def test_a_key_of_a_merge_may_be_written_again(directory: Path):
    text = (
        "storage: {inmemory: }\nhealth:\n  tcp:\n    - &one {addr: 'a:1', interval: 20s}\n"
        "    - &two {<<: *one, addr: 'b:1'}\n    - {<<: *two, addr: 'c:1'}\n"
    )
    assert load(directory, text).settings


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yml: the configuration cannot be read: No such file"):
        Config.load(tmp_path / "none.yml", {})


def test_a_directory_is_no_configuration(tmp_path: Path):
    with pytest.raises(ConfigError, match="the configuration cannot be read: Is a directory"):
        Config.load(tmp_path, {})


def test_each_kind_that_is_not_acted_on_is_said_in_a_line_of_its_own(
    directory: Path, caplog: pytest.LogCaptureFixture
):
    load(
        directory,
        """
        version: 0.1
        log: {level: info, hooks: [{type: mail}]}
        storage: {inmemory: }
        http: {addr: ":5000", h2c: {enabled: true}}
        policy: {repository: {classes: [image]}}
        """,
    )

    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    said = [record.getMessage().split(": is not acted on: ") for record in caplog.records]
    assert [name for name, _ in said] == [
        f"{directory}/config.yml: {name}"
        for name in (
            "log.hooks",
            "http.h2c.enabled",
            "policy.repository.classes",
        )
    ]
    assert all(len(meaning.split()) > 5 for _, meaning in said)


def test_nothing_is_said_of_what_is_not_missed(directory: Path, caplog: pytest.LogCaptureFixture):
    load(
        directory,
        """
        version: 0.1
        log: {reportcaller: false, hooks: [{type: mail, disabled: true}]}
        storage: {inmemory: , tag: {concurrencylimit: 5}, maintenance: {uploadpurging: {enabled: false}}}
        http: {net: tcp, secret: s, debug: {prometheus: {enabled: false}}, http2: {disabled: true}, h2c: {}}
        health: {storagedriver: {enabled: false, interval: 10s}}
        notifications: {events: {includereferences: true}, endpoints: [{name: a, disabled: true}]}
        proxy: {remoteurl: "", username: ""}
        compatibility: {schema1: {enabled: false, signingkeyfile: a}}
        """,
    )

    assert caplog.messages == []


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("proxy: {remoteurl: https://registry-1.docker.io}\nstorage: {inmemory: }", {}),
        ("storage: {inmemory: }", {"REGISTRY_PROXY_REMOTEURL": "https://registry-1.docker.io"}),
    ],
)
def test_a_mirror_of_another_registry_is_never_an_open_one_of_its_own(
    directory: Path, text: str, environ: dict[str, str]
):
    line = refusal(directory, text, environ)

    assert line.startswith("config.yml: proxy.remoteurl: this version is not a pull-through cache: ")


# The whole of what YAML can say

EVERYTHING: dict[str, Any] = {
    "version": 0.1,
    "log": {"level": "info", "formatter": "text"},
    "storage": {
        "inmemory": None,
        "delete": {"enabled": True},
        "maintenance": {"readonly": {"enabled": False}},
        "cache": {"blobdescriptor": "inmemory", "blobdescriptorsize": 5, "blobdescriptorttl": "60s"},
    },
    "http": {
        "addr": "127.0.0.1:5000",
        "prefix": "/a",
        "host": "http://a",
        "relativeurls": False,
        "net": "tcp",
    },
    "middleware": {
        "storage": [
            {
                "name": "cloudfront",
                "disabled": False,
                "options": {
                    **{"baseurl": "https://d.e", "privatekey": "", "keypairid": "K1", "duration": "20m"},
                    **{"window": 60, "hash": "sha1", "bindip": False, "trustedproxies": 1, "probe": "get"},
                    **{"requiredigest": True, "minimumsize": 0, "layout": "distribution", "bucket": "images"},
                    **{"rootdirectory": "/team", "originpath": "/team", "prefix": "/a"},
                },
            }
        ]
    },
    "edge": {
        **{"addr": "127.0.0.1:5001", "originpath": "/team", "rootdirectory": "/team", "trustedproxies": 0},
        **{"publickeys": {"K1": ""}, "storage": {"inmemory": None}},
    },
    "server": {"workers": 1, "connections": 64, "uploads": 8, "gracefultimeout": "30s"},
    "redis": {
        **{"addr": "127.0.0.1:6379", "username": "a", "password": "b", "db": 0, "poolsize": 4},
        **{"dialtimeout": "10ms", "readtimeout": "10ms", "writetimeout": 1, "maxidleconns": 1},
        **{"pool": {"maxidle": 1, "maxactive": 1, "idletimeout": "300s"}, "tls": {"enabled": True}},
    },
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=5)
    | st.dates()
    | st.sampled_from(["a\nb", "\x1b[2J", "a..b:1", "[::", "http://[", "{hex", "{a}", "%", "..", "/a//b"])
)
names = st.text(max_size=5) | scalars | st.sampled_from(["enabled", "options", "name", "0"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=5,
)


@st.composite
def configurations(draw: st.DrawFn, pem: str, public: str) -> Any:
    """A configuration that works, with a few places in it changed into anything."""
    tree = copy.deepcopy(EVERYTHING)
    tree["middleware"]["storage"][0]["options"]["privatekey"] = pem
    tree["edge"]["publickeys"]["K1"] = public
    for _ in range(draw(st.integers(1, 3))):
        node: Any = tree
        while True:
            place = draw(
                st.sampled_from(sorted(node, key=str) if isinstance(node, dict) else range(len(node)))
            )
            inner = node[place]
            if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 3)) == 0:
                break
            node = inner
        change = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if change == "replace":
            node[place] = draw(values)
        elif change == "add" and isinstance(node, dict):
            node[draw(names)] = draw(values)
        else:
            del node[place]
        if not tree:
            break
    return tree


def test_the_configuration_that_is_changed_below_works_as_it_is(directory: Path, pem: str):
    tree = copy.deepcopy(EVERYTHING)
    tree["middleware"]["storage"][0]["options"]["privatekey"] = pem
    tree["edge"]["publickeys"]["K1"] = load_private_key(pem, "pem").public_pem

    build(load(directory, yaml.safe_dump(tree)))


@settings(
    max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_the_file_holds_is_built_or_refused_in_one_line(
    pem: str, tmp_path: Path, data: st.DataObject
):
    tree = data.draw(configurations(pem, load_private_key(pem, "pem").public_pem) | values)
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")

    refused = line_of_refusal(lambda: build(Config.load(file, {})))

    assert refused is None or (refused.startswith(f"{file}") and refused.isprintable())


@settings(max_examples=examples(100), deadline=None)
@given(
    content=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
)
def test_whatever_bytes_the_file_holds_are_read_or_refused_in_one_line(content: bytes):
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.yml"
        file.write_bytes(content)

        refused = line_of_refusal(lambda: Config.load(file, {}))

    assert refused is None or refused.isprintable()
