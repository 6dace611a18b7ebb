"""``cfmiddleware gc`` over a directory: what it prints, and what it does not take for an argument."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab.purging import DAY, make_older
from lab.registry_client import RegistryClient

from cfmiddleware.cli import main
from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.filesystem import FilesystemDriver


@pytest.fixture
def client(tmp_path: Path) -> RegistryClient:
    (tmp_path / "config.yml").write_text("storage: {filesystem: {rootdirectory: data}}")
    client = RegistryClient(FilesystemDriver(tmp_path / "data"))
    client.push_image("app", "v1")
    client.push_blob("app", b"nobody's")
    make_older(client.driver, 9 * DAY)
    return client


def gc(here: Path, *options: str) -> int:
    return main(["gc", str(here / "config.yml"), *options])


def test_a_dry_run_over_a_directory_costs_nothing_and_foretells_no_price(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gc(tmp_path, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "1 links of blobs and 0 manifests would be set aside" in out
    assert "$" not in out
    assert gc(tmp_path, "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == {"made": None, "run": None}
    assert found["repositories"][0]["blobs"] == [str(Digest.of(b"nobody's"))]


def test_why_is_told_to_people_and_to_programs(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = str(Digest.of(b"nobody's"))
    assert gc(tmp_path, "--why", digest) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "app: the link, written 9 days ago, is set aside: no manifest that stays refers to it"
    assert gc(tmp_path, "--why", digest, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"digest": digest, "why": lines}
    assert client.get(f"/v2/app/blobs/{digest}").status_code == 200


def test_a_tag_that_holds_no_digest_is_named(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.driver.write(paths.tag_current("app", "v1"), b"")
    assert gc(tmp_path, "--dry-run", "--delete-untagged") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "app: the tag v1 holds no digest; no untagged manifest of the repository goes"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--older-than", "1d"], "--older-than: is about --delete-untagged, without which no manifest goes"),
        (["--delete-untagged", "--older-than", "7"], "--older-than: '7' has no unit; write it like 30d"),
        (["--grace", "24"], "--grace: '24' has no unit; write it like 30d"),
        (["--grace", "24H"], "--grace: '24H' is not a period"),
    ],
)
def test_what_could_not_be_meant_deletes_nothing(
    options: list[str],
    said: str,
    client: RegistryClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = client.objects()
    assert gc(tmp_path, *options) == 2
    assert capsys.readouterr().err.startswith(f"cfmiddleware: {said}")
    assert client.objects() == before


@pytest.mark.parametrize("ignored", [False, True])
def test_where_no_server_has_run_it_says_that_nobody_is_told(
    ignored: bool, client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ignore = "ignore: {actions: [delete]}, " if ignored else ""
    spool = f"spool: {{directory: {tmp_path}/spool}}"
    endpoint = f"{{name: a, {ignore}url: 'http://127.0.0.1:9/'}}"
    with (tmp_path / "config.yml").open("a") as config:
        config.write(f"\nnotifications: {{endpoints: [{endpoint}], {spool}}}\n")
    assert gc(tmp_path) == 0
    said = (
        f"cfmiddleware: {tmp_path}/config.yml: no endpoint of notifications is told of what goes, because no "
        "server of this configuration has run on this machine\n"
    )
    assert capsys.readouterr().err == ("" if ignored else said)
    assert not (tmp_path / "spool").exists()
