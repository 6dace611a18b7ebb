"""What a client and the log see when the storage, or the registry itself, fails."""

from __future__ import annotations

import logging

import pytest
from lab.registry_client import RegistryClient, error_code

from cfmiddleware.digest import Digest
from cfmiddleware.errors import (
    StorageClockWrong,
    StorageFailed,
    StorageFull,
    StorageReadOnly,
    StorageRefused,
    StorageUnavailable,
)
from cfmiddleware.storage.memory import MemoryDriver


class FailingDriver(MemoryDriver):
    """A driver whose every read fails."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def read(self, path):
        raise self.error


URL = f"/v2/app/blobs/{Digest.of(b'x')}"


def test_storage_that_does_not_answer_is_503_with_when_to_try_again(caplog):
    answer = RegistryClient(FailingDriver(StorageUnavailable("no answer"))).get(URL)
    assert (answer.status_code, error_code(answer)) == (503, "UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        (StorageUnavailable, 503, "reached"),
        (StorageFull, 507, "full"),
        (StorageReadOnly, 503, "written"),
        (StorageClockWrong, 503, "clock"),
        (StorageRefused, 500, "refuses"),
        (StorageFailed, 503, "failed"),
    ],
)
def test_a_client_is_told_in_which_way_the_storage_fails_and_nothing_of_its_inside(
    kind, status, word, caplog
):
    answer = RegistryClient(FailingDriver(kind("cannot write /mnt/disk: No space left; make room"))).get(URL)
    assert (answer.status_code, error_code(answer)) == (status, "UNKNOWN" if status == 500 else "UNAVAILABLE")
    assert word in answer.json["errors"][0]["message"]
    assert "/mnt" not in answer.text
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert "No space left; make room" in caplog.text


def test_a_failure_of_our_own_is_logged_with_its_trace_and_told_to_nobody(caplog):
    answer = RegistryClient(FailingDriver(RuntimeError("the secret place"))).get(URL)
    assert (answer.status_code, error_code(answer)) == (500, "UNKNOWN")
    assert "secret" not in answer.text
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "the secret place" in caplog.text


@pytest.mark.parametrize("error", [StorageUnavailable("no answer"), RuntimeError()])
def test_head_fails_like_get(error):
    client = RegistryClient(FailingDriver(error))
    head = client.head(URL)
    assert (head.status_code, head.data) == (client.get(URL).status_code, b"")


class UnlinkableDriver(MemoryDriver):
    """A driver that fails at the last step of a push."""

    broken = True

    def write(self, path, content):
        if self.broken and "/_layers/" in path:
            raise StorageUnavailable("no answer")
        super().write(path, content)


@pytest.mark.parametrize("sizes", [(20,), (200,), (200, 200, 20)])
def test_a_push_that_failed_at_its_end_succeeds_when_it_is_tried_again(sizes):
    client = RegistryClient(UnlinkableDriver(), inline_limit=100)
    content = bytes(range(256)) * 2
    content, digest = content[: sum(sizes)], Digest.of(content[: sum(sizes)])
    url, sent = client.start("app"), 0
    for size in sizes:
        url = client.patch(url, data=content[sent : sent + size]).headers["Location"]
        sent += size
    assert client.put(f"{url}?digest={digest}").status_code == 503
    assert client.get(f"/v2/app/blobs/{digest}").status_code == 404
    client.driver.broken = False
    assert client.put(f"{url}?digest={digest}").status_code == 201
    assert client.get(f"/v2/app/blobs/{digest}").data == content


@pytest.mark.parametrize(
    ("method", "path", "to"),
    [
        ("GET", "/v2/_catalog/?n=1", "/v2/_catalog?n=1"),
        ("GET", "/v2/app/x/tags/list/", "/v2/app/x/tags/list"),
        ("HEAD", "/v2/app/manifests/uploads/", "/v2/app/manifests/uploads"),
        ("PUT", "/v2/app/manifests/latest/", "/v2/app/manifests/latest"),
        ("GET", f"/v2/app/blobs/{Digest.of(b'')}/", f"/v2/app/blobs/{Digest.of(b'')}"),
        ("PATCH", "/v2/app/blobs/uploads/id/", "/v2/app/blobs/uploads/id"),
        ("GET", "/v2//", "/v2/"),
    ],
)
def test_a_slash_too_many_is_redirected_as_distribution_does_it(method, path, to):
    client = RegistryClient(MemoryDriver(), prefix="/at")
    answer = client.open("/at" + path, method=method)
    assert (answer.status_code, answer.headers["Location"]) == (301, "/at" + to)


@pytest.mark.parametrize("path", ["/v2/app/tags/", "/v2/app/", "/v2/app/manifests//"])
def test_a_slash_at_the_end_of_what_is_no_path_is_404(path):
    assert RegistryClient(MemoryDriver()).get(path).status_code == 404
