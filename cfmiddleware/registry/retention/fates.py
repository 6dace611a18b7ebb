"""What becomes of each tag of a repository, and why: the rules without the storage."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from cfmiddleware.digest import HEX_LENGTHS
from cfmiddleware.registry.tags import ListedTag

from .tagrules import Keep, TagPolicy, TagRule, is_about_a_manifest

#: How many bytes a link has.
LINK_SIZES = frozenset(len(algorithm) + 1 + length for algorithm, length in HEX_LENGTHS.items())

_DIGITS = re.compile(r"([0-9]+)")


class Fate(NamedTuple):
    """What becomes of a tag.

    :param repository: the name of its repository.
    :param tag: the tag as it was seen.
    :param goes: whether it is deleted.
    :param rule: the place of the entry that decides, such as ``retention[0]``; empty if none does.
    :param why: the reason, in words.
    :param broken: whether it stays because nobody can tell what it names.
    """

    repository: str
    tag: ListedTag
    goes: bool
    rule: str
    why: str
    broken: bool = False


def fates(repository: str, tags: Iterable[ListedTag], policy: TagPolicy, now: float) -> list[Fate]:
    """Return what becomes of the tags of a repository, in the order of their names.

    :param tags: all tags of the repository. One whose link has another size than a digest's is broken.
    :param now: the storage's time in Unix seconds.
    """
    decided: dict[str, Fate] = {}
    taken: dict[TagRule, list[ListedTag]] = {}
    for tag in tags:
        why = policy.protection(repository, tag.name)
        if why is not None:
            decided[tag.name] = Fate(repository, tag, False, "", f"protected ({why})")
        elif tag.size not in LINK_SIZES:
            decided[tag.name] = broken(repository, tag)
        elif (rule := policy.rule_of(repository, tag.name)) is not None:
            taken.setdefault(rule, []).append(tag)
        else:
            about = is_about_a_manifest(tag.name) and policy.may_take_of(repository)
            text = "named after a digest, and no rule names such tags" if about else "no rule"
            decided[tag.name] = Fate(repository, tag, False, "", text)
    for rule, listed in taken.items():
        for place, tag in enumerate(sorted(listed, key=_age, reverse=True), 1):
            goes, text = _judge(rule.keep or Keep(), place, now - tag.moved)
            decided[tag.name] = Fate(repository, tag, goes, rule.place, text)
    return [decided[name] for name in sorted(decided)]


def broken(repository: str, tag: ListedTag) -> Fate:
    """Return that a tag stays because its link holds no digest."""
    return Fate(repository, tag, False, "", "its link holds no digest", broken=True)


def _age(tag: ListedTag) -> tuple[float, list[tuple[int, str]], str]:
    """Return what tags are ordered by. Of those that were moved at the same time, numbers in their names
    count: ``ci-10`` is newer than ``ci-9``.
    """
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(tag.name)]
    return tag.moved, parts, tag.name


def _judge(keep: Keep, place: int, age: float) -> tuple[bool, str]:
    """Return whether a tag goes, and why.

    :param place: 1 for the tag that was moved last, of those that the rule takes.
    :param age: for how many seconds it has not been moved; less than 0 where the storage's clock was set
        back.
    """
    if keep.all:
        return False, "keep: all"
    against = []
    if keep.last is not None:
        if place <= keep.last:
            return False, f"{place} of the last {keep.last}"
        against.append(f"not one of the last {keep.last}")
    if keep.younger is not None:
        if age < keep.younger:
            return False, f"younger than {period(keep.younger)}"
        against.append(f"not younger than {period(keep.younger)}")
    return True, " and ".join(against)


def period(seconds: float) -> str:
    """Return a number of seconds as a configuration has it."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:g}s"
