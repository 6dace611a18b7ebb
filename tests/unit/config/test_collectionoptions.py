"""What ``storage.maintenance.garbagecollect`` says."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Any

import pytest

from cfmiddleware.config import Config
from cfmiddleware.config.collectionoptions import CollectionOptions
from cfmiddleware.errors import ConfigError


def read(given: Any, driver: str = "filesystem") -> CollectionOptions:
    storage = {driver: {"rootdirectory": "/data"}, "maintenance": {"garbagecollect": given}}
    config = Config({"version": 0.1, "storage": storage, "http": {}}, "config.yml", Path("/"))
    return config.settings.storage.maintenance.garbagecollect


def test_it_is_off_by_default() -> None:
    assert read(None) == read({}) == CollectionOptions()
    assert not CollectionOptions().enabled


def test_all_of_it_can_be_said() -> None:
    options = read(
        {
            **{"enabled": True, "interval": "12h", "window": "22:00-04:30 Europe/Berlin", "grace": "3d"},
            **{"deleteuntagged": True, "olderthan": "30d", "parallel": 4, "requestspersecond": "20"},
        }
    )
    assert (options.enabled, options.interval, options.parallel) == (True, 12 * 3600, 4)
    assert options.window is not None
    assert (options.window.begin, str(options.window.zone)) == (time(22), "Europe/Berlin")
    rules = options.rules()
    assert (rules.grace, rules.deleteuntagged, rules.olderthan) == (3 * 86400, True, 30 * 86400)
    assert options.requestspersecond == 20


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"window": "2-5"}, "window: '2-5' is not a window; write it like 02:00-05:00"),
        ({"window": "02:00-02:00"}, "window: '02:00-02:00' ends when it begins"),
        ({"window": "02:00-05:00 Mars/Olympus"}, "window: .* names a zone, Mars/Olympus"),
        ({"interval": 0}, "interval: 0 is too short"),
        ({"interval": "daily"}, "interval: 'daily' is not a period"),
        ({"grace": "-1"}, "grace: "),
        ({"grace": 24}, "grace: 24 has no unit; write it like 30d, 12h or 90s"),
        ({"olderthan": "7"}, "olderthan: '7' has no unit"),
        ({"interval": "1d12"}, "interval: '1d12' has no unit"),
        ({"parallel": 0}, "parallel: 0 is not a whole number from 1 to 256"),
        ({"requestspersecond": "many"}, "requestspersecond: 'many' is not a whole number"),
        (
            {"delete-untagged": True},
            "delete-untagged: there is no such option .did you mean 'deleteunt",
        ),
        (True, "must be a section"),
    ],
)
def test_a_mistake_is_one_line(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^config.yml: storage.maintenance.garbagecollect.?.?{said}"):
        read(given)


def test_it_is_refused_where_distribution_uses_the_storage_too() -> None:
    tree = {
        "version": 0.1,
        "http": {},
        "storage": {
            "filesystem": {"rootdirectory": "/data"},
            "maintenance": {"garbagecollect": {"enabled": True}},
        },
        "validation": {"manifests": {"mediatypes": "distribution"}},
    }
    with pytest.raises(ConfigError, match="deletes nothing where Distribution uses the storage too"):
        Config(tree, "config.yml", Path("/"))


def test_the_memory_of_one_process_cannot_be_collected_by_another_one() -> None:
    with pytest.raises(ConfigError, match="is the memory of one process"):
        read({"enabled": True}, "inmemory")
