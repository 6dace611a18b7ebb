"""Tags while a push and a delete meet."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.links import write_link
from cfmiddleware.registry.tags import Tags
from cfmiddleware.storage.memory import MemoryDriver

DIGEST = Digest.of(b"manifest")


class Spied(MemoryDriver):
    """A driver that says what was deleted, and lets something happen then."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: list[str] = []

    def delete(self, paths: Iterable[str]) -> None:
        listed = list(paths)
        self.deleted += listed
        super().delete(listed)
        self.happens()

    def happens(self) -> None:
        """Do nothing; a test puts something else here."""


@pytest.fixture
def driver() -> Spied:
    return Spied()


def test_tags_of_a_manifest_that_was_pushed_again_are_never_gone(driver: Spied):
    tags = Tags(driver, None)
    for name in ("a", "b"):
        tags.announce("app", name, DIGEST)
        tags.point("app", name, DIGEST)
    write_link(driver, paths.revision_link("app", DIGEST), DIGEST)  # the push that goes on meanwhile

    tags.forget("app", DIGEST)

    assert driver.deleted == []
    assert [tags.current("app", name) for name in ("a", "b")] == [DIGEST, DIGEST]


def test_a_push_in_the_middle_spares_the_tags_that_are_left_and_gets_its_own_back(driver: Spied):
    tags = Tags(driver, None)
    for name in ("a", "b"):
        tags.announce("app", name, DIGEST)
        tags.point("app", name, DIGEST)
    driver.happens = lambda: write_link(driver, paths.revision_link("app", DIGEST), DIGEST)

    tags.forget("app", DIGEST)

    assert [tags.current("app", name) for name in ("a", "b")] == [DIGEST, DIGEST]
    assert not any(path.startswith(paths.tag("app", "b")) for path in driver.deleted)
