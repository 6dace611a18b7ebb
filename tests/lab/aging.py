"""Tags that were moved long ago, in a storage in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from cfmiddleware.registry.retention.tagrules import Keep, TagPolicy, TagRule
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver
from lab.registry_client import RegistryClient


def age_tag(driver: MemoryDriver, repository: str, tag: str, seconds: float) -> None:
    """Make all that a tag has so many seconds old."""
    then = time.time() - seconds
    for path, _ in driver.walk(paths.tag(repository, tag)):
        driver._objects[path] = (driver._objects[path][0], then)


def push_aged(client: RegistryClient, repository: str, tags: Iterable[tuple[str, float]]) -> None:
    """Push an image under each of the tags, and make the tags so many seconds old."""
    for tag, seconds in tags:
        client.push_image(repository, tag, tag.encode())
        age_tag(client.driver, repository, tag, seconds)


def policy(*entries: dict[str, Any]) -> TagPolicy:
    """Return rules for all repositories, unless an entry says which."""
    made = []
    for place, entry in enumerate(entries):
        given = {"repositories": ("*",), **entry}
        if isinstance(given.get("keep"), dict):
            given["keep"] = Keep(**given["keep"])
        made.append(TagRule(f"retention[{place}]", **given))
    return TagPolicy(made)
