"""Reading and deleting blobs (OCI Distribution, "Pulling blobs", "Deleting blobs")."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.registry_client import DRIVERS, ROOT, RegistryClient, error_code
from werkzeug.test import EnvironBuilder, run_wsgi_app

from cfmiddleware.digest import Digest
from cfmiddleware.middleware.probe import Probe
from cfmiddleware.storage.memory import MemoryDriver

CONTENT = bytes(range(256)) * 4
DIGEST = Digest.of(CONTENT)
URL = f"/v2/library/app/blobs/{DIGEST}"


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    client = RegistryClient(DRIVERS[request.param](tmp_path))
    client.push_blob("library/app", CONTENT)
    return client


def test_the_base_says_that_the_registry_speaks_version_2(client):
    answer = client.get("/v2/")
    assert (answer.status_code, answer.json) == (200, {})
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


def test_a_blob_comes_back_with_its_headers(client):
    answer = client.get(URL)
    assert (answer.status_code, answer.data) == (200, CONTENT)
    assert answer.headers["Content-Length"] == "1024"
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["ETag"] == f'"{DIGEST}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "max-age=31536000"


@pytest.mark.parametrize("path", [URL, f"/v2/library/app/blobs/{Digest.of(b'?')}", "/v2/", "/v2/UP/blobs/x"])
def test_head_is_get_without_its_body(client, path):
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.headers) == (get.status_code, get.headers)
    assert head.data == b""


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}])
def test_an_empty_body_is_a_chunk_because_some_servers_send_nothing_without_one(
    client, wrapped, method, headers
):
    empty = client.push_blob("library/app", b"")
    for url in (f"/v2/library/app/blobs/{empty}", "/v2/library/app/blobs/uploads/"):
        environ = EnvironBuilder(url, method=method, headers=headers).get_environ()
        if wrapped:
            environ["cfmiddleware.probe"] = Probe()
        if url.endswith("uploads/"):
            environ["REQUEST_METHOD"] = "POST"
        chunks = client.registry(environ, lambda status, headers: None)
        assert list(chunks) == [b""]


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=1000-", 1000, 1023),
        ("bytes=1000-99999", 1000, 1023),
        (f"bytes=1000-{'9' * 5000}", 1000, 1023),
        ("bytes=-5", 1019, 1023),
        ("bytes=-99999", 0, 1023),
    ],
)
def test_a_range_is_answered_with_that_part(client, wanted, first, last):
    answer = client.get(URL, headers={"Range": wanted})
    assert (answer.status_code, answer.data) == (206, CONTENT[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/1024"
    assert answer.headers["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize(
    "wanted", ["bytes=1024-", "bytes=5000-6000", "bytes=-0", "bytes=9-3", f"bytes={'9' * 5000}-"]
)
def test_a_range_without_a_byte_of_the_blob_is_416(client, wanted):
    answer = client.get(URL, headers={"Range": wanted})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */1024"


@pytest.mark.parametrize("ignored", ["bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=x-y", "0-9"])
def test_a_range_that_cannot_be_served_is_ignored(client, ignored):
    answer = client.get(URL, headers={"Range": ignored})
    assert (answer.status_code, answer.data) == (200, CONTENT)


def test_a_range_counts_only_while_the_blob_is_the_one_of_if_range(client):
    same = client.get(URL, headers={"Range": "bytes=0-0", "If-Range": f'"{DIGEST}"'})
    other = client.get(URL, headers={"Range": "bytes=0-0", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


@pytest.mark.parametrize("condition", [f'"{DIGEST}"', f'W/"{DIGEST}"', f'"x", "{DIGEST}"', "*"])
def test_a_blob_that_the_client_has_is_not_sent_again(client, condition):
    answer = client.get(URL, headers={"If-None-Match": condition})
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == f'"{DIGEST}"'


def test_an_etag_of_something_else_changes_nothing(client):
    assert client.get(URL, headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_blob_is_visible_only_in_the_repository_that_has_it(client):
    for name in ("other", "library", "library/app/more"):
        answer = client.get(f"/v2/{name}/blobs/{DIGEST}")
        assert (answer.status_code, error_code(answer)) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("digest", ["sha256:abc", f"sha256:{'A' * 64}", f"md5:{'0' * 32}", "latest"])
def test_a_bad_digest_is_named_so(client, digest):
    answer = client.get(f"/v2/library/app/blobs/{digest}")
    assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("name", ["Library/app", "a//b", "a/_layers", "-a", "a" * 256, "a/%C3%A4", "a%0A"])
def test_a_bad_name_is_named_so(client, name):
    answer = client.get(f"/v2/{name}/blobs/{DIGEST}")
    assert (answer.status_code, error_code(answer)) == (400, "NAME_INVALID")


def test_a_link_whose_data_is_gone_is_no_blob(client):
    client.driver.delete([path for path, _ in client.driver.walk("/docker/") if path.endswith("/data")])
    answer = client.get(URL)
    assert (answer.status_code, error_code(answer)) == (404, "BLOB_UNKNOWN")


def test_a_link_that_holds_no_digest_is_no_blob(client):
    client.driver.write(f"{ROOT}repositories/library/app/_layers/sha256/{DIGEST.hex}/link", b"\xff nonsense")
    assert client.get(URL).status_code == 404


def test_the_data_is_where_the_content_of_the_link_says(client):
    """Distribution links sha512 names to sha256 data."""
    alias = Digest.of(CONTENT, "sha512")
    client.driver.write(
        f"{ROOT}repositories/library/app/_layers/sha512/{alias.hex}/link", str(DIGEST).encode()
    )
    answer = client.get(f"/v2/library/app/blobs/{alias}")
    assert (answer.status_code, answer.data) == (200, CONTENT)
    assert answer.headers["Docker-Content-Digest"] == str(alias)


def test_an_empty_blob_is_a_blob(client):
    digest = client.push_blob("library/app", b"")
    answer = client.get(f"/v2/library/app/blobs/{digest}")
    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (200, b"", "0")


def test_deleting_a_blob_takes_it_from_one_repository_alone(client):
    client.push_blob("other", CONTENT)
    assert client.delete(URL).status_code == 202
    assert client.get(URL).status_code == 404
    assert client.get(f"/v2/other/blobs/{DIGEST}").data == CONTENT
    again = client.delete(URL)
    assert (again.status_code, error_code(again)) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("options", [{"delete": False}, {"readonly": True}])
def test_nothing_is_deleted_where_deleting_is_off(client, options):
    careful = RegistryClient(client.driver, **options)
    answer = careful.delete(URL)
    assert (answer.status_code, error_code(answer)) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD"
    assert careful.get(URL).data == CONTENT


class Located:
    """A probe that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def located(self, key: str, size: int) -> None:
        self.told.append((key, size))

    def placed(self, path: str, size: int) -> None:
        self.told.append((path, size))


class CountingDriver(MemoryDriver):
    """A driver that counts what is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0

    def open(self, path, offset=0, length=None):
        self.opened += 1
        return super().open(path, offset, length)


def probe(client, digest, **headers):
    located = Located()
    path = f"/v2/library/app/blobs/{digest}"
    environ = EnvironBuilder(path, headers=headers).get_environ()
    environ["cfmiddleware.probe"] = located
    body, status, answered = run_wsgi_app(client.registry, environ)
    return located.told, int(status.split()[0]), answered, body


def test_a_wrapper_learns_the_key_and_the_size_of_a_blob():
    client = RegistryClient(MemoryDriver("team"))
    client.push_blob("library/app", CONTENT)
    told, status, _, body = probe(client, DIGEST)
    key = f"team/docker/registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"
    assert (told, status, b"".join(body)) == ([(key, 1024)], 200, CONTENT)


def test_a_wrapper_learns_the_path_of_a_blob_in_no_bucket(client):
    told, status, _, body = probe(client, DIGEST)
    path = f"/docker/registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"
    assert (told, status, b"".join(body)) == ([(path, 1024)], 200, CONTENT)


def test_a_response_that_is_closed_unread_opens_nothing():
    driver = CountingDriver()
    client = RegistryClient(driver)
    client.push_blob("library/app", CONTENT)
    environ = EnvironBuilder(URL).get_environ()
    environ["cfmiddleware.probe"] = Located()
    body = client.registry(environ, lambda *args: None)
    body.close()
    assert list(body) == []
    assert driver.opened == 0


def test_a_wrapper_that_hands_the_answer_on_hands_on_the_range(client):
    told, status, headers, body = probe(client, DIGEST, Range="bytes=3-5")
    assert (len(told), status, b"".join(body)) == (1, 206, CONTENT[3:6])
    assert headers["Content-Range"] == "bytes 3-5/1024"


def test_a_wrapper_is_told_nothing_of_a_blob_that_is_not_there(client):
    told, status, _, _ = probe(client, Digest.of(b"?"))
    assert (told, status) == ([], 404)


def test_a_link_to_other_bytes_of_the_same_algorithm_is_no_blob(caplog):
    client = RegistryClient(MemoryDriver())
    mine, secret = client.push_blob("app", b"mine"), client.push_blob("priv", b"secret")
    client.driver.write(f"{ROOT}repositories/app/_layers/sha256/{mine.hex}/link", str(secret).encode())

    assert client.get(f"/v2/app/blobs/{mine}").status_code == 404
    assert "names other bytes" in caplog.text
    client.push_blob("app", b"mine")
    assert client.get(f"/v2/app/blobs/{mine}").data == b"mine"
