"""Retention over a storage: what is deleted, in which way, and with how many requests."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from lab.aging import age_tag, policy, push_aged
from lab.collecting import VirtualClock, collect_all
from lab.registry_client import ROOT, RegistryClient

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.registry.retention import expiry
from cfmiddleware.registry.retention.expiry import ClockDoubtful, Expired, Retention
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.tags import Tags
from cfmiddleware.storage.memory import MemoryDriver

DAY = 86400.0


@pytest.fixture
def client() -> RegistryClient:
    return RegistryClient(MemoryDriver())


def retention(driver: Any, *entries: dict[str, Any], **more: Any) -> Retention:
    clock = VirtualClock()
    return Retention(driver, policy(*entries), **{"clock": clock, "sleep": clock.sleep, **more})


def tags(client: RegistryClient, repository: str = "team/app") -> list[str]:
    return client.get(f"/v2/{repository}/tags/list").json["tags"]


def named(done: Expired) -> list[str]:
    return [fate.tag.name for fate in done.deleted]


def test_tags_go_as_a_client_deletes_them(client: RegistryClient, caplog: pytest.LogCaptureFixture):
    push_aged(client, "team/app", [(f"ci-{n}", (50 - n) * DAY) for n in range(1, 6)])
    push_aged(client, "other", [("ci-1", 99 * DAY)])
    twin = RegistryClient(MemoryDriver())
    push_aged(twin, "team/app", [(f"ci-{n}", (50 - n) * DAY) for n in range(1, 6)])
    push_aged(twin, "other", [("ci-1", 99 * DAY)])

    with caplog.at_level(logging.INFO):
        done = retention(
            client.driver, {"repositories": ("team/*",), "tags": ("ci-*",), "keep": {"last": 2}}
        ).apply()

    assert named(done) == ["ci-1", "ci-2", "ci-3"]
    assert sorted(caplog.messages)[0] == (
        "retention: team/app:ci-1 deleted: retention[0]: not one of the last 2"
    )
    assert done.kept == 2
    assert tags(client) == ["ci-4", "ci-5"]
    assert tags(client, "other") == ["ci-1"]
    for tag in ("ci-1", "ci-2", "ci-3"):
        assert twin.delete(f"/v2/team/app/manifests/{tag}").status_code == 202
    ours = {path for path in client.objects(ROOT) if not path.startswith("_cfmiddleware/")}
    assert ours == {path for path in twin.objects(ROOT) if not path.startswith("_cfmiddleware/")}


def test_a_digest_that_is_tagged_otherwise_stays(client: RegistryClient):
    digest = client.push_image("app", "ci-1")
    manifest = client.get("/v2/app/manifests/ci-1").data
    client.push_manifest("app", "keep", manifest)
    client.push_image("app", "ci-2", b"other")
    age_tag(client.driver, "app", "ci-1", 9 * DAY)

    done = retention(client.driver, {"tags": ("ci-*",), "keep": {"last": 1}}).apply()
    collect_all(client.driver, deleteuntagged=True)

    assert named(done) == ["ci-1"]
    assert client.get("/v2/app/manifests/ci-1").status_code == 404
    assert client.get(f"/v2/app/manifests/{digest}").status_code == 200
    assert client.get("/v2/app/manifests/keep").data == manifest


def test_a_survey_changes_nothing(client: RegistryClient):
    push_aged(client, "a", [("x", DAY), ("y", 2 * DAY)])
    before = client.objects(ROOT + "repositories/")
    (decided,) = retention(client.driver, {"keep": {"last": 1}}).survey()
    assert [(fate.tag.name, fate.goes) for fate in decided] == [("x", False), ("y", True)]
    assert client.objects(ROOT + "repositories/") == before


@pytest.mark.parametrize("content", [b"", b"sha256:" + b"x" * 64, b"sha256:" + b"a" * 63, b"\xff" * 71])
def test_a_tag_with_a_broken_link_is_kept_and_named(client: RegistryClient, content: bytes):
    push_aged(client, "a", [("x", DAY), ("y", 2 * DAY), ("z", 3 * DAY)])
    current = paths.tag_current("a", "z")
    client.driver._objects[current] = (content, client.driver._objects[current][1])
    done = retention(client.driver, {"keep": {"last": 1}}).apply()
    assert named(done) == ["y"]
    assert [fate.tag.name for fate in done.broken] == ["z"]
    assert client.driver.read(current) == content
    (decided,) = retention(client.driver, {"keep": {"last": 1}}).survey()
    assert [fate.why for fate in decided if fate.tag.name == "z"] == ["its link holds no digest"]


class Noticed(MemoryDriver):
    """Counts requests, and lets something happen before one."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()
        self.happens: Any = None

    def _count(self, name: str) -> None:
        self.requests[name] += 1

    def walk(self, prefix: str) -> Iterator[Any]:
        self._count("walk")
        if self.happens is not None and prefix.endswith("/tags/x/"):
            happens, self.happens = self.happens, None
            happens()
        return super().walk(prefix)

    def read(self, path: str) -> bytes:
        self._count("read")
        return super().read(path)

    def stat(self, path: str) -> Any:
        self._count("stat")
        return super().stat(path)

    def list(self, prefix: str, **more: Any) -> list[str]:
        self._count("list")
        return super().list(prefix, **more)


def test_a_thousand_tags_cost_a_few_listings():
    driver = Noticed()
    driver.remote = True  # as S3 is, where each request costs
    client = RegistryClient(driver)
    digest = client.push_image("app", "t0")
    for number in range(1, 1000):
        for path in (paths.tag_current("app", f"t{number}"), paths.tag_index("app", f"t{number}", digest)):
            driver.write(path, str(digest).encode())
        age_tag(driver, "app", f"t{number}", number * DAY)
    driver.requests.clear()
    (decided,) = retention(driver, {"keep": {"last": 995}}).survey()
    assert sum(fate.goes for fate in decided) == 5
    # One walk through the tags, the links of those that would go, the clock, and the list of repositories.
    assert driver.requests["walk"] == 1
    assert driver.requests["read"] == 5
    assert driver.requests["stat"] == 1
    assert driver.requests["list"] <= 4
    before = driver.requests.total()
    retention(driver, {"keep": {"last": 995}}).apply()
    assert driver.requests.total() - before <= before + 7 * 5


@pytest.mark.parametrize("again", [b"x", b"new"], ids=["the same image", "another image"])
def test_a_tag_that_is_pushed_between_the_look_and_the_delete_stays(again: bytes):
    driver = Noticed()
    client = RegistryClient(driver)
    push_aged(client, "a", [("x", 9 * DAY), ("y", DAY)])
    digests = []
    driver.happens = lambda: digests.append(client.push_image("a", "x", again))
    done = retention(driver, {"keep": {"last": 1}}).apply()
    assert named(done) == []
    assert [fate.why for fate in done.moved] == ["pushed or deleted meanwhile"]
    assert client.get("/v2/a/manifests/x").headers["Docker-Content-Digest"] == str(digests[0])


def test_a_tag_that_a_push_is_about_to_move_stays(client: RegistryClient):
    push_aged(client, "a", [("x", 9 * DAY), ("y", DAY)])
    digest = client.push_image("a", "z", b"new")
    client.driver.write(paths.tag_index("a", "x", digest), str(digest).encode())  # announced, not yet named
    done = retention(client.driver, {"tags": ("?",), "keep": {"last": 2}}).apply()
    assert (named(done), [fate.tag.name for fate in done.moved]) == ([], ["x"])


def test_a_tag_that_was_moved_long_before_the_second_look_stays(client: RegistryClient):
    """A retention of many tags may take longer than a push is thought to take."""
    push_aged(client, "a", [("x", 9 * DAY)])
    (seen,) = Tags(client.driver).listed("a")
    digest = client.push_image("a", "x", b"new")
    age_tag(client.driver, "a", "x", 3600)
    assert not Tags(client.driver).delete_unmoved("a", seen, time.time())
    assert Tags(client.driver).current("a", "x") == digest


def test_a_tag_whose_name_was_announced_in_the_second_of_its_last_move_stays_for_a_minute(
    client: RegistryClient,
):
    push_aged(client, "a", [("x", 30.0)])
    (seen,) = Tags(client.driver).listed("a")
    digest = client.push_image("a", "y", b"new")
    path = paths.tag_index("a", "x", digest)
    client.driver._objects[path] = (str(digest).encode(), seen.moved - 1)
    assert not Tags(client.driver).delete_unmoved("a", seen, time.time())
    assert Tags(client.driver).delete_unmoved("a", seen, time.time() + 60)


def test_a_tag_that_is_gone_meanwhile_is_not_counted_as_deleted():
    driver = Noticed()
    client = RegistryClient(driver)
    push_aged(client, "a", [("x", 9 * DAY), ("y", DAY)])
    driver.happens = lambda: client.delete("/v2/a/manifests/x")
    done = retention(driver, {"keep": {"last": 1}}).apply()
    assert (named(done), len(done.moved)) == ([], 1)


def test_tags_that_were_moved_a_moment_ago_are_waited_for(client: RegistryClient):
    push_aged(client, "a", [("x", 1.0), ("y", 0.5)])
    clock = VirtualClock()
    slept = []
    done = Retention(client.driver, policy({"keep": {"last": 1}}), clock=clock, sleep=slept.append).apply()
    assert named(done) == ["x"]
    assert [round(seconds) for seconds in slept] == [2]


@pytest.mark.parametrize("hours", [-2, 2, 24 * 365 * 70])
def test_nothing_goes_by_a_clock_that_is_wrong(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch, hours: int
):
    push_aged(client, "a", [("x", DAY), ("y", 2 * DAY)])
    monkeypatch.setattr(expiry, "storage_time", lambda driver: time.time() + hours * 3600)
    for act in ("apply", "survey"):
        with pytest.raises(ClockDoubtful, match="ahead of" if hours > 0 else "behind"):
            list([getattr(retention(client.driver, {"keep": {"younger": 1.0}}), act)()][0] or ())
    assert tags(client, "a") == ["x", "y"]


def test_clocks_that_differ_by_minutes_do_no_harm(client: RegistryClient, monkeypatch: pytest.MonkeyPatch):
    """The storage's clock alone counts, for the tags' ages as for pushes that are under way."""
    push_aged(client, "a", [("x", 9 * DAY), ("y", DAY)])
    storage = time.time()
    monkeypatch.setattr(time, "time", lambda: storage + 600)
    digest = client.push_image("b", "z", b"new")
    path = paths.tag_index("a", "x", digest)
    client.driver._objects[path] = (str(digest).encode(), storage)
    monkeypatch.setattr(expiry, "storage_time", lambda driver: storage + 1)
    done = retention(client.driver, {"repositories": ("a",), "keep": {"last": 1}}).apply()
    assert [fate.tag.name for fate in done.moved] == ["x"]


def test_what_was_deleted_before_the_storage_failed_is_gone_and_the_next_run_goes_on(client: RegistryClient):
    push_aged(client, "a", [(f"t{n}", n * DAY) for n in range(1, 6)])
    driver, left = client.driver, [2]
    delete = driver.delete

    def failing(doomed):
        left[0] -= 1
        if left[0] < 0:
            raise StorageUnavailable("no")
        delete(doomed)

    driver.delete = failing
    with pytest.raises(StorageUnavailable):
        retention(driver, {"keep": {"last": 1}}, parallel=1).apply()
    driver.delete = delete
    retention(driver, {"keep": {"last": 1}}).apply()
    assert tags(client, "a") == ["t1"]


def test_protected_tags_go_by_no_rule(client: RegistryClient):
    push_aged(client, "a", [(tag, 900 * DAY) for tag in ("release-1", "Release-2", "v1", "x")])
    done = retention(
        client.driver, {"keep": {"younger": DAY}}, {"protect": ("release-*",), "immutable": ("v*",)}
    ).apply()
    assert named(done) == ["x"]
    assert tags(client, "a") == ["Release-2", "release-1", "v1"]
