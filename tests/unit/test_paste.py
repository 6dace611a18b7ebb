"""PasteDeploy's ini files: the same options as everywhere, as strings, with paths relative to the file."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from paste.deploy import loadapp
from werkzeug.test import Client

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keys import generate

PIPELINE = """
[pipeline:main]
pipeline = cloudfront registry

[filter:cloudfront]
use = egg:cfmiddleware
baseurl = http://localhost/edge
privatekey = keys/pk-KPASTE.pem
duration = 10m
window = 30
hash = sha256
bindip = off
trustedproxies = 0
probe = get
requiredigest = yes
minimumsize = 4
layout = distribution

[app:registry]
use = egg:cfmiddleware#registry
storage = filesystem
rootdirectory = objects
delete = true

[app:edge]
use = egg:cfmiddleware#edge
storage = filesystem
rootdirectory = objects
publickeys = KPASTE:keys/public.pem
"""

CONFIG = """
storage: {filesystem: {rootdirectory: objects}}
middleware:
  storage:
    - name: cloudfront
      options: {baseurl: https://file.example, privatekey: keys/pk-KPASTE.pem}
"""


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a key pair, which is not the working directory."""
    pair = generate("ecdsa")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "pk-KPASTE.pem").write_text(pair.private_pem)
    (tmp_path / "keys" / "public.pem").write_text(pair.public_pem)
    (tmp_path / "config.yml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    return tmp_path


def load(here: Path, text: str, name: str | None = None) -> Any:
    (here / "registry.ini").write_text(textwrap.dedent(text))
    return loadapp(f"config:{here}/registry.ini", name=name)


def refusal(here: Path, text: str, name: str | None = None) -> str:
    """Return the error's line without the directory in front of the file's name."""
    with pytest.raises(ConfigError) as caught:
        load(here, text, name)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).removeprefix(f"{here}/")


def push(app: Any, content: bytes) -> Digest:
    digest = Digest.of(content)
    answer = Client(app).post(f"/v2/app/blobs/uploads/?digest={digest}", data=content)
    assert answer.status_code == 201
    return digest


def redirect(app: Any, digest: Digest) -> str:
    answer = Client(app).get(f"/v2/app/blobs/{digest}")
    assert answer.status_code == 307
    return answer.location


def test_a_pipeline_redirects_with_the_options_of_the_filter(here: Path):
    app = load(here, PIPELINE)

    url = redirect(app, push(app, b"layer"))

    assert url.startswith("http://localhost/edge/docker/registry/v2/blobs/sha256/")
    query = parse_qs(urlsplit(url).query)
    assert query["Key-Pair-Id"] == ["KPASTE"]
    assert query["Hash-Algorithm"] == ["SHA256"]


def test_options_that_are_numbers_count_as_numbers(here: Path):
    app = load(here, PIPELINE)

    small = push(app, b"abc")

    # Below `minimumsize = 4`.
    assert Client(app).get(f"/v2/app/blobs/{small}").data == b"abc"


def test_the_registrys_directory_is_relative_to_the_ini_file(here: Path):
    digest = push(load(here, PIPELINE), b"layer")

    assert list((here / "objects").rglob(digest.hex))


def test_the_edge_serves_what_the_pipeline_signed(here: Path):
    pipeline = PIPELINE.replace("http://localhost/edge", "http://localhost")
    app, edge = load(here, pipeline), load(here, pipeline, "edge")
    url = redirect(app, push(app, b"layer"))

    parts = urlsplit(url)
    answer = Client(edge).get(f"{parts.path}?{parts.query}", base_url="http://localhost")

    assert (answer.status_code, answer.data) == (200, b"layer")
    assert Client(edge).get(parts.path, base_url="http://localhost").status_code == 403


def test_the_registry_of_an_ini_file_lets_delete_only_where_it_says_so(here: Path):
    path = f"/v2/app/blobs/{Digest.of(b'')}"

    assert Client(load(here, PIPELINE, "registry")).delete(path).status_code == 404
    without = PIPELINE.replace("delete = true\n", "")
    assert Client(load(here, without, "registry")).delete(path).status_code == 405


FILTERED = """
[app:main]
use = egg:cfmiddleware#registry
config = config.yml
filter-with = cloudfront

[filter:cloudfront]
use = egg:cfmiddleware
config = config.yml
"""


def test_the_filter_takes_its_options_from_a_configuration_file(here: Path):
    app = load(here, FILTERED)

    assert redirect(app, push(app, b"layer")).startswith("https://file.example/docker/registry/")
    assert (here / "objects").is_dir()


def test_an_option_of_the_section_takes_the_place_of_the_files(here: Path):
    app = load(here, FILTERED + "baseurl = https://section.example\n")

    assert redirect(app, push(app, b"layer")).startswith("https://section.example/docker/registry/")


def test_a_snapshot_of_ranges_is_relative_to_the_ini_file(here: Path):
    s3 = "storage: {s3: {region: us-east-1, bucket: images, accesskey: a, secretkey: s}}"
    (here / "config.yml").write_text(CONFIG.replace("storage: {filesystem: {rootdirectory: objects}}", s3))

    line = refusal(here, FILTERED + "ipfilteredby = aws\niprangesfile = missing.json\n")

    assert f"iprangesfile: {here}/missing.json" in line


def test_the_edge_takes_everything_from_a_configuration_file(here: Path):
    edge = load(here, "[app:main]\nuse = egg:cfmiddleware#edge\nconfig = config.yml\n")

    assert b"<Code>MissingKey</Code>" in Client(edge).get("/").data


def test_without_a_name_the_app_is_the_registry(here: Path):
    app = load(here, "[app:main]\nuse = egg:cfmiddleware\nstorage = inmemory\n")

    assert Client(app).get("/v2/").json == {}


@pytest.mark.parametrize(
    ("section", "option", "words"),
    [
        ("filter", "basurl = x", "registry.ini: basurl: there is no such option (did you mean 'baseurl'?)"),
        (
            "filter",
            "confg = config.yml",
            "registry.ini: confg: there is no such option (did you mean 'config'?)",
        ),
        ("filter", "duration = soon", "registry.ini: duration: 'soon' is not a duration"),
        ("filter", "bindip = maybe", "registry.ini: bindip: 'maybe' is neither true nor false"),
        ("filter", "minimumsize = big", "registry.ini: minimumsize: 'big' is not a size"),
        ("filter", "privatekey = none.pem", "registry.ini: "),
        ("filter", "originpath = /other", "registry.ini: originpath: no key can start with '/other'"),
        ("filter", "config = none.yml", "none.yml: the configuration cannot be read: No such file"),
        (
            "registry",
            "rotdirectory = x",
            "registry.ini: storage.filesystem.rotdirectory: there is no such option",
        ),
        ("registry", "storage = filesytem", "registry.ini: storage.filesytem: there is no such driver"),
        ("registry", "delete = maybe", "registry.ini: storage.delete.enabled: 'maybe' is neither true nor"),
        ("edge", "publickeys = KPASTE", "registry.ini: publickeys: write each as <Key-Pair-Id>:<file>"),
        ("edge", "publickeys = K:none.pem", "registry.ini: edge.publickeys.K: none.pem cannot be read"),
        ("edge", "originpth = /a", "registry.ini: storage.filesystem.originpth: there is no such option"),
    ],
)
def test_a_mistake_is_one_line_with_the_files_name(here: Path, section: str, option: str, words: str):
    name = option.partition(" ")[0]
    lines = [line for line in PIPELINE.splitlines() if not line.startswith(f"{name} =")]
    kept = {"filter": "[filter:cloudfront]", "registry": "[app:registry]", "edge": "[app:edge]"}[section]
    lines.insert(lines.index(kept) + 2, option)

    assert refusal(here, "\n".join(lines), "edge" if section == "edge" else None).startswith(words)


def test_a_mistake_in_the_configuration_file_is_told_with_its_place_there(here: Path):
    (here / "config.yml").write_text(CONFIG.replace("baseurl", "basurl"))

    assert refusal(here, FILTERED).startswith(
        "config.yml: middleware.storage[0].options.basurl: there is no such option (did you mean 'baseurl'?)"
    )


def test_a_mistake_in_what_takes_the_place_of_the_files_options_is_told_with_the_ini_files_name(here: Path):
    assert refusal(here, FILTERED + "duration = soon\n").startswith(
        "registry.ini: duration: 'soon' is not a duration"
    )


def test_a_configuration_file_without_the_middleware_is_told(here: Path):
    (here / "config.yml").write_text("storage: {filesystem: {rootdirectory: objects}}")

    assert refusal(here, FILTERED) == (
        "config.yml: middleware.storage: there is no entry with the name 'cloudfront'"
    )


def test_a_registry_without_storage_is_told(here: Path):
    assert refusal(here, "[app:main]\nuse = egg:cfmiddleware#registry\n") == (
        "registry.ini: config: this option is required, or 'storage' with the options of a driver"
    )


def test_a_configuration_file_stands_alone_for_an_app(here: Path):
    text = "[app:main]\nuse = egg:cfmiddleware#registry\nconfig = config.yml\nstorage = inmemory\n"

    assert refusal(here, text).startswith("registry.ini: storage: there is no such option")
