"""Uploads and unfinished multipart uploads in S3 go when nobody has written to them, and nothing else."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from lab.docker_registry import require_docker_registry, running_docker_registry
from lab.purging import of_uploads
from lab.registry_client import RegistryClient
from lab.s3_proxy import Request, always, refuse
from lab.servers import SMALLEST_PART, S3Server
from lab.serving import ask
from lab.watched_s3 import WATCHED, WatchedS3

from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageRefused
from cfmiddleware.registry.purging.purger import Purger
from cfmiddleware.storage.s3 import S3Driver

PART = b"0" * SMALLEST_PART


@pytest.fixture(params=WATCHED)
def server(request: pytest.FixtureRequest) -> WatchedS3:
    watched: WatchedS3 = request.getfixturevalue(request.param)
    return watched


@pytest.fixture
def driver(server: WatchedS3) -> Any:
    return server.driver(f"team/{uuid.uuid4()}")


class Multipart:
    """A multipart upload that somebody has begun."""

    def __init__(self, server: WatchedS3, key: str) -> None:
        self._client = server.client
        self._of = {"Bucket": server.bucket, "Key": key}
        self._of["UploadId"] = self._client.create_multipart_upload(**self._of)["UploadId"]
        self._number = 0

    def send(self) -> None:
        """Send the next part."""
        self._number += 1
        self._client.upload_part(**self._of, PartNumber=self._number, Body=PART)


def open_keys(server: WatchedS3) -> set[str]:
    found = server.client.list_multipart_uploads(Bucket=server.bucket).get("Uploads", ())
    return {upload["Key"] for upload in found}


def begun(driver: Any) -> tuple[RegistryClient, str, str]:
    """Begin an upload, and return its URL and its folder."""
    client = RegistryClient(driver, inline_limit=SMALLEST_PART)
    url = client.patch(client.start("app"), data=PART * 2).headers["Location"]
    return client, url, f"/docker/registry/v2/repositories/app/_uploads/{url.rpartition('/')[2]}/"


def test_an_upload_and_its_parts_go_when_nobody_writes_to_it(server: WatchedS3, driver: Any) -> None:
    client, url, folder = begun(driver)
    Multipart(server, driver.key(f"{folder}piece-{uuid.uuid4()}")).send()
    own = driver.key("/docker/registry/v2/blobs/sha256/aa/bb/data")
    others = {own.replace("team/", "team2/"), own.replace("team/", "team/other-"), "docker/x"}
    for key in (own, *others):
        Multipart(server, key).send()
    assert not Purger(driver, 3600).purge().gone
    time.sleep(3.1)  # S3's times are whole seconds

    found, done = Purger(driver, 1).survey(), Purger(driver, 1).purge()

    assert found.gone == done.gone
    assert sorted(each.kind for each in done.gone) == ["unfinished", "unfinished", "upload"]
    assert sum(each.size for each in done.gone if each.kind == "unfinished") == 2 * SMALLEST_PART
    assert open_keys(server) >= others
    assert not {key for key in open_keys(server) - others if key.startswith(driver.key("/docker")[:-6])}
    assert client.get(url).status_code == 404
    assert {path.rpartition("/")[2] for path in of_uploads(driver)} == {"startedat", "cancelled"}


def test_an_upload_whose_parts_still_come_stays(server: WatchedS3, driver: Any) -> None:
    client, url, folder = begun(driver)
    piece = Multipart(server, driver.key(f"{folder}piece-{uuid.uuid4()}"))
    piece.send()
    time.sleep(4.1)
    piece.send()

    assert not Purger(driver, 3).purge().gone

    assert client.put(f"{url}?digest={Digest.of(PART * 2)}").status_code == 201


@pytest.mark.parametrize(
    ("operation", "stays"),
    [("ListMultipartUploads", 1), ("ListParts", 1), ("AbortMultipartUpload", 1)],
)
def test_without_a_right_what_cannot_be_seen_stays_and_is_said(
    server: WatchedS3, driver: Any, operation: str, stays: int
) -> None:
    key = driver.key("/docker/registry/v2/blobs/sha256/aa/bb/data")
    Multipart(server, key).send()
    time.sleep(2.1)

    def is_forbidden(environ: dict[str, object]) -> bool:
        return Request.of(environ).operation == operation

    with server.failing(always(refuse("403 Forbidden", "AccessDenied"), is_forbidden)):
        done = Purger(driver, 1).purge()

    assert f"S3 refused {operation}" in done.unseen
    assert key in open_keys(server)


def test_a_list_that_is_refused_ends_the_purge_with_what_it_was(server: WatchedS3, driver: Any) -> None:
    def is_forbidden(environ: dict[str, object]) -> bool:
        return Request.of(environ).operation == "ListObjectsV2"

    with (
        server.failing(always(refuse("403 Forbidden", "AccessDenied"), is_forbidden)),
        pytest.raises(StorageRefused, match="ListObjectsV2"),
    ):
        Purger(driver, 1).purge()


def test_the_requests_of_a_purge_are_bounded(server: WatchedS3, driver: Any) -> None:
    """Two lists for a repository with uploads, however many these are, and six requests for one that goes."""
    client = RegistryClient(driver, inline_limit=SMALLEST_PART)
    client.push_image("other", "latest")
    for _ in range(20):
        client.patch(client.start("app"), data=PART * 2)
    server.counts()
    Purger(driver, 3600).purge()
    counts = server.counts()
    assert counts["ListObjectsV2"] <= 5
    assert sum(counts.values()) <= 14, counts
    time.sleep(2.1)
    Purger(driver, 1).purge()
    assert sum(server.counts().values()) <= 14 + 20 * 6


def test_uploads_of_distribution_go_with_their_parts_and_one_that_goes_on_stays(
    ceph: S3Server, tmp_path: Path
) -> None:
    require_docker_registry()
    bucket = ceph.new_bucket()
    driver = S3Driver.from_options(ceph.driver_options(bucket, rootdirectory="/team"), "s3", tmp_path)
    with running_docker_registry(tmp_path, ceph, bucket, "team") as distribution:
        url = f"http://{distribution.address}/v2/app/blobs/uploads/"
        silent, written = (ask("POST", url).headers["Location"] for _ in range(2))
        # More than one of its parts, so that some are in S3 and the object is not.
        content = b"0" * (11 << 20)
        silent, written = (ask("PATCH", each, content).headers["Location"] for each in (silent, written))
        time.sleep(5.1)
        written = ask("PATCH", written, content).headers["Location"]

        done = Purger(driver, 3).purge()

        assert [each.kind for each in done.gone][:1] == ["upload"]
        assert len({path.split("/")[2] for path in of_uploads(driver)}) == 1
        assert ask("GET", silent).status == 404
        digest = Digest.of(content * 2)
        assert ask("PUT", f"{written}&digest={digest}", b"").status == 201
