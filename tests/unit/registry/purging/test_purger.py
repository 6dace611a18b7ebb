"""Uploads that nobody finishes go; those that somebody writes to stay."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from lab.purging import DAY, HOUR, UPLOADS, make_older, of_uploads, purger
from lab.registry_client import DRIVERS, RegistryClient

from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageRefused, StorageUnavailable
from cfmiddleware.registry.collect.lease import LeaseTaken
from cfmiddleware.registry.purging.purger import Purger
from cfmiddleware.registry.recurring import seconds_since
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Unfinished, folder_mark
from cfmiddleware.storage.filesystem import FilesystemDriver
from cfmiddleware.storage.memory import MemoryDriver

OWN = "/docker/registry/v2/_cfmiddleware/"


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return DRIVERS[request.param](tmp_path)


@pytest.fixture
def client(driver: Any) -> RegistryClient:
    return RegistryClient(driver, inline_limit=10)


def begun(client: RegistryClient, name: str = "app", content: bytes = b"0123456789" * 5) -> str:
    """Begin an upload that the storage has something of, and return its URL."""
    answer = client.patch(client.start(name), data=content)
    assert answer.status_code == 202
    return answer.headers["Location"]


def test_an_upload_that_nobody_has_written_to_for_the_age_goes(client: RegistryClient):
    url = begun(client, "team/app")
    make_older(client.driver, HOUR - 60)
    assert not purger(client.driver).purge().gone
    make_older(client.driver, 120)

    done = purger(client.driver).purge()

    assert [(each.kind, each.repository, each.name) for each in done.gone] == [
        ("upload", "team/app", url.rpartition("/")[2])
    ]
    assert done.size > 50
    assert client.get(url).status_code == 404
    assert client.patch(url, data=b"more").status_code == 404


def test_a_chunk_renews_an_upload(client: RegistryClient):
    url = begun(client)
    make_older(client.driver, 2 * HOUR)
    answer = client.patch(url, data=b"x" * 20)
    assert answer.status_code == 202

    assert not purger(client.driver).purge().gone

    content = b"0123456789" * 5 + b"x" * 20
    done = client.put(f"{answer.headers['Location']}?digest={Digest.of(content)}")
    assert done.status_code == 201


def test_a_dry_run_finds_the_same_and_changes_nothing(client: RegistryClient):
    begun(client)
    make_older(client.driver, 2 * HOUR)
    before = of_uploads(client.driver)

    found = purger(client.driver).survey()

    assert of_uploads(client.driver) == before
    assert found.gone == purger(client.driver).purge().gone


def test_what_remains_says_that_urls_count_no_more_for_as_long_as_they_could(client: RegistryClient):
    ticket = client.start("app")
    assert client.patch(ticket, data=b"0123456789" * 5).status_code == 202
    make_older(client.driver, 2 * HOUR)

    purger(client.driver).purge()

    assert {path.rpartition("/")[2] for path in of_uploads(client.driver)} == {"startedat", "cancelled"}
    assert client.patch(ticket, data=b"again").status_code == 404
    make_older(client.driver, 2 * DAY)
    assert not purger(client.driver).purge().gone
    make_older(client.driver, 4 * DAY)
    assert len(purger(client.driver).purge().gone) == 1
    assert not of_uploads(client.driver)


def test_with_distributions_age_nothing_remains(client: RegistryClient):
    begun(client)
    make_older(client.driver, 7 * DAY + 60)
    purger(client.driver, 7 * DAY).purge()
    assert not of_uploads(client.driver)


def test_a_cancelled_upload_stays_cancelled_and_then_goes(client: RegistryClient):
    ticket = client.start("app")
    assert client.delete(ticket).status_code == 204
    make_older(client.driver, 2 * HOUR)
    assert not purger(client.driver).purge().gone
    assert client.patch(ticket, data=b"x").status_code == 404
    make_older(client.driver, 6 * DAY)
    assert purger(client.driver).purge().gone
    assert not of_uploads(client.driver)


@pytest.mark.parametrize(
    "left",
    [
        ["cancelled"],
        ["state-00000001"],
        ["piece-6b1e5a0c-5d0e-4b7e-9a57-2a9d7d3f0b11"],
        ["cancelled", "piece-6b1e5a0c-5d0e-4b7e-9a57-2a9d7d3f0b11"],
        ["startedat"],
        ["startedat", "purging", "state-00000001"],
        ["purging"],
        ["startedat", "data", "hashstates/sha256/0", "hashstates/sha256/1000"],
        ["data"],
        ["hashstates/sha256/0"],
    ],
    ids=" ".join,
)
def test_what_failures_and_distribution_left_goes(client: RegistryClient, left: list[str]):
    folder = f"{UPLOADS}app/_uploads/{uuid.uuid4()}/"
    for name in left:
        client.driver.write(folder + name, b"2026-11-20T00:00:00Z")
    assert not purger(client.driver).purge().gone or left == ["purging"]

    make_older(client.driver, 8 * DAY)
    purger(client.driver).purge()

    assert not of_uploads(client.driver)


def test_what_is_not_an_upload_stays(client: RegistryClient):
    client.push_image("app", "latest")
    client.driver.write(f"{UPLOADS}app/_uploads/notes.txt", b"mine")
    client.driver.write(f"{UPLOADS}app/_uploads/not-an-id/startedat", b"")
    client.driver.write(f"{UPLOADS}app/_uploads/{uuid.uuid4()}", b"not a folder")
    make_older(client.driver, 30 * DAY)
    before = client.objects()

    assert not purger(client.driver).purge().gone

    assert client.objects() - before == {
        "registry/v2/_cfmiddleware/collect/clock",
        "registry/v2/_cfmiddleware/purge/last",
    }


def test_repositories_that_have_only_uploads_and_nested_ones_are_found(client: RegistryClient):
    client.push_image("a", "latest")
    for name in ("a", "a/b", "a/b/c/d", "z"):
        begun(client, name)
    make_older(client.driver, 2 * HOUR)
    assert [each.repository for each in purger(client.driver).purge().gone] == ["a", "a/b", "a/b/c/d", "z"]


def test_what_a_start_or_a_check_left_goes(client: RegistryClient):
    for name in (f"{uuid.uuid4()}", f"check-{uuid.uuid4()}"):
        client.driver.write(OWN + name, b"")
    begun(client)  # there is a secret now
    assert not purger(client.driver).purge().gone
    make_older(client.driver, 2 * HOUR)
    assert sorted(each.kind for each in purger(client.driver).purge().gone) == [
        "temporary",
        "temporary",
        "upload",
    ]
    assert paths.UPLOAD_SECRET in {path for path, _ in client.driver.walk(OWN)}


class Writes(MemoryDriver):
    """A storage in which somebody writes an object."""

    remote = True

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Unfinished] = []
        self.discarded: list[str] = []
        self.refusal: StorageUnavailable | None = None

    def unfinished(self, prefix: str, before: float) -> Any:
        if self.refusal is not None:
            raise self.refusal
        return iter([each for each in self.open if each.name.startswith(prefix)])

    def discard(self, unfinished: Unfinished) -> None:
        self.discarded.append(unfinished.name)

    def begin(self, path: str, age: float) -> None:
        """Begin an object, whose last part came so many seconds ago."""
        self.write("/clock", b"")
        touched = self.stat("/clock").modified - age
        self.open.append(Unfinished(path, 100, touched, folder_mark(path), (path,)))


def folder_of(driver: Any) -> str:
    (folder,) = {path.rpartition("/")[0] for path in of_uploads(driver)}
    return f"{UPLOADS}{folder}/"


def test_an_upload_whose_parts_still_come_stays():
    driver = Writes()
    client = RegistryClient(driver, inline_limit=10)
    url = begun(client)
    make_older(driver, 3 * HOUR)
    driver.begin(f"{folder_of(driver)}piece-{uuid.uuid4()}", age=60)

    assert not purger(driver).purge().gone
    assert client.get(url).status_code == 204

    driver.open = []
    assert len(purger(driver).purge().gone) == 1


def test_on_a_disk_a_chunk_that_is_still_on_its_way_keeps_its_upload(tmp_path: Path):
    driver = FilesystemDriver(tmp_path)
    client = RegistryClient(driver, inline_limit=10)
    kept, other = begun(client), begun(client, "other")
    make_older(driver, 3 * HOUR)
    piece = f"{UPLOADS}app/_uploads/{kept.rpartition('/')[2]}/piece-{uuid.uuid4()}"
    with driver.writer(piece) as writer:
        writer.write(b"on its way")

        assert [each.name for each in purger(driver).purge().gone] == [other.rpartition("/")[2]]


def test_on_a_disk_files_go_that_a_kill_has_left(tmp_path: Path):
    driver = FilesystemDriver(tmp_path)
    begun(RegistryClient(driver, inline_limit=10))
    writer = driver.writer(f"{UPLOADS}app/_layers/x")
    writer.write(b"0123456789")
    time.sleep(0.02)

    done = purger(driver, 0.01).purge()

    assert [each.size for each in done.gone if each.kind == "unfinished"] == [10]
    assert not list((tmp_path / ".cfmiddleware-tmp").iterdir())


def test_parts_go_whose_last_one_is_old_and_nothing_of_others():
    driver = Writes()
    for number, age in enumerate((60, 2 * HOUR)):
        driver.begin(f"/docker/registry/v2/blobs/sha256/aa/{number}/data", age)
    driver.begin("/docker/other/registry/data", 2 * HOUR)

    done = purger(driver).purge()

    assert [(each.kind, each.size) for each in done.gone] == [("unfinished", 100)]
    assert driver.discarded == ["/docker/registry/v2/blobs/sha256/aa/1/data"]


def test_where_parts_cannot_be_seen_an_upload_stays_for_a_week():
    driver = Writes()
    driver.refusal = StorageRefused("S3 refused ListMultipartUploads: AccessDenied (403)")
    begun(RegistryClient(driver, inline_limit=10))
    make_older(driver, 6 * DAY)
    done = purger(driver).purge()
    assert not done.gone
    assert "ListMultipartUploads" in done.unseen
    make_older(driver, 2 * DAY)
    assert len(purger(driver).purge().gone) == 1


def test_a_storage_that_fails_ends_a_purge():
    driver = Writes()
    driver.refusal = StorageUnavailable("S3 did not answer")
    with pytest.raises(StorageUnavailable):
        purger(driver).purge()
    assert not [path for path, _ in driver.walk(paths.PURGE_LEASE.removesuffix("lease"))]


def test_a_purge_goes_on_where_the_one_before_it_ended(client: RegistryClient):
    """Whatever request was the last one that a killed purge made, the next one leaves the same."""

    class Killed(BaseException):
        pass

    for last in itertools.count():
        begun(client)
        make_older(client.driver, 7 * DAY)
        steps = iter(range(last))

        class Dying:
            def __getattr__(self, name: str, steps: Any = steps) -> Any:
                attribute = getattr(client.driver, name)
                if name in ("write", "create", "delete") and next(steps, None) is None:
                    raise Killed
                return attribute

        try:
            Purger(Dying(), HOUR).purge()  # type: ignore[arg-type]
        except Killed:
            make_older(client.driver, 2 * HOUR)  # its lease has ended by then
        else:
            break
        purger(client.driver).purge()
        make_older(client.driver, 6 * DAY)
        purger(client.driver).purge()
        assert not of_uploads(client.driver), last
    assert last > 5


def test_one_purges_at_a_time(client: RegistryClient):
    one, two = purger(client.driver), purger(client.driver)
    with one._lease.held(), pytest.raises(LeaseTaken, match="process"):
        two.purge()


def test_when_the_last_one_ended_is_known_by_the_storages_clock(client: RegistryClient):
    assert seconds_since(client.driver, paths.LAST_PURGE) == float("inf")
    purger(client.driver).purge(dryrun=True)
    make_older(client.driver, HOUR)
    assert HOUR <= seconds_since(client.driver, paths.LAST_PURGE) < HOUR + 60
    assert json.loads(client.driver.read(paths.LAST_PURGE))["dryrun"] is True
