"""Collections that an inventory report tells where to look: what they take, and the reports they refuse."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from lab.collecting import VirtualClock, broken_images, collect_all, digests_stored, stored
from lab.inventory_reports import BUCKET, WRITERS, rows_of, write_report
from lab.registry_client import RegistryClient, image_manifest

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.collect import inventory as inventory_module
from cfmiddleware.registry.collect.collector import Collector, Outcome
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.registry.collect.inventory import Inventory, open_inventory
from cfmiddleware.registry.collect.verdict import Rules
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver

pytest.importorskip("duckdb")


def collect_with(driver: MemoryDriver, inventory: Inventory, **rules: Any) -> Outcome:
    clock = VirtualClock()
    given = Rules(**{"grace": 0.0, "olderthan": 0.0, **rules})
    condemned = Condemned(driver, clock, clock.sleep)
    return Collector(driver, given, 4, condemned, inventory=inventory).collect()


@contextmanager
def opened(
    driver: MemoryDriver, directory: Path, written: str = "CSV", **changed: Any
) -> Iterator[Inventory]:
    with open_inventory(
        str(write_report(directory, driver, written, **changed)), driver, BUCKET
    ) as inventory:
        yield inventory


@pytest.fixture
def client() -> RegistryClient:
    """Images of which one has lost its manifest, and its blobs in two repositories."""
    client = RegistryClient(MemoryDriver())
    client.push_image("team/app", "v1", b"1")
    client.push_image("team/app/nested", "v2", b"2")
    lost = client.push_image("team/app", "gone", b"3")
    client.push_image("other", "v1", b"3")
    client.delete(f"/v2/team/app/manifests/{lost}")
    client.push_blob("team/app", b"nobody's")
    return client


@pytest.mark.parametrize("written", WRITERS)
def test_what_a_report_shows_goes_as_what_is_listed_does(
    client: RegistryClient, tmp_path: Path, written: str
) -> None:
    driver = client.driver
    listed = MemoryDriver()
    for path, _ in driver.walk("/"):
        listed.write(path, driver.read(path))
    collect_all(listed)

    for number in range(2):
        with opened(driver, tmp_path / str(number), written) as inventory:
            outcome = collect_with(driver, inventory)

    assert outcome.survey.stored.count == outcome.deleted.count + len(digests_stored(driver))
    assert stored(driver) == stored(listed)
    assert not broken_images(driver)


def test_a_collection_by_report_reads_only_what_it_does_not_know_and_lists_only_where_something_goes(
    client: RegistryClient, tmp_path: Path
) -> None:
    walked = []

    class Watched(MemoryDriver):
        def walk(self, prefix: str) -> Any:
            walked.append(prefix)
            return super().walk(prefix)

    driver = Watched()
    for path, _ in client.driver.walk("/"):
        driver.write(path, client.driver.read(path))
    with opened(driver, tmp_path / "first") as inventory:
        driver.delete([paths.blob_data(digest) for digest, _ in inventory.orphans()])
    with opened(driver, tmp_path) as inventory:
        walked.clear()
        outcome = collect_with(driver, inventory)

    assert outcome.survey.read == 3
    assert outcome.layers
    listed = {path for path in walked if path.startswith(paths.REPOSITORIES) and "/_uploads/" not in path}
    assert listed == {paths.layers("team/app"), paths.revisions("team/app")}
    assert paths.BLOBS not in walked


def test_what_was_written_after_the_report_counts(client: RegistryClient, tmp_path: Path) -> None:
    driver = client.driver
    layer, config = client.push_blob("late", b"layer"), client.push_blob("late", b"{}")
    with opened(driver, tmp_path) as inventory:
        assert client.push_manifest("late", "v1", image_manifest(config, [layer])).status_code == 201
        outcome = collect_with(driver, inventory)

    assert outcome.spared >= 2
    assert client.get("/v2/late/manifests/v1").status_code == 200
    assert not broken_images(driver)


def test_bytes_that_a_new_link_names_stay(client: RegistryClient, tmp_path: Path) -> None:
    """Another program has linked them, in a repository that the report does not know."""
    driver = client.driver
    collect_all(driver)
    digest = Digest.of(b"old bytes")
    driver.write(paths.blob_data(digest), b"old bytes")
    with opened(driver, tmp_path) as inventory:
        assert [found for found, _ in inventory.orphans()] == [digest]
        driver.write(paths.layer_link("new", digest), str(digest).encode())
        outcome = collect_with(driver, inventory)

    assert (outcome.deleted.count, outcome.spared) == (0, 1)
    assert digest in digests_stored(driver)


def test_bytes_that_were_written_anew_after_the_report_stay(client: RegistryClient, tmp_path: Path) -> None:
    driver = client.driver
    collect_all(driver)
    digest = Digest.of(b"old bytes")
    driver.write(paths.blob_data(digest), b"old bytes")
    with opened(driver, tmp_path) as inventory:
        driver.write(paths.blob_data(digest), b"old bytes")
        outcome = collect_with(driver, inventory)

    assert (outcome.deleted.count, outcome.spared) == (0, 1)
    assert digest in digests_stored(driver)


def test_what_is_younger_than_the_grace_period_before_the_report_is_not_touched(
    client: RegistryClient, tmp_path: Path
) -> None:
    driver = client.driver
    before = stored(driver)
    with opened(driver, tmp_path) as inventory:
        outcome = collect_with(driver, inventory, grace=3600.0)

    assert outcome.survey.report == inventory.created
    assert stored(driver) == before


def test_keys_are_decoded_and_old_versions_do_not_count(tmp_path: Path) -> None:
    driver = MemoryDriver()
    name, old = Digest.of(b"a"), Digest.of(b"b")
    report = write_report(
        tmp_path,
        driver,
        fileSchema="Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate",
    )
    with gzip.open(tmp_path / "data" / "0.csv.gz", "wt") as out:
        for key, latest, marker in (
            (paths.layer_link("a+b%/c", name), "true", "false"),
            (paths.layer_link("gone", old), "true", "true"),
            (paths.blob_data(old), "false", "false"),
            (paths.blob_data(name), "true", "false"),
        ):
            out.write(f'"{BUCKET}","{quote_plus(key[1:])}","v","{latest}","{marker}","",""\n')
    said = json.loads((report / "manifest.json").read_text())
    content = (tmp_path / "data" / "0.csv.gz").read_bytes()
    checksum = hashlib.md5(content, usedforsecurity=False).hexdigest()
    said["files"] = [{"key": "inventory/x/data/0.csv.gz", "size": len(content), "MD5checksum": checksum}]
    (report / "manifest.json").write_text(json.dumps(said))

    with open_inventory(str(report), driver, BUCKET) as inventory:
        assert inventory.repositories() == ["a+b%/c"]
        assert inventory.stored() == (1, 0)
        assert list(inventory.orphans()) == []
        # What has no time is young.
        assert [stat.modified for _, stat in inventory.walk(paths.layers("a+b%/c"))] == [1e18]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another bucket": ({"sourceBucket": "other"}, "about the bucket other, and the registry is in images"),
    "ORC": ({"fileFormat": "ORC"}, "format is ORC; CSV and Parquet"),
    "no size": ({"fileSchema": "Bucket, Key, LastModifiedDate"}, "has no Size: add the field"),
    "no time": ({"fileSchema": "Bucket, Key, Size"}, "has no LastModifiedDate: add the field"),
    "no files": ({"files": []}, "names no files"),
    "a file that is not there": (
        {"files": [{"key": "inventory/x/data/9.csv.gz", "size": 1, "MD5checksum": ""}]},
        "9.csv.gz is not there: the report is incomplete",
    ),
    "of the future": ({"creationTimestamp": "9999999999999"}, "of the future"),
    "no manifest": ({"files": 7}, "is not the manifest.json of an S3 Inventory report"),
    "a file from above": (
        {"files": [{"key": "../../etc/passwd", "size": 1, "MD5checksum": ""}]},
        "is not there",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_report_that_cannot_be_used_is_refused_in_a_line(
    client: RegistryClient, tmp_path: Path, kind: str
) -> None:
    changed, message = REFUSED[kind]
    with (
        pytest.raises(ConfigError, match=r"^--inventory: ") as raised,
        opened(client.driver, tmp_path, **changed),
    ):
        pass
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content[:-1] + b"x"])
def test_a_file_that_is_not_what_its_report_says_is_refused(
    client: RegistryClient, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    report = write_report(tmp_path, client.driver)
    file = tmp_path / "data" / "1.csv.gz"
    file.write_bytes(damage(file.read_bytes()))
    with (
        pytest.raises(ConfigError, match=r"1\.csv\.gz (has \d+ bytes, and|is damaged)"),
        open_inventory(str(report), client.driver, BUCKET),
    ):
        pass


@pytest.mark.parametrize("below", [paths.BLOBS, paths.REPOSITORIES, paths.repository("team")])
def test_a_report_that_is_filtered_by_a_prefix_is_refused(
    client: RegistryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setattr(inventory_module, "_SETTLED", 0.0)
    rows = [row for row in rows_of(client.driver) if ("/" + row[0]).startswith(below)]
    with (
        pytest.raises(ConfigError, match="is the report filtered by a prefix"),
        opened(client.driver, tmp_path, rows=rows),
    ):
        pass
    with opened(client.driver, tmp_path / "whole"):
        pass


def test_without_duckdb_the_extra_is_named(
    client: RegistryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with (
        pytest.raises(ConfigError, match=r"install cfmiddleware\[inventory\]"),
        open_inventory(str(tmp_path), client.driver, BUCKET),
    ):
        pass
