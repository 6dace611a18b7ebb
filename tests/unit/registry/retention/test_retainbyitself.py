"""Retention that begins by itself: once in an interval, whoever does it, and never after the end."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from lab.aging import policy, push_aged
from lab.clock import Clock
from lab.purging import make_older
from lab.registry_client import RegistryClient

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, StorageRefused
from cfmiddleware.registry.announcements import Announcements
from cfmiddleware.registry.collect.lease import Lease
from cfmiddleware.registry.retention import expiry
from cfmiddleware.registry.retention.retainbyitself import RetainByItself
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver

HOUR, DAY = 3600.0, 86400.0

ENDED = threading.Event()


@pytest.fixture
def client() -> RegistryClient:
    client = RegistryClient(MemoryDriver())
    push_aged(client, "app", [(f"ci-{number}", (9 - number) * DAY) for number in range(1, 4)])
    return client


def by_itself(client: RegistryClient, clock: Clock) -> RetainByItself:
    rules = policy({"tags": ("ci-*",), "keep": {"last": 1}})
    return RetainByItself(client.driver, rules, Announcements(), DAY, clock)


def begun(client: RegistryClient, clock: Clock) -> RetainByItself:
    """Return one that has looked for the first time; an hour later it is time."""
    found = by_itself(client, clock)
    found.look(ENDED)
    clock.now += HOUR
    return found


def tags(client: RegistryClient) -> list[str]:
    found: list[str] = client.get("/v2/app/tags/list").json["tags"]
    return found


def test_tags_go_within_an_hour_and_not_at_once(
    client: RegistryClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    retaining = begun(client, Clock(0))
    assert tags(client) == ["ci-1", "ci-2", "ci-3"]
    retaining.look(ENDED)
    assert tags(client) == ["ci-3"]
    assert caplog.messages == [
        "retention: app:ci-1 deleted: retention[0]: not one of the last 1",
        "retention: app:ci-2 deleted: retention[0]: not one of the last 1",
        "retention: 2 tags deleted",
    ]
    assert paths.RETENTION_LEASE not in {path for path, _ in client.driver.walk("/")}


def test_another_one_begins_only_when_the_interval_is_over(client: RegistryClient) -> None:
    clocks = Clock(0), Clock(0)
    first, second = (begun(client, clock) for clock in clocks)
    first.look(ENDED)
    push_aged(client, "app", [("ci-0", 20 * DAY)])
    second.look(ENDED)
    assert tags(client) == ["ci-0", "ci-3"]
    make_older(client.driver, DAY)
    clocks[1].now += DAY + HOUR
    second.look(ENDED)
    assert tags(client) == ["ci-3"]


def test_what_cannot_be_done_is_one_line_and_deletes_nothing(
    client: RegistryClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(0)
    retaining = begun(client, clock)
    with monkeypatch.context() as patched:
        patched.setattr(expiry, "storage_time", lambda _: 0.0)
        retaining.look(ENDED)
    clock.now += DAY + HOUR

    def refuse(*given: Any, **named: Any) -> Any:
        raise StorageRefused("S3 refused ListObjectsV2 of /docker/: AccessDenied (403)")

    with monkeypatch.context() as patched:
        patched.setattr(client.driver, "list", refuse)
        retaining.look(ENDED)
    clock.now += DAY + HOUR
    with Lease(client.driver, clock, paths.RETENTION_LEASE).held():
        retaining.look(ENDED)
    assert tags(client) == ["ci-1", "ci-2", "ci-3"]
    first, second = caplog.messages
    assert first.startswith("retention: the storage's clock is ")
    assert second == (
        "retention: S3 refused ListObjectsV2 of /docker/: AccessDenied (403); the next try is in 86400 s"
    )


def test_a_process_that_ends_stops_in_the_middle_and_gives_the_lease_up(client: RegistryClient) -> None:
    retaining = begun(client, Clock(0))
    ended = threading.Event()
    ended.set()
    retaining.look(ended)
    assert tags(client) == ["ci-1", "ci-2", "ci-3"]
    assert not {paths.RETENTION_LEASE, paths.LAST_RETENTION} & {path for path, _ in client.driver.walk("/")}


RULES = "retention: [{repositories: '*', keep: {last: 3}}]"


@pytest.mark.parametrize(
    ("section", "chores"),
    [
        ("{}", []),
        ("{retention: {enabled: true}}", ["retention"]),
        ("{retention: {enabled: false}}", []),
        ("{readonly: {enabled: true}, retention: {enabled: true}}", []),
    ],
)
def test_a_registry_retains_only_where_it_is_told_to(section: str, chores: list[str], tmp_path: Path) -> None:
    text = section.replace("{", "{uploadpurging: {enabled: false}, ", 1)
    (tmp_path / "config.yml").write_text(f"storage: {{inmemory: , maintenance: {text}}}\n{RULES}")
    found = Config.load(tmp_path / "config.yml", {}).chores
    assert [chore.name for chore in (found._chores if found else ())] == chores


@pytest.mark.parametrize(
    ("section", "rules", "said"),
    [
        ("{enabled: true}", "", "storage.maintenance.retention: has nothing to do"),
        (
            "{enabled: true}",
            "retention: [{protect: 'v*'}]",
            "storage.maintenance.retention: has nothing to do",
        ),
        ("{enabled: maybe}", RULES, "storage.maintenance.retention.enabled: "),
        ("{enabled: true, interval: 0s}", RULES, "storage.maintenance.retention.interval: '0s' is too short"),
        ("{enabled: true, window: '1'}", RULES, "storage.maintenance.retention.window: "),
    ],
)
def test_what_cannot_be_meant_is_an_error(section: str, rules: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(
        f"storage: {{inmemory: , maintenance: {{retention: {section}}}}}\n{rules}"
    )
    with pytest.raises(ConfigError) as raised:
        Config.load(tmp_path / "config.yml", {})
    assert str(raised.value).startswith(f"{tmp_path / 'config.yml'}: {said}")
