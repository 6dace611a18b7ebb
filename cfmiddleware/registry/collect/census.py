"""What a repository has, as its listings show it: links, revisions, tags, with the times of the storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from cfmiddleware.digest import HEX_LENGTHS, Digest
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.links import has_link, read_link
from cfmiddleware.storage.driver import Driver, Stat

from .linktable import Link, LinkTable

# Bytes below the folder of all: sha256/ab/ab12.../data. There may be millions.
_DATA = re.compile(r"(\w+)/([0-9a-f]{2})/(\2[0-9a-f]+)/data")


@dataclass
class Census:
    """What a repository has.

    :param name: the repository's name.
    :param layers: its blobs' links, by name.
    :param revisions: its manifests' links, by name.
    :param tags: each tag's manifest, as far as tags were asked for.
    :param broken: the tags whose links hold no digest.
    :param requests: how many requests of each kind it took.
    """

    name: str
    layers: LinkTable = field(default_factory=LinkTable)
    revisions: LinkTable = field(default_factory=LinkTable)
    tags: dict[str, Digest] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    requests: Mapping[str, int] = field(default_factory=dict)


#: Yields the objects below a prefix, as :meth:`Driver.walk` does.
Walk = Callable[[str], Iterator[tuple[str, Stat]]]


def take_census(
    driver: Driver, name: str, *, tags: bool, walk: Walk | None = None, reading: SideBySide | None = None
) -> Census:
    """List a repository.

    The links of blobs come first, and the manifests that may refer to them after: what is pushed between the
    two is seen as referred to, if at all.

    :param tags: whether the tags' manifests are wanted.
    :param walk: lists the repository; by default the driver does.
    :param reading: reads several tags at a time; by default they are read one after the other.
    """
    walk = walk or driver.walk
    census = Census(name)
    folder = paths.layers(name)
    for path, stat in walk(folder):
        _add_link(driver, census.layers, folder, path, stat)
    folder, tag_folder = paths.revisions(name), paths.tags(name)
    named: dict[str, None] = {}
    # Tags have more objects than manifests, and are not listed where nobody asks for them.
    for path, stat in walk(paths.manifests(name) if tags else folder):
        if path.startswith(folder):
            _add_link(driver, census.revisions, folder, path, stat)
        elif path.startswith(tag_folder):
            tag, _, rest = path[len(tag_folder) :].partition("/")
            if rest == paths.CURRENT_LINK:
                named[tag] = None

    def current_of(tag: str) -> Digest | None:
        return read_link(driver, paths.tag_current(name, tag))

    found = map(current_of, named) if reading is None else reading.map(current_of, named)
    for tag, current in zip(named, found, strict=True):
        if current is not None:
            census.tags[tag] = current
        elif has_link(driver, paths.tag_current(name, tag)):  # and was not deleted just now
            census.broken.append(tag)
    return census


def repository_names(
    driver: Driver, listing: SideBySide, uploading: Callable[[str], object] = lambda _: None
) -> Iterator[str]:
    """Yield all repositories, in no special order; folders of one depth are listed at the same time.

    :param uploading: is told of each that has uploads, or nothing else yet.
    """
    waiting = [""]
    while waiting:
        below: list[str] = []
        for name, entries in listing.map(partial(_entries, driver), waiting):
            if name and "_uploads/" in entries:
                uploading(name)
            if name and ("_manifests/" in entries or "_layers/" in entries):
                yield name
            folders = (entry[:-1] for entry in entries if entry.endswith("/") and entry[0] != "_")
            below += (f"{name}/{folder}" if name else folder for folder in folders)
        waiting = below


def _entries(driver: Driver, name: str) -> tuple[str, Sequence[str]]:
    folder = paths.repository(name) if name else paths.REPOSITORIES
    return name, driver.list(folder, hollow=lambda entry: entry[0] != "_")


def _add_link(driver: Driver, table: LinkTable, folder: str, path: str, stat: Stat) -> None:
    """Add what a folder of links has at *path*, if it is the link of a digest."""
    algorithm, _, rest = path[len(folder) :].partition("/")
    hexadecimal, _, last = rest.partition("/")
    # A link of the usual length names its own digest, or none at all.
    if (
        last == "link"
        and stat.size == len(algorithm) + 1 + len(hexadecimal)
        and table.add_plain(algorithm, hexadecimal, stat.modified)
    ):
        return
    digest = digest_of_link(path)
    if digest is not None:
        data = _data(driver, path, digest, stat)
        # A link that holds no digest, or other bytes' one, counts as missing for clients too.
        table.add(digest, Link(data or digest, stat.modified))


def digest_of_link(path: str) -> Digest | None:
    """Return the digest in the path of a link, or None for an object that is no link of a digest."""
    parts = path.split("/")
    if len(parts) < 3 or parts[-1] != "link":
        return None
    try:
        return Digest.parse(f"{parts[-3]}:{parts[-2]}")
    except ValueError:
        return None


def _data(driver: Driver, path: str, digest: Digest, stat: Stat) -> Digest | None:
    """Return what a link names. A link of the usual length names its own digest, or none at all."""
    if stat.size == len(str(digest)):
        return digest
    return read_link(driver, path, digest)


def blobs(driver: Driver) -> Iterator[tuple[Digest, Stat]]:
    """Yield every digest whose bytes are in the storage."""
    for path, stat in driver.walk(paths.BLOBS):
        digest = digest_of_data(path)
        if digest is not None:
            yield digest, stat


def digest_of_data(path: str) -> Digest | None:
    """Return the digest in the path of a blob's bytes, or None for another object."""
    named = _DATA.fullmatch(path, len(paths.BLOBS))
    if named is None:
        return None
    algorithm, _, hexadecimal = named.groups()
    return Digest(algorithm, hexadecimal) if len(hexadecimal) == HEX_LENGTHS.get(algorithm) else None
