"""The lists of tags and of repositories, and their pages (OCI Distribution, "Listing tags")."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.examples import examples
from lab.registry_client import DRIVERS, ROOT, RegistryClient, error_code

from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver
from cfmiddleware.storage.memory import MemoryDriver

TAGS = ["10", "V1", "_", "v1", "v1-alpine", "v1.0", "v10", "v2"]  # in the order of their bytes
NAMES = ["a", "a-b", "a/b", "a/b-c", "a/b/c", "a0", "b/c/d", "z"]


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    return RegistryClient(DRIVERS[request.param](tmp_path))


@pytest.fixture
def tagged(client):
    client.push_image("app", TAGS[0])
    content = client.get(f"/v2/app/manifests/{TAGS[0]}").data
    for tag in reversed(TAGS[1:]):
        client.push_manifest("app", tag, content)
    return client


@pytest.fixture
def named(client):
    for name in reversed(NAMES):
        client.push_image(name, "latest")
    return client


def pages(client, url, key):
    """Follow the links from one page to the next and return what each has."""
    found = []
    while url:
        answer = client.get(url)
        assert answer.status_code == 200
        found.append(answer.json[key])
        link = answer.headers.get("Link")
        assert link is None or link.endswith('>; rel="next"')
        url = link.partition(">")[0][1:] if link else None
    return found


def test_tags_are_listed_in_the_order_of_their_bytes(tagged):
    answer = tagged.get("/v2/app/tags/list")
    assert (answer.status_code, answer.json) == (200, {"name": "app", "tags": TAGS})
    assert answer.headers["Content-Type"] == "application/json"
    assert "Link" not in answer.headers


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 100])
def test_pages_of_tags_follow_one_another(tagged, size):
    expected = [TAGS[start : start + size] for start in range(0, len(TAGS), size)]
    assert pages(tagged, f"/v2/app/tags/list?n={size}", "tags") == expected


@pytest.mark.parametrize(("last", "expected"), [("v1", TAGS[4:]), ("v1-", TAGS[4:]), ("", TAGS), ("zz", [])])
def test_a_page_begins_after_a_tag_that_need_not_exist(tagged, last, expected):
    assert tagged.get(f"/v2/app/tags/list?last={last}").json["tags"] == expected
    assert tagged.get(f"/v2/app/tags/list?n=20&last={last}").json["tags"] == expected


def test_a_page_of_no_tags_is_empty(tagged):
    answer = tagged.get("/v2/app/tags/list?n=0")
    assert (answer.status_code, answer.json["tags"]) == (200, [])
    assert "Link" not in answer.headers


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "", "%C2%B2", "9" * 5000])
@pytest.mark.parametrize("url", ["/v2/app/tags/list", "/v2/_catalog"])
def test_a_page_of_a_number_that_is_none_is_refused(client, url, number):
    answer = client.get(f"{url}?n={number}")
    assert (answer.status_code, error_code(answer)) == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize("query", ["", "?n=2", "?n=100"])
def test_a_tag_that_names_nothing_now_is_not_listed(tagged, query):
    tagged.driver.delete([f"{ROOT}repositories/app/_manifests/tags/{tag}/current/link" for tag in TAGS[:2]])
    listed = pages(tagged, f"/v2/app/tags/list{query}", "tags")
    assert list(chain.from_iterable(listed)) == TAGS[2:]


def test_a_repository_that_does_not_exist_has_no_list_of_tags(client):
    client.push_image("a/b", "latest")
    for name in ("none", "a"):
        answer = client.get(f"/v2/{name}/tags/list")
        assert (answer.status_code, error_code(answer)) == (404, "NAME_UNKNOWN")


def test_a_repository_without_tags_has_an_empty_list(client):
    client.push_blob("app", b"x")
    assert client.get("/v2/app/tags/list").json == {"name": "app", "tags": []}


def test_repositories_are_listed_in_the_order_of_their_names_bytes(named):
    assert named.get("/v2/_catalog").json == {"repositories": NAMES}


@pytest.mark.parametrize("size", [1, 2, 3, 8, 100])
def test_pages_of_the_catalog_follow_one_another(named, size):
    expected = [NAMES[start : start + size] for start in range(0, len(NAMES), size)]
    assert pages(named, f"/v2/_catalog?n={size}", "repositories") == expected


def test_the_catalog_of_an_empty_registry_is_empty(client):
    assert client.get("/v2/_catalog").json == {"repositories": []}


def test_a_page_of_the_catalog_has_no_more_than_the_operator_allows(named):
    careful = RegistryClient(named.driver, maxentries=2)
    assert careful.get("/v2/_catalog?n=1000").json["repositories"] == NAMES[:2]
    assert list(chain.from_iterable(pages(careful, "/v2/_catalog", "repositories"))) == NAMES


def test_an_upload_alone_makes_no_repository(client):
    client.start("app")
    assert client.get("/v2/_catalog").json["repositories"] == []


@settings(max_examples=examples(60), deadline=None)
@given(
    names=st.sets(st.from_regex(r"[a0]([-.]?[a0])?(/[a0]([-.]?[a0])?){0,2}", fullmatch=True), max_size=12),
    last=st.from_regex(r"[a0]?([-./0a]{0,4})", fullmatch=True),
)
def test_a_page_of_the_catalog_has_exactly_the_names_after_its_beginning(names, last):
    driver = MemoryDriver()
    for name in names:
        driver.write(f"{ROOT}repositories/{name}/_layers/sha256/x/link", b"")
    answer = RegistryClient(driver).get("/v2/_catalog", query_string={"last": last})
    assert answer.json["repositories"] == sorted(name for name in names if name > last)


def test_a_catalog_of_deeply_nested_repositories_looks_into_each_folder_once(tmp_path, monkeypatch):
    client = RegistryClient(FilesystemDriver(tmp_path))
    names = [f"d{number}" + "/a" * 40 for number in range(3)]
    for name in names:
        client.push_blob(name, b"content")
    looked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
    assert client.get("/v2/_catalog").json == {"repositories": names}
    folders = {path for path in looked if "/_layers" not in path}
    assert len(folders) == 3 * 41 + 1
    assert len(looked) <= len(folders) + 3 * 4  # and into _layers down to its first link


@pytest.mark.parametrize("query", ["", "?n=3", "?n=1000"])
def test_a_list_of_tags_looks_into_no_tag_for_what_it_has_ever_named(tmp_path, monkeypatch, query):
    client = RegistryClient(FilesystemDriver(tmp_path))
    client.push_image("app", TAGS[0])
    content = client.get(f"/v2/app/manifests/{TAGS[0]}").data
    for tag in TAGS[1:]:
        client.push_manifest("app", tag, content)
    looked, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
    answer = client.get(f"/v2/app/tags/list{query}")
    assert answer.json["tags"] == (TAGS[:3] if query == "?n=3" else TAGS)
    assert len(looked) == 1


def test_a_folder_without_any_object_makes_no_repository(tmp_path):
    client = RegistryClient(FilesystemDriver(tmp_path))
    client.push_blob("app/real", b"content")
    (tmp_path / f"{ROOT[1:]}repositories/app/hollow/_manifests/revisions").mkdir(parents=True)
    assert client.get("/v2/_catalog").json == {"repositories": ["app/real"]}
