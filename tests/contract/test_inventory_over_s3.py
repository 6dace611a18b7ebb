"""``cfmiddleware gc --inventory`` with a report where S3 wrote it: in a bucket."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.inventory_reports import write_report
from lab.registry_client import RegistryClient
from lab.watched_s3 import WATCHED, WatchedS3

from cfmiddleware.cli import main
from cfmiddleware.registry.store import paths

pytest.importorskip("duckdb")


@pytest.fixture(params=WATCHED)
def server(request: pytest.FixtureRequest) -> WatchedS3:
    found: WatchedS3 = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def config(server: WatchedS3, tmp_path: Path) -> str:
    storage = {"s3": {**server.server.driver_options(server.bucket), "rootdirectory": "team/prod"}}
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump({"version": 0.1, "storage": storage, "http": {"addr": "127.0.0.1:0"}}))
    return str(file)


@pytest.fixture
def report(server: WatchedS3, tmp_path: Path) -> str:
    """A report of a bucket with an image and a blob that nobody needs, in another bucket."""
    driver = server.driver("team/prod")
    client = RegistryClient(driver)
    client.push_image("app", "v1")
    client.push_blob("app", b"nobody's")
    # What HEAD tells of times are whole seconds, and what is of this one is not old.
    time.sleep(1.1)
    home = write_report(tmp_path / "report", driver, "Parquet", sourceBucket=server.bucket)
    reports = server.server.new_bucket()
    for file in (home / "manifest.json", *(tmp_path / "report" / "data").iterdir()):
        key = f"inventory/x/{file.relative_to(tmp_path / 'report')}"
        server.client.put_object(Bucket=reports, Key=key, Body=file.read_bytes())
    return f"s3://{reports}/inventory/x/{home.name}"


def gc(config: str, report: str, *more: str) -> int:
    return main(["gc", config, "--grace", "0s", "--inventory", report, *more])


def test_a_report_in_a_bucket_says_where_to_look(
    config: str, report: str, server: WatchedS3, capsys: pytest.CaptureFixture[str]
) -> None:
    with server.noting() as requests:
        assert gc(config, report, "--dry-run") == 0
    said = capsys.readouterr().out
    assert re.search(r"^as the inventory report of 20..-..-.. ..:.. UTC says:$", said, re.MULTILINE)
    assert "1 links of blobs and 0 manifests would be set aside; 1 blobs of 8 B go after" in said
    assert not [request for request in requests if "_layers" in request.query]

    assert gc(config, report + "/manifest.json", "--dry-run", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [len(each["blobs"]) for each in found["repositories"]] == [1]

    assert gc(config, report) == 0
    assert len(server.driver("team/prod").list(paths.layers("app") + "sha256/")) == 2


@pytest.mark.parametrize(
    "wrong",
    ["s3://no-such-bucket-of-ours/x", "s3://{reports}/elsewhere", "s3://", "/nowhere"],
)
def test_a_report_that_is_not_there_is_named_in_a_line(
    config: str, report: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gc(config, wrong.format(reports=report.split("/")[2])) == 2
    said = capsys.readouterr().err
    assert said.startswith("cfmiddleware: --inventory: ")
    assert said.count("\n") == 1


def test_a_report_is_of_buckets_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yml"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "data")}}
    file.write_text(yaml.safe_dump({"version": 0.1, "storage": storage, "http": {"addr": "127.0.0.1:0"}}))
    (tmp_path / "data").mkdir()
    assert gc(str(file), str(tmp_path)) == 2
    assert "--inventory: the storage is not a bucket" in capsys.readouterr().err
