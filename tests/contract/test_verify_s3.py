"""What a verification finds in S3, where keys are not files."""

from __future__ import annotations

import contextlib
import uuid

import pytest
from botocore.exceptions import ClientError
from lab.registry_client import RegistryClient
from lab.s3_proxy import Request, always, refuse
from lab.verifying import CASES, verify, whole_image
from lab.watched_s3 import WATCHED, WatchedS3

from cfmiddleware.registry.store import paths
from cfmiddleware.registry.verify.faults import Fault, Kind


@pytest.fixture(params=WATCHED)
def server(request: pytest.FixtureRequest) -> WatchedS3:
    watched: WatchedS3 = request.getfixturevalue(request.param)
    return watched


@pytest.fixture
def client(server: WatchedS3) -> RegistryClient:
    # A page of three keys, so that every listing has several.
    return RegistryClient(server.driver(f"team/{uuid.uuid4()}", shared=True, page_size=3))


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_one_line_with_its_remedy(client: RegistryClient, name: str):
    case = CASES[name]
    whole_image(client, "whole", "v1")
    texts = case.make(client)

    found = verify(client.driver, every=case.every, sample=0, later=case.later).faults

    says, remedy = case.says.format(**texts), case.remedy.format(**texts)
    assert found == [Fault(case.kind, case.repository, says, remedy)]


def test_keys_that_are_not_paths_are_shown_escaped_and_folders_of_consoles_are_none(
    server: WatchedS3, client: RegistryClient
):
    whole_image(client)
    folder = client.driver.key("/docker/registry/v2/repositories/app/_layers/x")[:-1]
    expected = []
    for key, shown in (("\nevil", "\\nevil"), ("a//b", "a//b"), ("", "")):
        with contextlib.suppress(ClientError):  # moto does not take all of them
            server.client.put_object(Bucket=server.bucket, Key=folder + key, Body=b"")
            expected += [shown] if shown else []

    found = verify(client.driver).faults

    assert "a//b" in expected
    assert {(fault.kind, fault.says) for fault in found} == {
        (Kind.KEY, f"docker/registry/v2/repositories/app/_layers/{shown}: no registry writes such a key")
        for shown in expected
    }


def test_an_object_that_s3_does_not_give_is_a_fault(server: WatchedS3):
    client = RegistryClient(server.driver(f"team/{uuid.uuid4()}"))
    _, layer = whole_image(client)
    key = client.driver.key(paths.blob_data(layer))

    def is_archived(environ: dict[str, object]) -> bool:
        request = Request.of(environ)
        return request.operation == "GetObject" and request.path.endswith(key)

    with server.failing(always(refuse("403 Forbidden", "InvalidObjectState"), is_archived)):
        (fault,) = verify(client.driver).faults

    assert fault.kind is Kind.UNREADABLE
    assert fault.says.startswith(f"blob {layer} cannot be read: ")
    assert "InvalidObjectState" in fault.says
    assert fault.remedy == "look at the storage: the disk, the rights, the storage class of the object"


def test_nothing_is_written(server: WatchedS3, client: RegistryClient):
    whole_image(client)
    client.patch(client.start("app"), data=b"0123456789" * 500)
    server.counts()

    assert verify(client.driver, every=True).faults == []

    assert {request.method for request in server.requests} <= {"GET", "HEAD"}
