"""Whose uploads keep a collection from deleting anything."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from lab.collecting import collect
from lab.registry_client import RegistryClient

from cfmiddleware.cli import main
from cfmiddleware.registry.collect.otherwriters import OtherWriter
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver

UUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def client(tmp_path: Path) -> RegistryClient:
    client = RegistryClient(FilesystemDriver(tmp_path), inline_limit=1000)
    client.push_blob("team/app", b"nobody's")
    return client


def upload(client: RegistryClient, tmp_path: Path, name: str, *inner: str, ago: float = 0) -> None:
    """Write what Distribution writes of an upload."""
    for path in ("startedat", *inner):
        path = paths.upload(name, UUID) + path
        client.driver.write(path, b"x")
        os.utime(f"{tmp_path}{path}", times=(time.time() - ago,) * 2)


@pytest.mark.parametrize("name", ["team/app", "begun/just/now"])
@pytest.mark.parametrize("inner", ["data", "hashstates/sha256/0"])
def test_an_upload_of_distributions_does(
    client: RegistryClient, tmp_path: Path, name: str, inner: str
) -> None:
    upload(client, tmp_path, name, inner)

    with pytest.raises(OtherWriter, match=f"repositories/{name}/_uploads/{UUID}$"):
        collect(client.driver)

    assert collect(client.driver, besidedistribution=True).layers == 1


def test_one_that_was_given_up_does_not(client: RegistryClient, tmp_path: Path) -> None:
    upload(client, tmp_path, "team/app", "data", "hashstates/sha256/0", ago=25 * 3600)

    assert collect(client.driver).layers == 1


def test_one_of_ours_does_not(client: RegistryClient) -> None:
    url = client.patch(client.start("team/app"), data=bytes(5000)).headers["Location"]
    client.patch(url, data=b"more")
    cancelled = client.start("team/app")
    client.delete(cancelled)
    assert client.driver.list(paths.uploads("team/app"))

    assert collect(client.driver).layers == 1


def test_a_file_that_says_that_distribution_is_there_too_is_enough(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yml"
    tree = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path)}},
        "validation": {"manifests": {"mediatypes": "distribution"}},
    }
    config.write_text(yaml.safe_dump(tree))

    assert main(["gc", str(config)]) == 2

    error = capsys.readouterr().err
    assert "validation.manifests.mediatypes: says that Distribution uses this storage too" in error
    assert error.rstrip().endswith("stop it or make it read-only meanwhile, and give --beside-distribution")
    assert main(["gc", str(config), "--dry-run"]) == 0
    assert main(["gc", str(config), "--beside-distribution"]) == 0
