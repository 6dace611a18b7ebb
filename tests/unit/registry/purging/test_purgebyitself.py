"""Purges that begin by themselves: once in an interval, whoever does it, and never after the end."""

from __future__ import annotations

import itertools
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from lab.clock import Clock
from lab.purging import DAY, HOUR, make_older, of_uploads
from lab.registry_client import RegistryClient

from cfmiddleware.config import Config
from cfmiddleware.errors import StorageRefused
from cfmiddleware.registry.purging.purgebyitself import PurgeByItself
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver

ENDED = threading.Event()


@pytest.fixture
def client() -> RegistryClient:
    client = RegistryClient(MemoryDriver(), inline_limit=10)
    assert client.patch(client.start("app"), data=b"0123456789" * 5).status_code == 202
    make_older(client.driver, 8 * DAY)
    return client


def by_itself(driver: Any, clock: Clock, **more: Any) -> PurgeByItself:
    return PurgeByItself(driver, 7 * DAY, DAY, clock=clock, **more)


def last(driver: MemoryDriver) -> bool:
    return any(path == paths.LAST_PURGE for path, _ in driver.walk("/"))


def test_the_first_one_is_within_an_hour_and_not_at_once(client: RegistryClient) -> None:
    clock = Clock(0)
    purging = by_itself(client.driver, clock)
    purging.look(ENDED)
    assert not last(client.driver)
    clock.now = HOUR
    purging.look(ENDED)
    assert last(client.driver)
    assert not of_uploads(client.driver)


def test_another_one_purges_only_when_the_interval_is_over(client: RegistryClient) -> None:
    clocks = Clock(0), Clock(0)
    both = [by_itself(client.driver, clock) for clock in clocks]
    for purging, clock in zip(both, clocks, strict=True):
        purging.look(ENDED)
        clock.now = HOUR
    both[0].look(ENDED)
    first = client.driver.read(paths.LAST_PURGE), client.driver.stat(paths.LAST_PURGE)
    both[1].look(ENDED)
    assert client.driver.stat(paths.LAST_PURGE) == first[1]
    make_older(client.driver, DAY)
    clocks[1].now += DAY + HOUR
    both[1].look(ENDED)
    assert client.driver.stat(paths.LAST_PURGE) != first[1]


def test_a_dry_run_says_what_would_go(client: RegistryClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock(0)
    purging = by_itself(client.driver, clock, dryrun=True)
    purging.look(ENDED)
    clock.now = HOUR
    purging.look(ENDED)
    assert of_uploads(client.driver)
    first, second = caplog.messages
    assert first.startswith("upload purging: would delete upload app: ")
    assert second.startswith("upload purging: 1 uploads and leftovers of ")


def test_a_storage_that_refuses_is_one_line_and_the_next_try_comes_after_the_interval(
    client: RegistryClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = itertools.count()

    def refuse(*given: Any, **named: Any) -> Any:
        next(asked)
        raise StorageRefused("S3 refused ListObjectsV2 of /docker/: AccessDenied (403)")

    monkeypatch.setattr(client.driver, "list", refuse)
    clock = Clock(0)
    purging = by_itself(client.driver, clock)
    for clock.now in range(0, int(DAY), 600):
        purging.look(ENDED)
    assert caplog.messages == [
        "upload purging: S3 refused ListObjectsV2 of /docker/: AccessDenied (403); the next try is in 86400 s"
    ]
    assert next(asked) == 1


def test_a_process_that_ends_stops_in_the_middle_and_gives_the_lease_up(client: RegistryClient) -> None:
    for _ in range(3):
        client.patch(client.start("app"), data=b"0123456789" * 5)
    make_older(client.driver, 8 * DAY)
    ended, clock = threading.Event(), Clock(0)
    purging = by_itself(client.driver, clock)
    purging.look(ended)
    clock.now = HOUR
    ended.set()
    purging.look(ended)
    assert of_uploads(client.driver)
    assert paths.PURGE_LEASE not in {path for path, _ in client.driver.walk("/")}


@pytest.mark.parametrize(
    ("section", "chores"),
    [
        ("", ["upload purging"]),
        ("uploadpurging: {enabled: true, age: 24h}", ["upload purging"]),
        ("uploadpurging: {enabled: false}", []),
        ("readonly: {enabled: true}", []),
        ("{readonly: {enabled: true}, uploadpurging: {enabled: true}}", []),
    ],
)
def test_a_registry_purges_unless_it_is_told_not_to_or_is_read_only(
    section: str, chores: list[str], tmp_path: Path
) -> None:
    text = section if section.startswith("{") else "{" + section + "}"
    (tmp_path / "config.yml").write_text(f"storage: {{inmemory: , maintenance: {text}}}")
    found = Config.load(tmp_path / "config.yml", {}).chores
    assert [chore.name for chore in (found._chores if found else ())] == chores


class Started:
    """Chores that count how often they are begun."""

    def __init__(self) -> None:
        self.times = 0

    def start(self) -> None:
        self.times += 1


def test_under_any_server_the_first_request_begins_and_a_redirect_costs_nothing() -> None:
    chores = Started()
    client = RegistryClient(MemoryDriver(), chores=chores)
    digest = client.push_blob("app", b"x")
    before = chores.times
    assert before
    ask = client.registry.place_of("")
    assert ask is not None
    assert ask(("app", digest), {"REQUEST_METHOD": "GET"}, lambda *_: lambda _: None, None)
    assert chores.times == before
    assert client.get("/v2/").status_code == 200
    assert chores.times == before + 1
