"""The table of endpoints in docs/specification.rst says what the registry does."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
from lab import PROJECT
from lab.registry_client import RegistryClient

import cfmiddleware.registry
from cfmiddleware.digest import Digest
from cfmiddleware.registry.routes import Resource, parse_route
from cfmiddleware.storage.memory import MemoryDriver

DOCUMENT = PROJECT / "docs" / "specification.rst"

#: Something for each placeholder of a path.
EXAMPLES = {
    "<name>": "team/app",
    "<digest>": str(Digest.of(b"")),
    "<tag-or-digest>": "latest",
    "<id>": "an-upload",
}


class Endpoint(NamedTuple):
    id: str
    methods: str
    path: str
    success: str
    failure: str
    file: str

    @property
    def example(self) -> str:
        path = self.path.strip("`").partition("?")[0]
        for placeholder, example in EXAMPLES.items():
            path = path.replace(placeholder, example)
        return path


def endpoints() -> list[Endpoint]:
    lines = DOCUMENT.read_text().splitlines()
    rows = csv.reader(
        io.StringIO("\n".join(line for line in lines if line.startswith('   "'))), skipinitialspace=True
    )
    return [Endpoint(*row) for row in rows]


ENDPOINTS = endpoints()

EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.id)


def test_every_endpoint_of_the_specification_is_in_the_table():
    known = [
        "1",
        "2",
        "3",
        "4a",
        "4b",
        "4c",
        "5",
        "6",
        "7a",
        "7b",
        "8a",
        "8b",
        "9",
        "10",
        "11",
        "12a",
        "12b",
        "13",
    ]
    assert [endpoint.id for endpoint in ENDPOINTS] == [
        *(f"end-{one}" for one in known),
        "end-14",
        "Docker",
        "Docker",
    ]


def test_every_resource_of_the_registry_is_in_the_table():
    assert {parse_route(endpoint.example).resource for endpoint in ENDPOINTS} == set(get_args(Resource))


@EACH
def test_the_registry_has_the_methods(endpoint: Endpoint):
    client = RegistryClient(MemoryDriver())
    refused = client.open(endpoint.example, method="TRACE")
    assert refused.status_code == 405
    allowed = {method.strip() for method in refused.headers["Allow"].split(",")}
    assert {method.strip() for method in endpoint.methods.split(",")} <= allowed


def test_the_table_has_every_method():
    client = RegistryClient(MemoryDriver())
    named: dict[str, set[str]] = {}
    for endpoint in ENDPOINTS:
        resource = parse_route(endpoint.example).resource
        named.setdefault(resource, set()).update(one.strip() for one in endpoint.methods.split(","))
    for endpoint in ENDPOINTS:
        refused = client.open(endpoint.example, method="TRACE")
        allowed = {method.strip() for method in refused.headers["Allow"].split(",")}
        assert allowed == named[parse_route(endpoint.example).resource]


@EACH
def test_the_file_is_there(endpoint: Endpoint):
    package = Path(cfmiddleware.registry.__file__ or "").parent
    assert (package / endpoint.file.strip("`")).is_file()
