"""What a pull asks S3 for, with a descriptor cache and without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lab.apps import ask, request, wrap
from lab.recording_s3 import Answer, RecordingS3, Request, recording
from werkzeug.test import Client

from cfmiddleware.digest import Digest
from cfmiddleware.registry.app import Registry
from cfmiddleware.registry.cache.descriptors import InMemoryDescriptorCache
from cfmiddleware.storage.s3 import S3Driver, S3Options

CONTENT = b"0123456789" * 100
DIGEST = Digest.of(CONTENT)
BLOB = f"/v2/team/app/blobs/{DIGEST}"


@pytest.fixture
def s3() -> Iterator[RecordingS3]:
    """An S3 whose every link names the one blob, and whose every other object is the blob."""

    def answer(asked: Request) -> Answer:
        if asked.path.endswith("/link"):
            return Answer(200, str(DIGEST).encode())
        usual = {"ETag": '"e"', "Last-Modified": "Mon, 23 Nov 2026 12:00:00 GMT"}
        if "Range" not in asked.headers:
            return Answer(200, CONTENT, usual)
        first, last = asked.headers["Range"].removeprefix("bytes=").split("-")
        part = CONTENT[int(first) : int(last) + 1]
        return Answer(206, part, usual | {"Content-Range": f"bytes {first}-{last}/{len(CONTENT)}"})

    with recording() as server:
        server.answer = answer
        yield server


def over_s3(s3: RecordingS3, descriptors: InMemoryDescriptorCache | None) -> Registry:
    keys = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key"}
    driver = S3Driver(S3Options(bucket="registry", regionendpoint=s3.url, rootdirectory="images", **keys))
    return Registry(driver, descriptors=descriptors)


def pulls_of(registry: Registry) -> dict[str, Any]:
    wrapped, direct = wrap(registry, rootdirectory="/images"), Client(registry)
    some = wrap(registry, rootdirectory="/images", minimumsize=len(CONTENT))
    few = wrap(registry, rootdirectory="/images", minimumsize=len(CONTENT) + 1)
    known = {"HTTP_IF_NONE_MATCH": f'"{DIGEST}"'}
    return {
        "through the wrapper": lambda: ask(wrapped, request(BLOB)).code,
        "not modified, wrapped": lambda: ask(wrapped, request(BLOB, **known)).code,
        "range, wrapped": lambda: ask(wrapped, request(BLOB, HTTP_RANGE="bytes=5-9")).code,
        "with a minimumsize": lambda: ask(some, request(BLOB)).code,
        "below the minimumsize": lambda: ask(few, request(BLOB)).code,
        "HEAD": lambda: direct.head(BLOB).status_code,
        "range": lambda: direct.get(BLOB, headers={"Range": "bytes=5-9"}).status_code,
        "whole": lambda: direct.get(BLOB).status_code,
        "not modified": lambda: direct.get(BLOB, headers={"If-None-Match": f'"{DIGEST}"'}).status_code,
    }


PULLS = {
    # How it is answered; what S3 is asked each time without a cache, and with a warm one.
    # The link alone says that the repository has the blob.
    "through the wrapper": (307, ["GET link"], []),
    "not modified, wrapped": (304, ["GET link"], []),
    # A size that is not known decides on nothing.
    "range, wrapped": (307, ["GET link", "HEAD data"], []),
    "with a minimumsize": (307, ["GET link", "HEAD data"], []),
    "below the minimumsize": (200, ["GET link", "HEAD data", "GET data"], ["GET data"]),
    "HEAD": (200, ["GET link", "HEAD data"], []),
    "range": (206, ["GET link", "HEAD data", "GET data"], ["GET data"]),
    "whole": (200, ["GET link", "GET data"], ["GET data"]),
    "not modified": (304, ["GET link", "HEAD data"], []),
}


def asked_of(s3: RecordingS3, call: Any) -> tuple[Any, list[str]]:
    s3.requests.clear()
    answer = call()
    return answer, [f"{one.method} {one.path.rsplit('/', 1)[1]}" for one in s3.requests]


@pytest.mark.parametrize("pull", PULLS)
def test_without_a_cache_every_answer_is_the_storages(s3: RecordingS3, pull: str):
    status, asked, _ = PULLS[pull]
    call = pulls_of(over_s3(s3, None))[pull]
    for _ in range(3):
        assert asked_of(s3, call) == (status, asked)


@pytest.mark.parametrize("pull", PULLS)
def test_a_warm_pull_asks_the_storage_for_the_bytes_at_the_most(s3: RecordingS3, pull: str):
    status, _, asked = PULLS[pull]
    calls = pulls_of(over_s3(s3, InMemoryDescriptorCache()))
    assert calls["HEAD"]() == 200
    for _ in range(3):
        assert asked_of(s3, calls[pull]) == (status, asked)


def test_a_cold_redirect_and_a_cold_pull_ask_for_the_link_once(s3: RecordingS3):
    calls = pulls_of(over_s3(s3, InMemoryDescriptorCache()))
    assert asked_of(s3, calls["through the wrapper"]) == (307, ["GET link"])
    assert asked_of(s3, calls["through the wrapper"]) == (307, [])
    assert asked_of(s3, calls["whole"]) == (200, ["GET data"])


def test_a_size_that_was_not_asked_for_is_not_made_up(s3: RecordingS3):
    calls = pulls_of(over_s3(s3, InMemoryDescriptorCache()))
    assert asked_of(s3, calls["through the wrapper"]) == (307, ["GET link"])
    # The HEAD is the first that needs it, and sees whether the data is there.
    assert asked_of(s3, calls["HEAD"]) == (200, ["GET link", "HEAD data"])
    assert asked_of(s3, calls["HEAD"]) == (200, [])
    assert asked_of(s3, calls["below the minimumsize"]) == (200, ["GET data"])
