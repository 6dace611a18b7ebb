"""What of a repository stays and what goes: the rules of a collection, without the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cfmiddleware.digest import Digest

from .aside import AsideLink
from .census import Census
from .fingerprints import Fingerprints, fingerprint_of
from .linktable import Link, LinkTable
from .remembered import Known


@dataclass(frozen=True)
class Rules:
    """What a collection takes.

    :param grace: how many seconds old a link must be to be set aside, and how many seconds bytes must have
        been without a link before they are deleted.
    :param deleteuntagged: whether manifests go that no tag names.
    :param olderthan: how many seconds old an untagged manifest must be.
    :param besidedistribution: whether links and bytes go while Distribution pushes into the storage.
    """

    grace: float = 24 * 3600
    deleteuntagged: bool = False
    olderthan: float = 7 * 24 * 3600
    besidedistribution: bool = False


@dataclass
class Verdict:
    """What becomes of a repository.

    :param name: the repository's name.
    :param layers: the links of blobs that are set aside.
    :param revisions: the links of manifests that are set aside.
    :param restored: links that an earlier collection set aside and that are needed again.
    :param kept: fingerprints of all bytes that must stay, whatever becomes of the links.
    :param loosened: fingerprints of the bytes that the links above name.
    :param unreadable: manifests that keep everything of the repository, because nobody can tell what they
        refer to.
    :param broken: tags that keep all manifests of the repository, because nobody can tell what they name.
    """

    name: str
    layers: dict[Digest, Link] = field(default_factory=dict)
    revisions: dict[Digest, Link] = field(default_factory=dict)
    restored: list[AsideLink] = field(default_factory=list)
    kept: Fingerprints = field(default_factory=Fingerprints)
    loosened: Fingerprints = field(default_factory=Fingerprints)
    unreadable: list[Digest] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def judge(
    census: Census,
    known: Callable[[Digest], Known | None],
    rules: Rules,
    now: float,
    aside: Iterable[AsideLink] = (),
) -> Verdict:
    """Return what becomes of a repository.

    :param known: returns what a manifest of the repository refers to, or None if nobody can tell.
    :param now: the storage's time in Unix seconds.
    :param aside: the repository's links that earlier collections have set aside.
    """
    verdict = Verdict(census.name, broken=census.broken)
    verdict.revisions = _untagged(census, known, rules, now) if rules.deleteuntagged else {}
    needed = verdict.kept
    for digest in census.revisions:
        found = known(digest)
        if found is None:
            verdict.unreadable.append(digest)
        if digest not in verdict.revisions:
            needed.add(fingerprint_of(digest))
            if found is not None:
                needed.update(found.refers_to())
    aside = tuple(aside)
    # Distribution looks for the bytes of a sha512 blob by a link of their own, under their sha256.
    linked = (*census.layers.others(), *((gone.name, gone.data) for gone in aside if gone.kind == "layer"))
    needed.update([fingerprint_of(data) for name, data in linked if fingerprint_of(name) in needed])
    if not verdict.unreadable:
        old = now - rules.grace
        for place, number, modified, _ in census.layers.numbered():
            if modified < old and number not in needed:
                name, link = census.layers.at(place)
                verdict.layers[name] = link
    for gone in aside:
        there = census.layers if gone.kind == "layer" else census.revisions
        wanted = fingerprint_of(gone.name) in needed or (bool(verdict.unreadable) and gone.kind == "layer")
        if wanted and gone.name not in there:
            verdict.restored.append(gone)
    _name_data(verdict, census.layers, verdict.layers)
    _name_data(verdict, census.revisions, verdict.revisions)
    verdict.kept.update(fingerprint_of(gone.data) for gone in verdict.restored)
    return verdict


def _name_data(verdict: Verdict, links: LinkTable, going: Mapping[Digest, Link]) -> None:
    """Tell the bytes that links name: those that stay for a link, and those that may go with it."""
    gone = Fingerprints(map(fingerprint_of, going))
    loosened = []

    def kept() -> Iterator[int]:
        for place, number, _, data in links.numbered():
            named = number if data is None else fingerprint_of(data)
            if number in gone and links.at(place)[0] in going:
                loosened.append(named)
            else:
                yield named

    verdict.kept.update(kept())
    verdict.loosened.update(loosened)


def _untagged(
    census: Census, known: Callable[[Digest], Known | None], rules: Rules, now: float
) -> dict[Digest, Link]:
    """Return the manifests that no tag leads to and that are not young.

    One that nobody can read may refer to all others, and keeps them; so does a tag that may name any. What a
    manifest that stays refers to stays as well, and so does what is about it.
    """
    if census.broken:
        return {}
    young = now - max(rules.olderthan, rules.grace)
    revisions = census.revisions
    by_number: dict[int, list[int]] = {}
    about: dict[int, list[int]] = {}
    tagged = set(census.tags.values())
    waiting = []
    for place, number, modified, _ in revisions.numbered():
        digest = revisions.at(place)[0]
        found = known(digest)
        if found is None:
            return {}
        by_number.setdefault(number, []).append(place)
        if found.subject:
            about.setdefault(found.subject, []).append(place)
        if digest in tagged or modified >= young:
            waiting.append(place)
    kept = bytearray(len(revisions))
    while waiting:
        place = waiting.pop()
        if kept[place]:
            continue
        kept[place] = 1
        digest = revisions.at(place)[0]
        found = known(digest)
        for number in () if found is None else found.refers_to():
            waiting += by_number.get(number, ())
        waiting += about.get(fingerprint_of(digest), ())
    return dict(revisions.at(place) for place, stays in enumerate(kept) if not stays)
