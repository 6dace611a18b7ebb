"""The suite runs once over every storage, with the wrapper and without it, with one worker and with four."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.spec_client import Client, Repository
from lab.spec_servers import FURTHER_SETUPS, SETUPS, Setup, serving, storage_section


@pytest.fixture(
    scope="session",
    params=[*SETUPS, *(pytest.param(setup, marks=pytest.mark.long) for setup in FURTHER_SETUPS)],
    ids=str,
)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of each registry in turn."""
    setup: Setup = request.param
    storage = storage_section(setup, lambda: request.getfixturevalue("s3_server"))
    with serving(setup, storage, tmp_path_factory.mktemp("spec")) as client:
        yield client


@pytest.fixture
def repo(client: Client) -> Repository:
    """A repository that nothing is in yet."""
    return client.repository()
