"""Blobs that the storage has: one to pull, or a few to be asked for beside a check's own object."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.registry.catalog import repositories
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.links import read_link
from cfmiddleware.storage.driver import Driver

# Repositories and their layers that are looked at.
_REPOSITORIES, _LAYERS = 20, 20


class Pulled(NamedTuple):
    """A blob that can be pulled."""

    repository: str
    digest: Digest


def blobs_there(driver: Driver) -> Iterator[Pulled]:
    """Yield a blob of each of the first repositories that have one: the smallest of its first few.

    :raises StorageUnavailable: where the storage does not say.
    """
    for repository in islice(repositories(driver), _REPOSITORIES):
        found: list[tuple[int, Pulled]] = []
        folder = paths.repository(repository) + "_layers/sha256/"
        for name in driver.list(folder)[:_LAYERS]:
            try:
                digest = Digest.parse("sha256:" + name.rstrip("/"))
                if read_link(driver, paths.layer_link(repository, digest), digest) is not None:
                    size = driver.stat(paths.blob_data(digest)).size
                    found.append((size, Pulled(repository, digest)))
            except (ValueError, ObjectNotFound):
                continue
        if found:
            yield min(found, key=lambda each: each[0])[1]
