"""``cfmiddleware retention``."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from lab.registry_client import RegistryClient

from cfmiddleware.cli import main, sendevents
from cfmiddleware.config import Config
from cfmiddleware.notifications.notifier import Notifier
from cfmiddleware.registry.retention import expiry
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver

DAY = 86400
RULES = """
retention:
  - repositories: "*"
    protect: ["release-*"]
  - repositories: "team/*"
    tags: "ci-*"
    keep: {last: 2, younger: 30d}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the configuration of a registry with tags that are days old."""
    path = tmp_path / "config.yml"
    path.write_text(f"storage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n{RULES}")
    client = RegistryClient(FilesystemDriver(tmp_path / "data"))
    for name, tag, days in (
        ("team/app", "ci-1", 90),
        ("team/app", "ci-2", 80),
        ("team/app", "ci-3", 70),
        ("team/app", "ci-4", 60),
        ("team/app", "release-1", 900),
        ("other", "ci-1", 900),
    ):
        client.push_image(name, tag, tag.encode())
        for link, _ in client.driver.walk(paths.tag(name, tag)):
            then = time.time() - days * DAY
            os.utime(f"{tmp_path}/data{link}", (then, then))
    return path


def tags(config: Path, name: str = "team/app") -> list[str]:
    return RegistryClient(FilesystemDriver(config.parent / "data")).get(f"/v2/{name}/tags/list").json["tags"]


def run(*arguments: object) -> int:
    return main([str(each) for each in ("retention", *arguments)])


def test_a_dry_run_says_of_every_tag_why(config: Path, capsys: pytest.CaptureFixture[str]):
    assert run(config, "--dry-run") == 0
    lines = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], *line[2:]) for line in lines if len(line) == 4 and line[2] in ("goes", "stays")] == [
        ("ci-1", "stays", "no rule"),
        ("ci-1", "goes", "retention[1]: not one of the last 2 and not younger than 30d"),
        ("ci-2", "goes", "retention[1]: not one of the last 2 and not younger than 30d"),
        ("ci-3", "stays", "retention[1]: 2 of the last 2"),
        ("ci-4", "stays", "retention[1]: 1 of the last 2"),
        ("release-1", "stays", "protected (protect: release-*)"),
    ]
    assert [line[0] for line in lines if len(line) == 1] == ["other", "team/app"]
    assert " ".join(lines[-1]) == "2 tags would be deleted, 4 stay"
    assert tags(config) == ["ci-1", "ci-2", "ci-3", "ci-4", "release-1"]


def test_a_dry_run_is_json_for_programs(config: Path, capsys: pytest.CaptureFixture[str]):
    assert run(config, "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["go"], told["stay"]) == (2, 4)
    first = next(each for each in told["tags"] if each["goes"])
    assert first.pop("moved").endswith("Z")
    assert first == {
        "repository": "team/app",
        "tag": "ci-1",
        "goes": True,
        "rule": "retention[1]",
        "why": "not one of the last 2 and not younger than 30d",
    }


def test_it_deletes_what_the_dry_run_said(config: Path, capsys: pytest.CaptureFixture[str]):
    assert run(config) == 0
    out = capsys.readouterr().out
    assert "team/app:ci-1 deleted (retention[1]: not one of the last 2" in out
    assert out.endswith("2 tags deleted, 3 stay in the repositories that have rules\n")
    assert tags(config) == ["ci-3", "ci-4", "release-1"]
    assert tags(config, "other") == ["ci-1"]
    assert run(config, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": [], "moved": [], "broken": [], "stay": 3}


def test_endpoints_are_told_as_of_a_clients_delete(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sendevents, "_SENDING", 0.2)
    endpoint = "{name: a, url: 'http://127.0.0.1:9/x', timeout: 1s}"
    spool = f"{{directory: {tmp_path}/events}}"
    config.write_text(config.read_text() + f"notifications: {{endpoints: [{endpoint}], spool: {spool}}}\n")
    client = RegistryClient(FilesystemDriver(tmp_path / "data"), notifier=Config.load(config).notifier)
    assert client.delete("/v2/other/manifests/ci-1").status_code == 202
    assert run(config) == 0
    events = [json.loads(event.body) for event in Config.load(config).spool().all()]
    of_client, *own = sorted(events, key=lambda event: event["target"]["repository"])
    assert sorted(event["target"]["tag"] for event in own) == ["ci-1", "ci-2"]
    for event in own:
        assert event["action"] == "delete"
        assert event["target"].keys() == of_client["target"].keys()
        assert event["actor"] == {"name": "retention"}


def test_a_dry_run_tells_nobody(config: Path, monkeypatch: pytest.MonkeyPatch):
    config.write_text(
        config.read_text() + "notifications: {endpoints: [{name: a, url: 'http://[::1]:9/'}]}\n"
    )
    monkeypatch.setattr(Notifier, "__init__", lambda *_, **__: pytest.fail("it was made"))
    assert run(config, "--dry-run") == 0


def test_without_rules_it_says_so(config: Path, capsys: pytest.CaptureFixture[str]):
    config.write_text(config.read_text().partition("retention:")[0])
    assert run(config) == 2
    assert (
        capsys.readouterr().err
        == f"cfmiddleware: {config}: retention: there are no rules, so every tag stays\n"
    )


def test_a_clock_that_is_wrong_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(expiry, "storage_time", lambda driver: time.time() + 9e6)
    assert run(config) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"cfmiddleware: {config}: the storage's clock is 2500.0 hours ahead of")
    assert err.count("\n") == 1
    assert len(tags(config)) == 5


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (
            "{repositories: '*', keep: {last: 0}}",
            "retention[0].keep.last: 0 is not a whole number of at least 1",
        ),
        ("{repositories: '*', keep: {}}", "retention[0].keep: is empty"),
    ],
)
def test_a_wrong_rule_is_one_line(config: Path, capsys: pytest.CaptureFixture[str], rule: str, line: str):
    config.write_text(config.read_text().partition("retention:")[0] + f"retention: [{rule}]")
    assert run(config) == 2
    assert capsys.readouterr().err == f"cfmiddleware: {config}: {line}\n"
