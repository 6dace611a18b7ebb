"""What a configuration file says about the registry's lists, manifests and redirects."""

from __future__ import annotations

import textwrap

import pytest
from lab.registry_client import (
    OCI_INDEX,
    OCI_MANIFEST,
    RegistryClient,
    descriptor,
    error_code,
    image_manifest,
)
from werkzeug.test import Client

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.registry.app import Registry
from cfmiddleware.signing.keys import generate

ABSENT = Digest.of(b"never pushed")

CLOUDFRONT = """
middleware:
  storage:
    - name: cloudfront
      options: {baseurl: https://d.example.net, keypairid: K, privatekey: key.pem}
"""


def load(tmp_path, text=""):
    file = tmp_path / "config.yml"
    file.write_text("version: 0.1\nstorage:\n  inmemory: {}\n" + textwrap.dedent(text))
    return Config.load(file, {})


@pytest.fixture
def configured(tmp_path):
    """Return a client of the registry that a configuration asks for."""

    def build(text):
        client = RegistryClient.__new__(RegistryClient)
        config = load(tmp_path, text)
        client.driver, client.registry = config.driver(), config.registry()
        Client.__init__(client, client.registry)
        return client

    return build


def test_pages_have_no_more_entries_than_the_file_says(configured):
    client = configured("catalog: {maxentries: 2}\ntags: {maxtags: 1}\n")
    for name in "abc":
        client.push_image(name, "latest")
    client.push_image("a", "v1")
    assert client.get("/v2/_catalog?n=50").json["repositories"] == ["a", "b"]
    for query in ("", "?n=50"):
        answer = client.get(f"/v2/a/tags/list{query}")
        assert (answer.json["tags"], answer.headers["Link"]) == (
            ["latest"],
            '</v2/a/tags/list?n=1&last=latest>; rel="next"',
        )
    assert client.get("/v2/a/tags/list?n=0").json["tags"] == []


def test_an_image_may_lack_its_layers_where_the_file_says_so_but_not_its_config(configured):
    sparse = "validation: {manifests: {layers: none}}"
    for text, status in (("", 404), (sparse, 201)):
        client = configured(text)
        manifest = image_manifest(client.push_blob("app", b"{}"), [ABSENT])
        assert client.push_manifest("app", "latest", manifest).status_code == status
    manifest = image_manifest(ABSENT, [])
    assert error_code(configured(sparse).push_manifest("app", "latest", manifest)) == "MANIFEST_BLOB_UNKNOWN"


LISTED = """
validation:
  manifests:
    indexes:
      platforms: list
      platformlist:
        - {os: linux, architecture: amd64}
"""


@pytest.mark.parametrize(
    ("text", "architecture", "status"),
    [
        ("", "arm64", 404),
        ("validation: {manifests: {indexes: {platforms: all}}}", "arm64", 404),
        ("validation: {manifests: {indexes: {platforms: none}}}", "arm64", 201),
        ("validation: {disabled: true}", "arm64", 201),
        (LISTED, "arm64", 201),
        (LISTED, "amd64", 404),
    ],
)
def test_an_index_may_lack_images_of_the_platforms_that_the_file_does_not_ask_for(
    configured, text, architecture, status
):
    entry = descriptor(ABSENT, OCI_MANIFEST, platform={"os": "linux", "architecture": architecture})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    assert configured(text).push_manifest("app", "latest", index).status_code == status


@pytest.mark.parametrize(("disable", "wrapped"), [("false", True), ("true", False)])
def test_redirects_can_be_switched_off(tmp_path, disable, wrapped, caplog):
    (tmp_path / "key.pem").write_text(generate("ecdsa").private_pem)
    config = load(tmp_path, f"  redirect: {{disable: {disable}}}\n{CLOUDFRONT}")
    assert config.has_wrapper() is wrapped
    assert isinstance(config.app(), CloudFrontMiddleware if wrapped else Registry)
    assert ("storage.redirect.disable: the registry sends all blobs itself" in caplog.text) is not wrapped


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("catalog: {maxentries: 0}", "catalog.maxentries"),
        ("catalog: {maxentry: 1}", "catalog.maxentry: there is no such option (did you mean 'maxentries'?)"),
        ("tags: {maxtags: many}", "tags.maxtags"),
        ("tags: 5", "tags: must be a section"),
        ("validation: {manifests: {layers: some}}", "validation.manifests.layers"),
        ("validation: {manifests: {mediatypes: some}}", "validation.manifests.mediatypes"),
        ("validation: {manifests: {indexes: {platforms: linux}}}", "validation.manifests.indexes.platforms"),
        (
            "validation: {manifests: {indexes: {platforms: list}}}",
            "validation.manifests.indexes.platformlist",
        ),
        ("validation: {manifests: [layers]}", "validation.manifests: must be a section"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, named):
    with pytest.raises(ConfigError, match=r"config\.yml: ") as raised:
        load(tmp_path, text).registry()
    assert named in str(raised.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("  redirect: {disable: maybe}\n", "storage.redirect.disable"),
        ("  redirect: {disabled: true}\n", "storage.redirect.disabled"),
        ("  redirect: off\n", None),
    ],
)
def test_a_mistake_about_redirects_is_named_with_its_place(tmp_path, text, named):
    if named is None:
        assert load(tmp_path, text + CLOUDFRONT).has_wrapper()
        return
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text + CLOUDFRONT)
    assert named in str(raised.value)


@pytest.mark.parametrize(("value", "status"), [("all", 201), ("distribution", 400)])
def test_media_types_that_distribution_does_not_know_are_refused_on_request(configured, value, status):
    client = configured(f"validation: {{manifests: {{mediatypes: {value}}}}}")
    thing = "application/vnd.example.thing.v1+json"
    answer = client.push_manifest("app", "x", {"schemaVersion": 2, "mediaType": thing}, thing)
    assert answer.status_code == status
