"""The section ``retention`` of a configuration, which Distribution does not have::

retention:
  - repositories: "*"
    protect: ["release-*"]        # they never go
    immutable: ["v*"]             # they never go and never move
  - repositories: "team/*"
    tags: "ci-*"
    keep: {last: 20, younger: 30d}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.retention.tagrules import Keep, TagPolicy, TagRule

from .purgeoptions import some_time

_REPOSITORY = re.compile(r"[a-z0-9._/*?-]{1,255}")
_TAG = re.compile(r"[A-Za-z0-9_*?][A-Za-z0-9._*?-]{0,127}")
_LIST: dict[str, str] = {"form": "list"}
_EVERY = ("*",)


def _repositories(value: object, name: str) -> tuple[str, ...]:
    return _patterns(value, name, _REPOSITORY, "a repository's name has a-z 0-9 . _ - and /")


def _tags(value: object, name: str) -> tuple[str, ...]:
    return _patterns(value, name, _TAG, "a tag has A-Z a-z 0-9 _ . - and begins with none of . and -")


def _patterns(value: object, name: str, form: re.Pattern[str], why: str) -> tuple[str, ...]:
    if isinstance(value, bool | float):
        raise ConfigError(f"{name}: {value!r} is not text; put it in quotes")
    found = parse.words(value if isinstance(value, list | tuple | str) else [value], name)
    if not found:
        raise ConfigError(f"{name}: is empty; write '*' for all")
    for pattern in found:
        if not form.fullmatch(pattern):
            raise ConfigError(
                f"{name}: {pattern[:60]!r} fits nothing: {why}; in a pattern * stands for any letters and ? "
                "for one"
            )
    return found


def _younger(value: object, name: str) -> float:
    seconds = parse.period(value, name)
    if seconds < 1:
        raise ConfigError(f"{name}: {value!r} must be at least 1s")
    return seconds


@dataclass(frozen=True)
class KeepOptions:
    """Which tags of a rule stay: those that either option keeps. ``keep: all`` keeps all of them.

    :param last: how many, those that were moved last. Of tags that were moved at the same time, the one with
        the higher number in its name is newer, so that ``ci-10`` comes after ``ci-9``.
    :param younger: for how long after a tag was last moved, with a unit: ``30d``, ``12h``, ``90s``.
    """

    last: int | None = field(default=None, metadata={"form": "number"})
    younger: float | None = field(default=None, metadata={"form": "duration"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"last": parse.positive, "younger": _younger}


@dataclass(frozen=True)
class RetentionOptions:
    """An entry of the list. In its patterns ``*`` stands for any letters, slashes included, and ``?`` for
    one; several patterns are a list.

    :param repositories: the repositories that it is about; required with *keep*, else all.
    :param tags: the tags that *keep* is about, by default all. Those that are named after a digest
        (``sha256-...``: signatures of cosign, fallback tags) are meant only by a pattern that begins so.
    :param keep: which of these tags stay; the others go. A tag goes by the first entry with *keep* that has
        it, and never without one.
    :param protect: tags that go by no entry, wherever it stands, and that clients cannot delete. They may be
        moved. Upper and lower case are the same here.
    :param immutable: tags that are protected and cannot be moved to another manifest either.
    """

    repositories: tuple[str, ...] = field(default=(), metadata=_LIST)
    tags: tuple[str, ...] = field(default=(), metadata=_LIST)
    keep: KeepOptions | None = field(default=None, metadata={"form": "section"})
    protect: tuple[str, ...] = field(default=(), metadata=_LIST)
    immutable: tuple[str, ...] = field(default=(), metadata=_LIST)

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "repositories": _repositories,
        "tags": _tags,
        "keep": parse.section,
        "protect": _tags,
        "immutable": _tags,
    }


@dataclass(frozen=True)
class RetainOptions:
    """Retention that begins by itself (``storage.maintenance.retention``).

    :param enabled: whether the servers apply the rules of the section ``retention``.
    :param interval: how long after they were applied they are applied again. The first time is within an hour
        of the start.
    """

    enabled: bool = False
    interval: float = field(default=24 * 3600.0, metadata={"form": "duration"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"enabled": parse.boolean, "interval": some_time}


def read_retention(value: object) -> TagPolicy:
    """Return the rules of the section.

    :raises ConfigError: for an unknown option, and for a rule that could not be meant.
    """
    if value is None or value == []:
        return TagPolicy()
    if not isinstance(value, list):
        raise ConfigError("retention: must be a list of entries, each with 'keep', 'protect' or 'immutable'")
    return TagPolicy([_rule(entry, f"retention[{index}]") for index, entry in enumerate(value)])


def _rule(entry: object, place: str) -> TagRule:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{place}: must be a section with 'keep', 'protect' or 'immutable'")
    given = dict(entry)
    parse.refuse_unknown(given, RetentionOptions.PARSERS, f"{place}.")
    _refuse_empty(given, place)
    if not given.keys() & {"keep", "protect", "immutable"}:
        raise ConfigError(f"{place}: has neither keep, protect nor immutable, so it does nothing")
    keep = None
    if "keep" in given:
        if "repositories" not in given:
            raise ConfigError(f"{place}.repositories: is required with keep; write '*' for all")
        keep = _keep(given.pop("keep"), f"{place}.keep")
    elif "tags" in given:
        raise ConfigError(f"{place}.tags: is about keep; write these tags under protect or immutable")
    options = parse.options(RetentionOptions, given, place, keep=keep)
    return TagRule(
        place,
        options.repositories or _EVERY,
        options.tags or _EVERY,
        None if keep is None else Keep(keep.last, keep.younger),
        options.protect,
        options.immutable,
    )


def _keep(value: Any, place: str) -> KeepOptions:
    if isinstance(value, str) and value.strip().lower() == "all":
        return KeepOptions()
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place}: must be all, or a section with 'last', 'younger' or both")
    parse.refuse_unknown(value, KeepOptions.PARSERS, f"{place}.")
    _refuse_empty(value, place)
    return parse.options(KeepOptions, value, place)


def _refuse_empty(given: Mapping[str, Any], place: str) -> None:
    """Refuse an option that says nothing. Elsewhere such a one has its default; here that may be all tags."""
    for name, value in given.items():
        if value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip()):
            raise ConfigError(f"{place}.{name}: is empty")
