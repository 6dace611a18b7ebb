"""`cfmiddleware delete` as an operator meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from lab.event_receiver import receiving
from lab.purging import DAY, make_older
from lab.registry_client import RegistryClient

from cfmiddleware.cli import main, sendevents
from cfmiddleware.registry.collect import condemned
from cfmiddleware.storage.filesystem import FilesystemDriver


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condemned, "SETTLE", 0.0)


@pytest.fixture
def client(tmp_path: Path) -> RegistryClient:
    configure(tmp_path)
    client = RegistryClient(FilesystemDriver(tmp_path / "data"))
    for name in ("team/app", "team/web", "other"):
        for tag in ("v1", "ci-1", "ci-2"):
            client.push_image(name, tag, tag.encode())
    make_older(client.driver, DAY)
    return client


def configure(directory: Path, maintenance: object = None, **sections: object) -> None:
    storage = {"filesystem": {"rootdirectory": str(directory / "data")}, "maintenance": maintenance or {}}
    tree = {"version": "0.1", "storage": storage, "http": {"prefix": "/images"}, **sections}
    (directory / "config.yml").write_text(yaml.safe_dump(tree))


def delete(directory: Path, *arguments: str) -> int:
    return main(["delete", str(directory / "config.yml"), *arguments])


def tags(client: RegistryClient, name: str) -> list[str]:
    answer = client.get(f"/v2/{name}/tags/list")
    return answer.json["tags"] if answer.status_code == 200 else []


def test_a_tag_goes_alone(client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = client.get("/v2/other/manifests/v1").headers["Docker-Content-Digest"]
    assert delete(tmp_path, "other:v1", "--yes") == 0
    assert capsys.readouterr().out == "other:v1 deleted\n"
    assert tags(client, "other") == ["ci-1", "ci-2"]
    assert client.get(f"/v2/other/manifests/{digest}").status_code == 200


def test_a_manifest_goes_with_its_tags(client: RegistryClient, tmp_path: Path) -> None:
    digest = client.get("/v2/other/manifests/v1").headers["Docker-Content-Digest"]
    assert delete(tmp_path, f"other@{digest}", "--yes") == 0
    assert tags(client, "other") == ["ci-1", "ci-2"]
    assert client.get(f"/v2/other/manifests/{digest}").status_code == 404


def test_a_dry_run_says_of_a_tag_that_is_not_there_what_a_run_says(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("other:absent", "nowhere:v1"):
        for options in (["--dry-run"], ["--yes"]):
            assert delete(tmp_path, name, *options) == 1
            assert capsys.readouterr().out == f"{name} is left alone: there is no such tag\n"


def test_a_dry_run_says_of_a_manifest_that_is_not_there_what_a_run_says(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = client.get("/v2/other/manifests/v1").headers["Docker-Content-Digest"]
    absent = f"sha256:{'a' * 64}"
    for options in (["--dry-run"], ["--yes"]):
        assert delete(tmp_path, f"other@{absent}", *options) == 1
        assert capsys.readouterr().out == (
            f"other@{absent} is left alone: the repository has no such manifest\n"
        )
        assert delete(tmp_path, f"*@{absent}", *options) == 1
        assert capsys.readouterr().err == "cfmiddleware: nothing has such a name\n"
    assert client.delete(f"/v2/team/web/manifests/{digest}").status_code == 202
    assert delete(tmp_path, f"*@{digest}", "--dry-run") == 0
    assert capsys.readouterr().out == f"other@{digest} would be deleted\nteam/app@{digest} would be deleted\n"


def test_a_repository_goes_and_the_catalog_knows(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert delete(tmp_path, "team/app", "--yes") == 0
    assert capsys.readouterr().out == "team/app deleted: 3 manifests, 3 tags, 6 blobs\n"
    assert client.get("/v2/_catalog").json["repositories"] == ["other", "team/web"]
    assert delete(tmp_path, "team/app", "--yes") == 1
    assert "there is no such repository" in capsys.readouterr().out


def test_patterns_with_a_dry_run_change_nothing(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = client.objects()
    assert delete(tmp_path, "team/*:ci-*", "o?her", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "team/app:ci-1 would be deleted",
        "team/app:ci-2 would be deleted",
        "team/web:ci-1 would be deleted",
        "team/web:ci-2 would be deleted",
        "other would be deleted: 3 manifests, 3 tags, 6 blobs",
    ]
    assert client.objects() == before
    assert delete(tmp_path, "team/*:ci-*", "--yes", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["deleted"]
    assert rows[0]["name"] == "team/app:ci-1"
    assert tags(client, "team/app") == tags(client, "team/web") == ["v1"]
    assert tags(client, "other") == ["ci-1", "ci-2", "v1"]


def test_what_is_protected_stays(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path, retention=[{"repositories": "team/*", "protect": ["v*"]}])
    digest = client.get("/v2/team/app/manifests/v1").headers["Docker-Content-Digest"]
    for options in (["--dry-run"], ["--yes"]):
        names = ["team/app", "team/app:v1", f"team/app@{digest}", "team/app:ci-1"]
        assert delete(tmp_path, *names, *options) == 1
        lines = capsys.readouterr().out.splitlines()
        assert [" is left alone: " in line for line in lines] == [True, True, True, False]
    assert tags(client, "team/app") == ["ci-2", "v1"]


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("\n", 2), ("no\n", 2)])
def test_a_person_at_a_terminal_is_asked(
    client: RegistryClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    status: int,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: answer.strip())
    assert delete(tmp_path, "other:v1") == status
    assert ("v1" in tags(client, "other")) == (status == 2)


def test_where_nobody_can_be_asked_nothing_goes(
    client: RegistryClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert delete(tmp_path, "other:v1") == 2
    assert "--yes" in capsys.readouterr().err
    assert "v1" in tags(client, "other")


@pytest.mark.parametrize(
    "name", ["Other", "other:", "other@sha256:12", "other@", "a//b", "../x", "other:a b", "", "*/../*"]
)
def test_what_is_no_name_is_one_line(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert delete(tmp_path, name, "--yes") == 2
    err = capsys.readouterr().err
    assert err.startswith("cfmiddleware: ")
    assert err.count("\n") == 1


def test_what_is_not_there_and_a_read_only_registry(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("other:none", f"other@sha256:{'0' * 64}", "none"):
        assert delete(tmp_path, name, "--yes") == 1
    assert delete(tmp_path, "none*", "--yes") == 1
    assert "nothing has such a name" in capsys.readouterr().err
    configure(tmp_path, {"readonly": {"enabled": True}})
    assert delete(tmp_path, "other:v1", "--yes") == 2
    assert delete(tmp_path, "other:v1", "--dry-run") == 0
    assert "v1" in tags(client, "other")


def test_endpoints_are_told(
    client: RegistryClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sendevents, "_SENDING", 0.2)
    endpoint = {"name": "a", "url": "http://127.0.0.1:9/events"}
    spool = {"directory": str(tmp_path / "spool")}
    configure(tmp_path, notifications={"endpoints": [endpoint], "spool": spool})
    assert delete(tmp_path, "other:v1", "team/app", "--yes") == 0
    from cfmiddleware.config import Config

    events = [json.loads(each.body) for each in Config.load(tmp_path / "config.yml").spool().all("a")]
    assert {event["action"] for event in events} == {"delete"}
    targets = [event["target"] for event in events]
    assert {target["repository"] for target in targets} == {"other", "team/app"}
    assert sorted(target["tag"] for target in targets if target.get("tag")) == ["ci-1", "ci-2", "v1", "v1"]
    assert sum(1 for target in targets if target.get("digest")) == 9
    assert capsys.readouterr().err == (
        "cfmiddleware: 13 events wait for their endpoints; a server of this configuration on this machine "
        "sends them\n"
    )


def test_where_no_server_sends_events_the_command_does(
    client: RegistryClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with receiving() as receiver:
        endpoint = {"name": "a", "url": receiver.url}
        spool = {"directory": str(tmp_path / "spool")}
        configure(tmp_path, notifications={"endpoints": [endpoint], "spool": spool})
        assert delete(tmp_path, "other:v1", "--yes") == 0
        (event,) = receiver.events()
    assert (event["action"], event["target"]["tag"]) == ("delete", "v1")
    assert not capsys.readouterr().err
