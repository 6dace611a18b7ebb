"""The rules of the section ``retention``: which tags may go, and which never do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple

# Tags that are about a manifest: fallback tags ("Referrers Tag Schema") and what cosign names after a digest.
_ABOUT = re.compile(r"sha(?:256|512)-[0-9a-f]{32,}(?:\..*)?+")
_NAMES_THEM = ("sha256-", "sha512-")


@dataclass(frozen=True)
class Keep:
    """Which of the tags of a rule stay: those that any of the two keeps; all of them if there is neither.

    :param last: how many, those that were moved last.
    :param younger: for how many seconds after a tag was last moved.
    """

    last: int | None = None
    younger: float | None = None

    @property
    def all(self) -> bool:
        """Whether every tag stays."""
        return self.last is None and self.younger is None


class Protection(NamedTuple):
    """Why a tag never goes.

    :param pattern: the pattern that the tag has.
    :param immutable: whether it may not be moved either.
    """

    pattern: str
    immutable: bool

    def __str__(self) -> str:
        return f"{'immutable' if self.immutable else 'protect'}: {self.pattern}"


@dataclass(frozen=True)
class TagRule:
    """One entry of the section.

    In patterns ``*`` stands for any letters, slashes included, and ``?`` for one. Those of protected tags
    take no notice of upper and lower case, so that no storage that does not tell them apart loses a tag.

    :param place: what messages call the entry, such as ``retention[0]``.
    :param repositories: patterns of repositories.
    :param tags: patterns of the tags that *keep* is about.
    :param keep: which of these stay; None for an entry that only protects.
    :param protect: patterns of tags that never go.
    :param immutable: patterns of tags that never go and never move.
    """

    place: str
    repositories: tuple[str, ...]
    tags: tuple[str, ...] = ("*",)
    keep: Keep | None = None
    protect: tuple[str, ...] = ()
    immutable: tuple[str, ...] = ()

    def covers(self, repository: str) -> bool:
        """Return whether the entry is about a repository."""
        return _any_of(self.repositories).fullmatch(repository) is not None

    def takes(self, tag: str) -> bool:
        """Return whether *keep* is about a tag, in a repository that the entry covers."""
        patterns = self.tags
        if is_about_a_manifest(tag):
            patterns = tuple(pattern for pattern in patterns if pattern.startswith(_NAMES_THEM))
        return self.keep is not None and _any_of(patterns).fullmatch(tag) is not None

    def protection(self, tag: str) -> Protection | None:
        """Return why a tag never goes, in a repository that the entry covers; None if this entry does not say
        so.
        """
        # Clients move tags that are about a manifest again and again, which "*" is not meant to forbid.
        about = is_about_a_manifest(tag)
        for pattern in self.immutable:
            is_meant = not about or pattern.lower().startswith(_NAMES_THEM)
            if is_meant and _of_any_case(pattern).fullmatch(tag):
                return Protection(pattern, immutable=True)
        for pattern in self.protect:
            if _of_any_case(pattern).fullmatch(tag):
                return Protection(pattern, immutable=False)
        return None


class TagPolicy:
    """All entries of the section; without one nothing goes and nothing is protected.

    :param rules: the entries, in their order.
    """

    def __init__(self, rules: Sequence[TagRule] = ()) -> None:
        self.rules = tuple(rules)
        self._keeping = tuple(rule for rule in self.rules if rule.keep is not None)
        self._protecting = tuple(rule for rule in self.rules if rule.protect or rule.immutable)

    @property
    def may_take(self) -> bool:
        """Return whether tags may go at all."""
        return bool(self._keeping)

    def may_take_of(self, repository: str) -> bool:
        """Return whether tags of a repository may go."""
        return any(rule.covers(repository) for rule in self._keeping)

    def protects_in(self, repository: str) -> bool:
        """Return whether tags of a repository may be protected."""
        return any(rule.covers(repository) for rule in self._protecting)

    def rule_of(self, repository: str, tag: str) -> TagRule | None:
        """Return the first entry that says which tags stay and has this one, or None."""
        return next((rule for rule in self._keeping if rule.covers(repository) and rule.takes(tag)), None)

    def protection(self, repository: str, tag: str) -> Protection | None:
        """Return why a tag never goes, whatever the order of the entries; None if it may."""
        found = [
            why
            for rule in self._protecting
            if rule.covers(repository) and (why := rule.protection(tag)) is not None
        ]
        return max(found, key=lambda why: why.immutable, default=None)

    def is_immutable(self, repository: str, tag: str) -> bool:
        """Return whether a tag may not be moved to another manifest."""
        why = self.protection(repository, tag)
        return why is not None and why.immutable


def is_about_a_manifest(tag: str) -> bool:
    """Return whether a tag is named after a digest, as fallback tags and signatures of cosign are. Only a
    pattern that begins like it takes it: signatures are not to go before what they sign.
    """
    return _ABOUT.fullmatch(tag) is not None


@lru_cache(maxsize=1024)
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # Of no pattern at all, one that nothing has.
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")


@lru_cache(maxsize=1024)
def _of_any_case(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern), re.IGNORECASE | re.ASCII)
