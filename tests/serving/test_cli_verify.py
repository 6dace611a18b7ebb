"""`cfmiddleware verify` as an operator meets it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from lab.registry_client import RegistryClient
from lab.s3_proxy import Request, refuse
from lab.servers import CFMIDDLEWARE, S3Server, eventually, free_port
from lab.verifying import whole_image
from lab.watched_s3 import WatchedS3

from cfmiddleware.cli import main
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.verify import secondlook
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secondlook, "PAUSE", 0.0)


@pytest.fixture
def client(tmp_path: Path) -> RegistryClient:
    configure(tmp_path, filesystem={"rootdirectory": str(tmp_path / "data")})
    return RegistryClient(FilesystemDriver(tmp_path / "data"))


def configure(directory: Path, **storage: object) -> None:
    tree = {"version": "0.1", "storage": storage, "http": {}}
    (directory / "config.yml").write_text(yaml.safe_dump(tree))


def verified(directory: Path, *options: str) -> int:
    return main(["verify", str(directory / "config.yml"), *options])


def test_a_whole_registry_ends_with_0(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    whole_image(client)
    before = sorted(tmp_path.rglob("*"))

    assert verified(tmp_path) == 0

    out, err = capsys.readouterr()
    assert (out, err) == (
        "1 repositories, 1 manifests, 1 tags, 2 links of blobs, 0 uploads\n"
        "3 blobs of 444 B stored, 3 blobs of 444 B read\n"
        "all is whole\n",
        "",
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_broken_ends_with_1_and_each_fault_is_followed_by_its_remedy(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    manifest, layer = whole_image(client)
    client.driver.delete([paths.blob_data(layer)])

    assert verified(tmp_path) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"missing part           app: manifest {manifest} needs {layer} (layers), which is not there",
        "                       -> push the image again, or delete it: "
        f"cfmiddleware delete CONFIG app@{manifest}",
    ]
    assert lines[-1] == "broken: 1 missing part"


def test_json_is_one_object(client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    manifest, layer = whole_image(client)
    assert verified(tmp_path, "--json", "--all") == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["faults"] == []
    assert whole["whole"] is True
    assert whole["read"]["blobs"] == whole["stored"]["blobs"] == 3

    client.driver.delete([paths.revision_link("app", manifest), paths.blob_data(layer)])
    assert verified(tmp_path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert sorted(fault["kind"] for fault in found["faults"]) == ["link without data", "tag to nothing"]
    assert found["broken"] == {"link without data": 1, "tag to nothing": 1}
    assert all(set(fault) == {"kind", "repository", "says", "remedy"} for fault in found["faults"])
    assert found["whole"] is False


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--repository", "none/*"], "--repository: no repository is named like 'none/*'"),
        (["--rate", "fast"], "--rate: 'fast' is not a size"),
        (["--sample", "some"], "--sample: 'some' is not a whole number"),
    ],
)
def test_options_that_cannot_work_end_with_2(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
):
    whole_image(client)

    assert verified(tmp_path, *options) == 2

    assert says in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["team/*", "team/app", "*"])
def test_a_pattern_chooses_repositories(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str], pattern: str
):
    for name in ("team/app", "other"):
        _, layer = whole_image(client, name)
        client.driver.delete([paths.blob_data(layer)])

    assert verified(tmp_path, "--repository", pattern) == 1

    said = capsys.readouterr().out
    assert "team/app: manifest" in said
    assert ("other: manifest" in said) == (pattern == "*")


def test_an_empty_directory_is_not_taken_for_a_whole_registry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "typo").mkdir()
    configure(tmp_path, filesystem={"rootdirectory": str(tmp_path / "typo")})

    assert verified(tmp_path) == 2

    assert f"nothing of a registry is in {tmp_path}/typo; nothing was pushed" in capsys.readouterr().err
    assert not list((tmp_path / "typo").iterdir())


def test_a_storage_that_cannot_be_reached_ends_with_75(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    nobody = S3Server(f"http://127.0.0.1:{free_port()}", "key", "secret")
    configure(tmp_path, s3=nobody.driver_options("images"))

    assert verified(tmp_path) == 75

    error = capsys.readouterr().err
    assert "cannot be reached" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_storage_that_fails_meanwhile_ends_with_75(
    watched_moto: WatchedS3, tmp_path: Path, capsys: pytest.CaptureFixture[str], json_too: list[str]
):
    whole_image(RegistryClient(watched_moto.driver("team", shared=True)))
    options = watched_moto.server.driver_options(watched_moto.bucket, rootdirectory="/team")
    configure(tmp_path, s3={**options, "regionendpoint": watched_moto.endpoint, "maxattempts": 1})
    seen = []

    def fails(environ, start_response, behind):
        seen.append(Request.of(environ).operation)
        if len(seen) > 8:
            return refuse("503 Service Unavailable", "ServiceUnavailable")(environ, start_response, behind)
        return None

    with watched_moto.failing(fails):
        assert verified(tmp_path, *json_too) == 75

    out, error = capsys.readouterr()
    assert "the storage failed" in error
    assert error.count("\n") == 1
    assert "whole" not in out


def test_ctrl_c_ends_it_at_once_and_quietly(client: RegistryClient, tmp_path: Path):
    client.push_blob("app", bytes(1 << 20))
    command = [CFMIDDLEWARE, "verify", str(tmp_path / "config.yml"), "--all", "--rate", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    blob = str(tmp_path / "data/docker/registry/v2/blobs/")

    def reads() -> bool:
        return any(
            file.is_symlink() and str(file.readlink()).startswith(blob)
            for file in Path(f"/proc/{process.pid}/fd").iterdir()
        )

    assert eventually(reads, 30)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (130, "", "")
