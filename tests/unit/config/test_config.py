"""A `config.yml` as Distribution reads it, with our sections: what is built of it, how mistakes are told."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keys import generate, load_private_key

WRAPPED = """
version: 0.1
log: {level: debug}
storage:
  inmemory:
  delete: {enabled: true}
http: {addr: 127.0.0.1:5055, prefix: /registry}
middleware:
  storage:
    - name: cloudfront
      options:
        baseurl: https://d111111abcdef8.cloudfront.net
        privatekey: keys/pk-KEXAMPLE1.pem
        duration: 10m
edge:
"""


@pytest.fixture(scope="session")
def pem() -> str:
    return generate("ecdsa").private_pem


@pytest.fixture
def directory(tmp_path: Path, pem: str) -> Path:
    """A directory with a key in it, which `WRAPPED` names relative to itself."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "pk-KEXAMPLE1.pem").write_text(pem)
    return tmp_path


def load(directory: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
    file = directory / "config.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Config.load(file, environ or {})


def build(config: Config) -> None:
    """Ask a configuration for everything that a command would ask it for."""
    config.app()
    config.data()
    if config.edge_address() is not None:
        config.edge()


def refusal(directory: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> str:
    """Return the error's line without the directory in front of the file's name."""
    with pytest.raises(ConfigError) as caught:
        build(load(directory, text, environ))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{directory}/config.yml")
    return message.removeprefix(f"{directory}/")


def line_of_refusal(action: Callable[[], object]) -> str | None:
    """Return the message of the error that *action* raises for a bad configuration, None for a good one."""
    try:
        action()
    except ConfigError as error:
        return str(error)
    return None


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
    assert options.threads >= 32
    assert options.uploads < options.threads


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
    options = load(directory, "storage: {inmemory: }\nserver: {threads: 40, uploads: 7}").server_options()

    assert (options.threads, options.uploads) == (40, 7)


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
            "config.yml: middleware.storage[0].name: 'cloudfornt' is unknown; there is 'cloudfront'",
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
        (("edge:", "server: {threads: 8}"), "config.yml: server.threads: 8 is not a whole number from 32"),
        (("edge:", "server: {thread: 64}"), "config.yml: server.thread: there is no such option (did you"),
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


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yml: the configuration cannot be read: No such file"):
        Config.load(tmp_path / "none.yml", {})


def test_a_directory_is_no_configuration(tmp_path: Path):
    with pytest.raises(ConfigError, match="the configuration cannot be read: Is a directory"):
        Config.load(tmp_path, {})


def test_sections_that_are_not_acted_on_are_named_in_one_warning(
    directory: Path, caplog: pytest.LogCaptureFixture
):
    load(
        directory,
        """
        version: 0.1
        log: {level: info, hooks: [{type: mail}]}
        storage: {inmemory: , tag: {concurrencylimit: 5}}
        http: {addr: ":5000", debug: {addr: ":5001"}}
        health: {storagedriver: {enabled: true}}
        notifications: {endpoints: [{name: a, url: http://a.example}]}
        """,
    )

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for name in ("log.hooks", "storage.tag", "http.debug", "health", "notifications"):
        assert name in record.getMessage()


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
    "server": {"workers": 1, "threads": 64, "uploads": 8, "gracefultimeout": "30s"},
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


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_file_holds_is_built_or_refused_in_one_line(
    pem: str, tmp_path: Path, data: st.DataObject
):
    tree = data.draw(configurations(pem, load_private_key(pem, "pem").public_pem) | values)
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")

    refused = line_of_refusal(lambda: build(Config.load(file, {})))

    assert refused is None or (refused.startswith(f"{file}") and refused.isprintable())


@settings(max_examples=100, deadline=None)
@given(
    content=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
)
def test_whatever_bytes_the_file_holds_are_read_or_refused_in_one_line(content: bytes):
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.yml"
        file.write_bytes(content)

        refused = line_of_refusal(lambda: Config.load(file, {}))

    assert refused is None or refused.isprintable()


# Variables


def overridden(directory: Path, text: str = WRAPPED, **environ: str) -> Config:
    return load(directory, text, {f"REGISTRY_{name}": value for name, value in environ.items()})


def test_a_variable_takes_the_place_of_a_value(directory: Path):
    assert str(overridden(directory, HTTP_ADDR="127.0.0.1:6000").address()) == "127.0.0.1:6000"


def test_a_variable_adds_what_the_file_does_not_have(directory: Path):
    keys = {"EDGE_PUBLICKEYS": "{K1: public.pem}"}
    config = overridden(directory, "storage: {inmemory: }", EDGE_ADDR="127.0.0.1:6001", **keys)

    assert str(config.edge_address()) == "127.0.0.1:6001"


def test_a_variable_reaches_into_a_list_by_index(directory: Path):
    config = overridden(directory, MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL="https://other.example.com")
    digest = Digest.of(b"layer")

    assert config.wrap(config.registry()).signed_blob("app", digest).startswith("https://other.example.com/")


def test_variables_can_make_a_whole_list(directory: Path):
    config = overridden(
        directory,
        "storage: {inmemory: }",
        MIDDLEWARE_STORAGE_0_NAME="cloudfront",
        MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL="https://other.example.com",
        MIDDLEWARE_STORAGE_0_OPTIONS_PRIVATEKEY="keys/pk-KEXAMPLE1.pem",
    )

    url = config.wrap(config.registry()).signed_blob("app", Digest.of(b"layer"))

    assert url.startswith("https://other.example.com/")


def test_a_variables_value_is_yaml(directory: Path):
    config = overridden(directory, SERVER="{threads: 48, uploads: 8}", STORAGE_DELETE_ENABLED="false")

    assert config.server_options().threads == 48
    assert Client(config.registry()).delete(f"/registry/v2/a/blobs/{Digest.of(b'')}").status_code == 405


@pytest.mark.parametrize("value", ["inmemory", "{inmemory: {}}"])
def test_another_driver_leaves_nothing_of_the_old_ones_options(directory: Path, value: str):
    text = "storage: {s3: {bucket: b, region: r, nonsense: 1}, delete: {enabled: true}}"

    assert overridden(directory, text, STORAGE=value).driver().name == "inmemory"


def test_the_new_driver_takes_options_from_further_variables(directory: Path):
    config = overridden(
        directory,
        "storage: {inmemory: }",
        STORAGE="filesystem",
        STORAGE_FILESYSTEM_ROOTDIRECTORY=str(directory / "here"),
    )

    assert config.data() == str(directory / "here")


def test_variables_of_other_programs_are_ignored_with_a_warning(
    directory: Path, caplog: pytest.LogCaptureFixture
):
    build(overridden(directory, WRAPPED, PORT_5000_TCP="tcp://10.0.0.1:5000", SERVICE_HOST="10.0.0.1"))
    # Those of services with the names registry and registry-redis.
    redis = {
        "REDIS_PORT_6379_TCP_PROTO": "tcp",
        "REDIS_PORT": "tcp://10.0.0.1",
        "REDIS_SERVICE_HOST": "10.0.0.1",
    }
    build(overridden(directory, WRAPPED, **redis))

    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 5
    assert "REGISTRY_PORT_5000_TCP" in warnings[0]
    assert "REGISTRY_SERVICE_HOST" in warnings[1]
    assert all("REGISTRY_REDIS_" in warning for warning in warnings[2:])


def test_the_version_of_an_image_is_not_that_of_the_configuration(directory: Path):
    """Images of registries define `REGISTRY_VERSION=2.8.3`; Distribution reads the version from the file."""
    build(overridden(directory, WRAPPED, VERSION="2.8.3"))


def test_variables_without_the_prefix_are_nobodys(directory: Path):
    assert str(load(directory, WRAPPED, {"HTTP_ADDR": "127.0.0.1:1"}).address()) == "127.0.0.1:5055"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HTTP_ADDR", "[", "REGISTRY_HTTP_ADDR: the value is not YAML"),
        ("HTTP_ADDR", "2024-99-99", "REGISTRY_HTTP_ADDR: the value is not YAML"),
        ("HTTP_ADDR_HOST", "x", "REGISTRY_HTTP_ADDR_HOST: there is a value, not a section, above 'host'"),
        (
            "MIDDLEWARE_STORAGE_7_NAME",
            "x",
            "REGISTRY_MIDDLEWARE_STORAGE_7_NAME: '7' is not a place in a list",
        ),
        ("MIDDLEWARE_STORAGE_X", "x", "REGISTRY_MIDDLEWARE_STORAGE_X: 'x' is not a place in a list of 1"),
        ("AUTH", "htpasswd", "auth.htpasswd.realm: this option is required"),
        ("HTTP_ADR", "x", "http.adr: there is no such option (did you mean 'addr'?)"),
    ],
)
def test_a_variable_that_cannot_be_is_told_in_one_line(directory: Path, name: str, value: str, words: str):
    assert words in refusal(directory, WRAPPED, {f"REGISTRY_{name}": value})


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.sampled_from(["http", "addr", "storage", "0", "1", "", "s3"]) | st.text("ab0", max_size=3)
    ),
    value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)
def test_whatever_the_variables_say_is_built_or_refused_in_one_line(steps: list[str], value: str):
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.yml"
        file.write_text("storage: {inmemory: }\nmiddleware: {storage: []}")
        variable = "_".join(["REGISTRY", *steps]).upper()

        refused = line_of_refusal(lambda: build(Config.load(file, {variable: value})))

    assert refused is None or (refused.startswith(f"{file}") and refused.isprintable())
