"""Storages whose objects are older than they are, and purges of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cfmiddleware.registry.purging.purger import Purger

HOUR, DAY = 3600.0, 86400.0

UPLOADS = "/docker/registry/v2/repositories/"


def make_older(driver: Any, seconds: float, below: str = "/") -> None:
    """Have all objects of a storage, in memory or on a disk, be older by so many seconds."""
    if driver.name == "inmemory":
        for path, (content, modified) in [*driver._objects.items()]:
            if path.startswith(below):
                driver._objects[path] = (content, modified - seconds)
        return
    for path, stat in [*driver.walk(below)]:
        os.utime(Path(driver.describe() + path), (stat.modified - seconds,) * 2)


def purger(driver: Any, age: float = HOUR, **more: Any) -> Purger:
    """Return what purges uploads to which nobody has written for an hour."""
    return Purger(driver, age, **more)


def of_uploads(driver: Any) -> set[str]:
    """Return the objects of all uploads, by their paths below their repositories' folder."""
    found = (path.removeprefix(UPLOADS) for path, _ in driver.walk(UPLOADS))
    return {path for path in found if "/_uploads/" in path}
