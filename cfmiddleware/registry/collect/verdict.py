"""What of a repository stays and what goes: the rules of a collection, without the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cfmiddleware.digest import Digest

from .aside import AsideLink
from .census import Census, Link
from .fingerprints import fingerprint_of
from .remembered import Known


@dataclass(frozen=True)
class Rules:
    """What a collection takes.

    :param grace: how many seconds old a link must be to be set aside, and how many seconds bytes must have
        been without a link before they are deleted.
    :param deleteuntagged: whether manifests go that no tag names.
    :param olderthan: how many seconds old an untagged manifest must be.
    """

    grace: float = 24 * 3600
    deleteuntagged: bool = False
    olderthan: float = 7 * 24 * 3600


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
    """

    name: str
    layers: dict[Digest, Link] = field(default_factory=dict)
    revisions: dict[Digest, Link] = field(default_factory=dict)
    restored: list[AsideLink] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    loosened: set[int] = field(default_factory=set)
    unreadable: list[Digest] = field(default_factory=list)


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
    verdict = Verdict(census.name)
    manifests = {digest: known(digest) for digest in census.revisions}
    verdict.unreadable = [digest for digest, found in manifests.items() if found is None]
    kept = _kept_manifests(census, manifests, rules, now)
    needed = {fingerprint_of(digest) for digest in kept}
    for digest in kept:
        found = manifests[digest]
        if found is not None:
            needed.update(found.refers_to())
    for digest, link in census.revisions.items():
        if digest not in kept:
            verdict.revisions[digest] = link
    if not verdict.unreadable:
        for digest, link in census.layers.items():
            if fingerprint_of(digest) not in needed and link.modified < now - rules.grace:
                verdict.layers[digest] = link
    verdict.kept = needed
    for links, goes in ((census.layers, verdict.layers), (census.revisions, verdict.revisions)):
        for digest, link in links.items():
            (verdict.loosened if digest in goes else verdict.kept).add(fingerprint_of(link.data))
    for gone in aside:
        there = census.layers if gone.kind == "layer" else census.revisions
        wanted = fingerprint_of(gone.name) in needed or (bool(verdict.unreadable) and gone.kind == "layer")
        if wanted and gone.name not in there:
            verdict.restored.append(gone)
            verdict.kept.add(fingerprint_of(gone.data))
    return verdict


def _kept_manifests(
    census: Census, manifests: dict[Digest, Known | None], rules: Rules, now: float
) -> set[Digest]:
    """Return the manifests that stay: all of them, or those that a tag leads to and those that are young.

    A manifest that nobody can read stays. So does what a manifest that stays refers to, and what is about it.
    """
    if not rules.deleteuntagged:
        return set(manifests)
    young = now - max(rules.olderthan, rules.grace)
    by_number: dict[int, list[Digest]] = {}
    about: dict[int, list[Digest]] = {}
    for digest, found in manifests.items():
        by_number.setdefault(fingerprint_of(digest), []).append(digest)
        if found is not None and found.subject:
            about.setdefault(found.subject, []).append(digest)
    tagged = set(census.tags.values())
    waiting = [
        digest
        for digest, found in manifests.items()
        if found is None or digest in tagged or census.revisions[digest].modified >= young
    ]
    kept: set[Digest] = set()
    while waiting:
        digest = waiting.pop()
        if digest in kept:
            continue
        kept.add(digest)
        found = manifests[digest]
        numbers = () if found is None else found.refers_to()
        for number in numbers:
            waiting += by_number.get(number, ())
        waiting += about.get(fingerprint_of(digest), ())
    return kept
