"""Why a collection leaves a digest or takes it, in words."""

from __future__ import annotations

from collections.abc import Iterator

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.registry.catalog import repositories
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .aside import aside_lists
from .census import Census, take_census
from .condemned import storage_time
from .fingerprints import fingerprint_of
from .references import references
from .remembered import Known
from .verdict import Rules, judge


def why(driver: Driver, digest: Digest, rules: Rules) -> Iterator[str]:
    """Yield lines that say what names a digest, and what a collection does with it.

    Every repository is looked at, and every manifest read, so it takes as long as a first collection.
    """
    now = storage_time(driver)
    named = False
    for name in repositories(driver):
        census = take_census(driver, name, tags=True)
        for line in _in_repository(driver, census, digest, rules, now):
            named = True
            yield f"{name}: {line}"
    for aside in aside_lists(driver):
        for link in aside.links:
            if digest in (link.name, link.data):
                yield f"{link.repository}: its link was set aside {_ago(now - aside.written)}"
    yield _data(driver, digest, named, rules, now)


def _in_repository(driver: Driver, census: Census, digest: Digest, rules: Rules, now: float) -> Iterator[str]:
    known: dict[Digest, Known | None] = {}
    for manifest, link in census.revisions.items():
        known[manifest] = None
        try:
            found = references(driver.read(paths.blob_data(link.data)))
        except ObjectNotFound:
            found = None
        if found is None:
            yield f"{manifest} cannot be read as a manifest, so nothing of the repository goes"
            continue
        known[manifest] = Known.of(found)
        if found.subject == digest:
            yield f"{manifest} is about it{_tagged(census, manifest)}"
        elif digest in found.digests:
            yield f"{manifest} refers to it{_tagged(census, manifest)}"
    verdict = judge(census, known.get, rules, now)
    if digest in census.revisions:
        fate = "is set aside" if digest in verdict.revisions else "stays"
        age = _ago(now - census.revisions[digest].modified)
        yield f"it is a manifest, written {age}, and {fate}{_tagged(census, digest)}"
    for name, link in census.layers.items():
        if digest in (name, link.data):
            if name in verdict.layers:
                fate = "is set aside: no manifest that stays refers to it"
            elif fingerprint_of(name) in verdict.kept and not _is_young(link.modified, rules, now):
                fate = "stays"
            else:
                fate = "stays while it is younger than the grace period"
            yield f"the link, written {_ago(now - link.modified)}, {fate}"


def _is_young(modified: float, rules: Rules, now: float) -> bool:
    return modified >= now - rules.grace


def _tagged(census: Census, manifest: Digest) -> str:
    tags = sorted(tag for tag, named in census.tags.items() if named == manifest)
    return f" (tag {', '.join(tags[:5])}{', ...' if len(tags) > 5 else ''})" if tags else ""


def _data(driver: Driver, digest: Digest, named: bool, rules: Rules, now: float) -> str:
    try:
        stat = driver.stat(paths.blob_data(digest))
    except ObjectNotFound:
        return "the storage has no such bytes"
    text = f"its {stat.size} bytes were written {_ago(now - stat.modified)}"
    if named:
        return f"{text} and stay for as long as a link or a manifest names them"
    if _is_young(stat.modified, rules, now):
        return f"{text} and stay for the grace period, though nothing names them"
    return f"{text}; nothing names them, and they go when that has been so for the grace period"


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} seconds ago"
