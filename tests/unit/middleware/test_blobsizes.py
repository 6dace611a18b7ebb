"""The bytes of redirects, whose size nobody has said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.servers import eventually

from cfmiddleware import metrics
from cfmiddleware.digest import Digest
from cfmiddleware.metrics.cells import STATE, VARIABLE
from cfmiddleware.middleware.blobsizes import BlobSizes, content_length, counting_by_name
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.reference import BlobPath
from cfmiddleware.signing.keys import generate

pytest.importorskip("prometheus_client")

BLOB = BlobPath("team/app", Digest.of(b"content"))


@pytest.fixture(autouse=True)
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    metrics.turn_on()
    STATE.begin()
    yield
    STATE.forget()
    STATE.directory = STATE.is_named = None


def counted(name: str, **labels: str) -> float:
    from cfmiddleware.metrics.exposition import registry

    return float(registry().get_sample_value(name, labels or {"sent": "edge"}) or 0)


def test_a_size_that_the_app_says_is_counted_at_once():
    BlobSizes().count(BLOB, "edge", 7)
    assert counted("cfmiddleware_pulls_total") == 1
    assert counted("cfmiddleware_pull_bytes_total") == 7


def test_a_size_that_nobody_says_is_asked_for_once_in_the_background():
    asked: list[Digest] = []
    go_on = threading.Event()

    def size_of(digest: Digest) -> int:
        asked.append(digest)
        go_on.wait(10)
        return 7

    sizes = BlobSizes(size_of)
    for _ in range(100):
        sizes.count(BLOB, "edge", None)
    assert counted("cfmiddleware_pulls_total") == 100
    assert counted("cfmiddleware_pull_bytes_total") == 0
    go_on.set()
    assert eventually(lambda: counted("cfmiddleware_pull_bytes_total") == 700)
    sizes.count(BLOB, "edge", None)
    assert counted("cfmiddleware_pull_bytes_total") == 707
    assert asked == [BLOB.digest]


def test_a_size_that_cannot_be_had_is_counted_as_unknown_and_not_asked_for_again():
    asked: list[Digest] = []

    def size_of(digest: Digest) -> int:
        asked.append(digest)
        raise OSError

    sizes = BlobSizes(size_of)
    sizes.count(BLOB, "edge", None)
    assert eventually(lambda: counted("cfmiddleware_pulls_of_unknown_size_total") == 1)
    sizes.count(BLOB, "edge", None)
    assert counted("cfmiddleware_pulls_of_unknown_size_total") == 2
    assert len(asked) == 1


def test_where_nobody_can_be_asked_and_for_a_range_the_size_is_unknown():
    sizes = BlobSizes()
    sizes.count(BLOB, "edge", None)
    sizes.count_part(BLOB, "edge")
    assert counted("cfmiddleware_pulls_of_unknown_size_total") == 2
    assert counted("cfmiddleware_pull_bytes_total") == 0
    sizes.count(BLOB, "edge", None, [("Content-Length", "12")])
    assert counted("cfmiddleware_pull_bytes_total") == 12


def test_repositories_are_counted_by_name_where_the_operator_names_them():
    metrics.turn_on(repositories=("team/*", "base"))
    sizes = BlobSizes()
    for repository in ("team/app", "team/app", "base", "other/app"):
        sizes.count(BlobPath(repository, BLOB.digest), "edge", 1)
    name = "cfmiddleware_repository_pulls_total"
    assert counted(name, repository="team/app", sent="edge") == 2
    assert counted(name, repository="base", sent="edge") == 1
    assert counted(name, repository="other/app", sent="edge") == 0
    metrics.turn_on()
    assert STATE.is_named is None


@pytest.mark.parametrize(
    ("status", "count"), [("200 OK", 1), ("206 Partial Content", 1), ("404 Not Found", 0), ("304 x", 0)]
)
def test_what_the_app_serves_is_counted_by_name_too(status: str, count: int):
    answers: list[Any] = []
    counting_by_name("base", lambda *given: answers.append(given))(status, [("A", "b")])  # type: ignore[arg-type]
    assert counted("cfmiddleware_repository_pulls_total", repository="base", sent="app") == count
    assert answers == [(status, [("A", "b")], None)]


def test_the_length_of_an_answer():
    assert content_length([("Content-Type", "x"), ("content-length", "12")]) == 12
    assert content_length([("Content-Length", "x")]) == -1
    assert content_length([]) == -1


def test_a_wrapper_without_a_configuration_counts_too():
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Docker-Content-Digest", str(BLOB.digest)), ("Content-Length", "7")])
        return [b"content"]

    key = generate("ecdsa").private_pem
    wrapper = CloudFrontMiddleware(app, baseurl="https://cdn.example.com", privatekey=key, keypairid="K1")
    wrapped = metrics.Counted(wrapper)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": f"/v2/team/app/blobs/{BLOB.digest}"}
    for _ in range(3):
        b"".join(wrapped(dict(environ), lambda *given: lambda data: None))

    assert counted("cfmiddleware_pulls_total") == 3
    assert counted("cfmiddleware_pull_bytes_total") == 21
    assert counted("cfmiddleware_signatures_total", outcome="made") == 1
    assert counted("cfmiddleware_signatures_total", outcome="reused") == 2
    assert counted("cfmiddleware_pulls_total", sent="app") == 0
