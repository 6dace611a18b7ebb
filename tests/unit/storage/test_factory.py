"""What the rest of the package asks of a driver besides objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cfmiddleware.errors import ConfigError
from cfmiddleware.storage.driver import Driver
from cfmiddleware.storage.factory import DRIVERS, storage_driver

S3 = {"bucket": "images", "region": "eu-west-1", "rootdirectory": "/team/prod"}


def made(name: str, here: Path = Path("/here"), **given: Any) -> Driver:
    return storage_driver(name, given, "storage", here)


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_has_the_name_that_it_is_asked_for_by(name: str):
    assert DRIVERS[name]().name == name


@pytest.mark.parametrize("name", DRIVERS)
def test_an_unknown_option_is_told_with_its_place(name: str):
    given = {"nonsense": 1, **(S3 if name == "s3" else {})}
    with pytest.raises(ConfigError, match=rf"^edge\.storage\.{name}\.nonsense: there is no such option"):
        storage_driver(name, given, "edge.storage", Path())


def test_a_relative_directory_is_relative_to_the_file():
    assert made("filesystem", rootdirectory="objects").describe() == "/here/objects"
    assert made("filesystem", rootdirectory="/objects").describe() == "/objects"
    assert made("filesystem").describe() == "/var/lib/registry"


@pytest.mark.parametrize(
    ("name", "given", "shown"),
    [
        ("s3", S3, "s3://images/team/prod"),
        ("s3", {**S3, "rootdirectory": ""}, "s3://images/"),
        ("filesystem", {"rootdirectory": "/"}, "/"),
        ("inmemory", {}, "in memory: it is gone when the server stops; each worker has its own"),
    ],
)
def test_where_the_objects_are_is_told_to_people(name: str, given: dict[str, Any], shown: str):
    assert made(name, **given).describe() == shown


def test_only_a_memory_is_not_seen_by_other_processes():
    assert [name for name in DRIVERS if not DRIVERS[name]().shared] == ["inmemory"]


def test_only_s3_signs_urls_and_for_its_own_bucket():
    assert made("inmemory").presigner is made("filesystem").presigner is None
    presigner = made("s3", **S3).presigner
    assert presigner is not None
    assert presigner.bucket == "images"


def test_a_place_is_told_from_others():
    places = [
        made("s3", **S3),
        made("s3", **S3 | {"bucket": "other"}),
        made("s3", **S3 | {"rootdirectory": "/team/dev"}),
        made("s3", **S3 | {"region": "eu-west-3"}),
        made("s3", **S3 | {"regionendpoint": "https://s3.example.com"}),
        made("filesystem", rootdirectory="/team/prod"),
        made("filesystem", rootdirectory="team/prod"),
        made("inmemory"),
        made("inmemory"),
    ]

    identities = [place.identity() for place in places]

    assert len(set(identities)) == len(places)
    assert all(identity.isalnum() for identity in identities)
    assert [place.identity() for place in places] == identities


def test_a_place_is_the_same_however_it_is_written(tmp_path: Path):
    (tmp_path / "objects").mkdir()
    (tmp_path / "link").symlink_to("objects")
    directories = [
        made("filesystem", tmp_path, rootdirectory=name) for name in ("objects", "link", "./objects/")
    ]
    assert len({directory.identity() for directory in directories}) == 1
    assert made("s3", **S3).identity() == made("s3", **S3 | {"rootdirectory": "team/prod/"}).identity()
