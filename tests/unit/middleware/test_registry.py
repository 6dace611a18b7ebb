"""The wrapper in front of our own registry, which knows of the probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from lab.apps import BLOB, CONTENT, DIGEST, KEY, Exchange, ask, request, wrap

from cfmiddleware.digest import Digest
from cfmiddleware.registry.app import Registry
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver
from cfmiddleware.storage.memory import MemoryDriver

SHA512 = Digest.of(CONTENT, "sha512")
LAYERS = "/docker/registry/v2/repositories/team/app/_layers"


class Counting(MemoryDriver):
    """A storage that counts how often an object is opened."""

    opened = 0

    def open(self, path: str, offset: int = 0, length: int | None = None) -> Any:
        self.opened += 1
        return super().open(path, offset, length)


@pytest.fixture
def driver() -> Counting:
    driver = Counting("/team/prod")
    driver.write(f"/{KEY}", CONTENT)
    driver.write(f"{LAYERS}/sha256/{DIGEST.hex}/link", str(DIGEST).encode())
    # Distribution links a sha512 name to the sha256 data.
    driver.write(f"{LAYERS}/sha512/{SHA512.hex}/link", str(DIGEST).encode())
    return driver


@pytest.mark.parametrize("probe", ["get", "head"])
def test_a_pull_is_redirected_without_opening_the_object(driver: Counting, probe: str):
    answer = ask(wrap(Registry(driver), rootdirectory="/team/prod", probe=probe))
    assert (answer.code, urlsplit(str(answer.location)).path) == (307, f"/{KEY}")
    assert driver.opened == 0


def test_the_object_is_the_one_that_the_registry_names(driver: Counting):
    answer = ask(wrap(Registry(driver), rootdirectory="/team/prod"), request(f"/v2/team/app/blobs/{SHA512}"))
    assert urlsplit(str(answer.location)).path == f"/{KEY}"
    assert dict(answer.headers)["Docker-Content-Digest"] == str(SHA512)


def test_a_directory_stands_where_the_wrapper_says_that_it_is_in_the_bucket(tmp_path: Path):
    driver = FilesystemDriver(tmp_path)
    driver.write(f"/{KEY}", CONTENT)
    driver.write(f"{LAYERS}/sha256/{DIGEST.hex}/link", str(DIGEST).encode())
    driver.write(f"{LAYERS}/sha512/{SHA512.hex}/link", str(DIGEST).encode())
    for digest in (DIGEST, SHA512):
        asked = request(f"/v2/team/app/blobs/{digest}")
        answer = ask(wrap(Registry(driver), rootdirectory="/team/prod"), asked)
        assert (answer.code, urlsplit(str(answer.location)).path) == (307, f"/{KEY}")


def test_a_blob_of_another_repository_is_not_found(driver: Counting):
    answer = ask(wrap(Registry(driver), rootdirectory="/team/prod"), request(f"/v2/other/app/blobs/{DIGEST}"))
    assert answer.code == 404
    assert b"BLOB_UNKNOWN" in answer.body


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"HTTP_IF_NONE_MATCH": f'"{DIGEST}"'}, 304),
        ({"HTTP_RANGE": "bytes=99999999-"}, 416),
        ({"HTTP_RANGE": "bytes=0-1"}, 307),
    ],
)
def test_conditions_and_ranges_are_the_registrys_to_judge(driver: Counting, fields: Any, code: int):
    assert ask(wrap(Registry(driver), rootdirectory="/team/prod"), request(**fields)).code == code


@pytest.mark.parametrize(("asked", "expected"), [({}, CONTENT), ({"HTTP_RANGE": "bytes=5-9"}, CONTENT[5:10])])
def test_a_small_blob_is_there_when_it_is_handed_on_after_all(driver: Counting, asked: Any, expected: bytes):
    wrapped = wrap(Registry(driver), rootdirectory="/team/prod", minimumsize="1MB")
    assert ask(wrapped, request(**asked)).body == expected
    assert driver.opened == 1


def test_an_ipv6_client_of_bound_urls_gets_the_bytes_from_the_registry(driver: Counting):
    wrapped = wrap(Registry(driver), rootdirectory="/team/prod", bindip=True)
    assert ask(wrapped, request(REMOTE_ADDR="2001:db8::1")).body == CONTENT


def test_what_the_wrapper_cannot_redirect_after_all_is_whole(driver: Counting):
    wrapped = wrap(Registry(driver), rootdirectory="/elsewhere")
    answer = ask(wrapped)
    assert (answer.code, answer.body) == (200, CONTENT)
    assert dict(answer.headers)["Content-Length"] == str(len(CONTENT))


def test_a_link_without_data_is_redirected_and_the_registry_says_404_where_it_looks(driver: Counting):
    """Distribution's garbage collector leaves such links behind."""
    driver.delete([f"/{KEY}"])
    registry = Registry(driver)
    assert ask(wrap(registry, rootdirectory="/team/prod")).code == 307
    assert ask(wrap(registry, rootdirectory="/team/prod"), request(BLOB, "HEAD")).code == 404
    assert ask(wrap(registry, rootdirectory="/team/prod", minimumsize=1)).code == 404
    assert ask(registry).code == 404


def test_what_stands_between_wrapper_and_registry_has_the_last_word(driver: Counting):
    registry = Registry(driver)

    def guarded(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            return start_response("403 Forbidden", [("Content-Length", "0")], exc_info)

        registry(environ, start)
        return []

    def unnamed(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            kept = [(name, value) for name, value in headers if name != "Docker-Content-Digest"]
            return start_response(status, kept, exc_info)

        return registry(environ, start)

    assert ask(wrap(guarded, rootdirectory="/team/prod")).code == 403
    answer = ask(wrap(unnamed, rootdirectory="/team/prod"))
    assert (answer.code, answer.body) == (200, CONTENT)


def test_a_push_passes_through(driver: Counting):
    wrapped = wrap(Registry(driver), rootdirectory="/team/prod")
    started = Exchange(wrapped, request("/v2/team/app/blobs/uploads/", "POST"))
    assert started.code == 202
    started.read()
    assert ask(wrapped, request(BLOB, "HEAD")).code == 200
