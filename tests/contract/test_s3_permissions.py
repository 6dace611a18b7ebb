"""The rights in the docs' policy are those that the registry uses, and no others."""

from __future__ import annotations

import csv
import itertools
import json
import re
import time
import uuid
from collections.abc import Callable

import pytest
from lab import PROJECT
from lab.collecting import VirtualClock, collect
from lab.registry_client import RegistryClient, error_code
from lab.s3_proxy import Request, always, refuse
from lab.servers import SMALLEST_PART
from lab.verifying import verify
from lab.watched_s3 import WATCHED, WatchedS3

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.registry.purging.purger import Purger
from cfmiddleware.registry.repositorydelete import RepositoryDelete
from cfmiddleware.registry.store.paths import BLOBS, blob_data
from cfmiddleware.registry.verify.faults import Kind

PAGE = (PROJECT / "docs" / "s3-permissions.rst").read_text(encoding="utf-8")

#: What each request needs (Amazon S3 User Guide, "Required permissions for Amazon S3 API operations").
ACTIONS = {
    "AbortMultipartUpload": {"s3:AbortMultipartUpload"},
    "CompleteMultipartUpload": {"s3:PutObject"},
    "CopyObject": {"s3:GetObject", "s3:PutObject"},
    "CreateMultipartUpload": {"s3:PutObject"},
    "DeleteObject": {"s3:DeleteObject"},
    "DeleteObjects": {"s3:DeleteObject"},
    "GetObject": {"s3:GetObject"},
    "HeadObject": {"s3:GetObject"},
    "ListMultipartUploads": {"s3:ListBucketMultipartUploads"},
    "ListObjectsV2": {"s3:ListBucket"},
    "ListParts": {"s3:ListMultipartUploadParts"},
    "PutObject": {"s3:PutObject"},
    "UploadPart": {"s3:PutObject"},
    "UploadPartCopy": {"s3:GetObject", "s3:PutObject"},
}
OF_THE_BUCKET = {"s3:ListBucket", "s3:ListBucketMultipartUploads"}

LARGE = b"0123456789" * SMALLEST_PART


def policy() -> dict[str, set[str]]:
    """Return the actions of the docs' policy by their resource."""
    (text,) = re.findall(r"code-block:: json\n\n((?:    .*\n)+)", PAGE)
    return {one["Resource"]: set(one["Action"]) for one in json.loads(text)["Statement"]}


def table() -> dict[str, set[str]]:
    rows = csv.reader(re.findall(r'^   ("[^:].*")$', PAGE, re.MULTILINE), skipinitialspace=True)
    return {use: set(requests.split()) for use, requests in rows}


def start(client: RegistryClient) -> None:
    client.driver.check()
    assert client.driver.check_writes() == []


def push(client: RegistryClient) -> None:
    """Push in all ways: one chunk, many, short, long, with the digest at once."""
    client.push_image("app", "latest")
    for chunks in ([LARGE], [LARGE[:3000]], [b"a" * 3000, b"b" * 5000, b"c"], [b"a", b"b"]):
        url = client.start("app")
        for chunk in chunks:
            answer = client.patch(url, data=chunk)
            assert answer.status_code == 202
            url = answer.headers["Location"]
        assert client.put(f"{url}?digest={Digest.of(b''.join(chunks))}").status_code == 201


def fail(client: RegistryClient) -> None:
    answer = client.post(f"/v2/app/blobs/uploads/?digest={Digest.of(b'other')}", data=LARGE)
    assert error_code(answer) == "DIGEST_INVALID"


def pull(client: RegistryClient) -> None:
    manifest = client.get("/v2/app/manifests/latest").json
    for method in (client.get, client.head):
        assert method(f"/v2/app/blobs/{manifest['layers'][0]['digest']}").status_code == 200
        assert method("/v2/app/manifests/latest").status_code == 200
    assert client.get(f"/v2/app/blobs/{Digest.of(b'none')}").status_code == 404


def mount(client: RegistryClient) -> None:
    layer = Digest.of(b"layer")
    for query in (f"?mount={layer}&from=app", f"?mount={Digest.of(b'none')}&from=app"):
        assert client.post(f"/v2/other/blobs/uploads/{query}").status_code in (201, 202)


def delete(client: RegistryClient) -> None:
    client.delete(f"/v2/app/blobs/{Digest.of(b'layer')}")
    digest = client.get("/v2/app/manifests/latest").headers["Docker-Content-Digest"]
    assert client.delete("/v2/app/manifests/second").status_code == 202
    assert client.delete(f"/v2/app/manifests/{digest}").status_code == 202


def lists(client: RegistryClient) -> None:
    assert client.get("/v2/_catalog").status_code == 200
    assert client.get("/v2/app/tags/list").status_code == 200


def garbage(client: RegistryClient) -> None:
    """Collect twice: links, and then the bytes that an earlier collection took the links of."""
    client.push_blob("app", b"nobody's")
    for _ in range(2):
        time.sleep(1.1)  # S3's times are whole seconds, and what is of this moment is not old
        collect(client.driver)


def purge(client: RegistryClient) -> None:
    """Purge an upload, and parts that nobody made an object of; both are as old as the collection took."""
    Purger(client.driver, 1).purge()


def delete_repository(client: RegistryClient) -> None:
    """Delete a repository, which is as old as the collections took."""
    clock = VirtualClock()
    done = RepositoryDelete(client.driver, Condemned(client.driver, clock, clock.sleep)).delete("gone")
    assert (done.tags, len(done.blobs), done.kept) == (["latest"], 2, 0)


def abandoned(client: RegistryClient, server: WatchedS3) -> None:
    assert client.patch(client.start("app"), data=LARGE[:20000]).status_code == 202
    key = client.driver.key(f"{BLOBS}sha256/aa/bb/data")
    upload = server.client.create_multipart_upload(Bucket=server.bucket, Key=key)
    part = {"Bucket": server.bucket, "Key": key, "UploadId": upload["UploadId"], "PartNumber": 1}
    server.client.upload_part(**part, Body=LARGE[:SMALLEST_PART])


USES: dict[str, Callable[[RegistryClient], None]] = {
    "Start": start,
    "Push of an image": push,
    "Push that fails": fail,
    "Pull": pull,
    "Mount": mount,
    "Delete": delete,
    "Catalog, tags": lists,
    "Garbage collection": garbage,
    "Purge of uploads": purge,
    "Delete of a repository": delete_repository,
}


@pytest.fixture(params=WATCHED)
def server(request: pytest.FixtureRequest) -> WatchedS3:
    watched: WatchedS3 = request.getfixturevalue(request.param)
    return watched


@pytest.fixture
def client(server: WatchedS3) -> RegistryClient:
    driver = server.driver(f"team/{uuid.uuid4()}")
    # What collections are about to delete is looked at once a second, which always has passed here.
    condemned = Condemned(driver, clock=itertools.count(step=10).__next__)
    client = RegistryClient(driver, inline_limit=SMALLEST_PART, condemned=condemned)
    for tag, seed in (("latest", b""), ("second", b"1"), ("second", b"2")):
        client.push_image("app", tag, seed)
    client.push_image("gone", "latest", b"gone")
    abandoned(client, server)
    return client


def test_a_verification_needs_to_list_and_to_read(server: WatchedS3, client: RegistryClient):
    lost = client.push_blob("app", b"lost")
    client.driver.delete([blob_data(lost)])
    client.patch(client.start("app"), data=LARGE)
    server.counts()
    client.driver.check()
    assert Kind.LINK in {fault.kind for fault in verify(client.driver, every=True).faults}
    used = set(server.counts())
    assert used == table()["Verification"]
    assert {action for request in used for action in ACTIONS[request]} == {"s3:ListBucket", "s3:GetObject"}


def test_every_request_is_in_the_table_and_its_right_in_the_policy(server: WatchedS3, client: RegistryClient):
    used: dict[str, set[str]] = {}
    for use, function in USES.items():
        server.counts()
        function(client)
        used[use] = set(server.counts())

    assert used == {use: requests for use, requests in table().items() if use != "Verification"}

    rights = {action for requests in used.values() for request in requests for action in ACTIONS[request]}
    granted = policy()
    assert set().union(*granted.values()) == rights
    assert granted["arn:aws:s3:::my-registry"] == rights & OF_THE_BUCKET
    assert granted["arn:aws:s3:::my-registry/team/prod/*"] == rights - OF_THE_BUCKET


def test_what_the_policy_does_not_allow_is_not_asked_for(server: WatchedS3, client: RegistryClient):
    allowed = set().union(*policy().values())
    root = client.driver.key("/x").removesuffix("x")

    def is_forbidden(environ: dict[str, object]) -> bool:
        request = Request.of(environ)
        key = request.path.lstrip("/").partition("/")[2]
        return not ACTIONS[request.operation] <= allowed or bool(key and not key.startswith(root))

    with server.failing(always(refuse("403 Forbidden", "AccessDenied"), is_forbidden)):
        for function in USES.values():
            function(client)


@pytest.mark.parametrize("missing", ["s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"])
def test_two_of_the_rights_may_be_missing(server: WatchedS3, client: RegistryClient, missing: str):
    def is_forbidden(environ: dict[str, object]) -> bool:
        return missing in ACTIONS[Request.of(environ).operation]

    with server.failing(always(refuse("403 Forbidden", "AccessDenied"), is_forbidden)):
        for function in USES.values():
            function(client)


def test_a_registry_that_changes_nothing_needs_to_list_and_to_read(server: WatchedS3, client: RegistryClient):
    readonly = RegistryClient(client.driver, readonly=True)
    server.counts()
    client.driver.check()
    pull(readonly)
    lists(readonly)
    used = set(server.counts())
    assert {action for request in used for action in ACTIONS[request]} == {"s3:ListBucket", "s3:GetObject"}
