"""The sections ``catalog``, ``tags`` and ``validation`` of a configuration.

They are Distribution's, with ``validation.manifests.layers`` and ``mediatypes`` added::

    catalog:
      maxentries: 1000
    tags:
      maxtags: 1000
    validation:
      disabled: false           # true: as platforms: none
      manifests:
        layers: all             # or none: images may be pushed without their layers
        mediatypes: all         # or distribution: those that its garbage collector can read
        urls:                   # where layers may be fetched from, as regular expressions
          allow: ["^https://example[.]com/"]
          deny: [/private/]
        indexes:
          platforms: all        # or none, or list: which images of an index must be there before it
          platformlist:         # those of the list
            - os: linux
              architecture: amd64
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.store.manifest import Required
from cfmiddleware.registry.store.urlpattern import Pattern
from cfmiddleware.registry.store.urlrules import URLRules

_SECTION = {"form": "section"}


def _patterns(value: object, name: str) -> tuple[Pattern, ...]:
    found = []
    for index, text in enumerate(value if isinstance(value, list) else [value]):
        place = f"{name}[{index}]"
        try:
            found.append(Pattern(parse.exact_text(text, place)))
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(f"{place}: {text!r} is not a regular expression: {error}") from None
    return tuple(found)


def _platforms(value: object, name: str) -> tuple[tuple[str, str], ...]:
    if value and not isinstance(value, list):
        raise _no_platforms(name)
    entries = value if isinstance(value, list) else []
    return tuple(_platform(entry, f"{name}[{index}]") for index, entry in enumerate(entries))


def _no_platforms(name: str) -> ConfigError:
    return ConfigError(f"{name}: must be a list of platforms, each with os and architecture")


def _platform(value: object, name: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: must have os and architecture")
    parse.refuse_unknown(value, ("os", "architecture"), f"{name}.")
    return (
        parse.text(value.get("os"), f"{name}.os"),
        parse.text(value.get("architecture"), f"{name}.architecture"),
    )


@dataclass(frozen=True)
class CatalogOptions:
    """The list of repositories.

    :param maxentries: how many repositories one page of the catalog has at the most.
    """

    maxentries: int = 1000

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"maxentries": parse.positive}


@dataclass(frozen=True)
class TagsOptions:
    """The lists of tags.

    :param maxtags: how many tags one page of a list has at the most; any number by default. With it, lists
        without ``n`` come in pages as well.
    """

    maxtags: int | None = None

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"maxtags": parse.positive}


@dataclass(frozen=True)
class URLOptions:
    """Where layers that are not pushed may be fetched from.

    :param allow: regular expressions, of which a URL must match one, if there is any.
    :param deny: regular expressions, of which it must match none.
    """

    allow: tuple[Pattern, ...] = field(default=(), metadata={"form": "list"})
    deny: tuple[Pattern, ...] = field(default=(), metadata={"form": "list"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"allow": _patterns, "deny": _patterns}


@dataclass(frozen=True)
class IndexOptions:
    """Which images of an index must be there before it.

    :param platforms: ``all`` of them, ``none``, or ``list``: those that *platformlist* names.
    :param platformlist: platforms, each with ``os`` and ``architecture``.
    """

    platforms: str = "all"
    platformlist: tuple[tuple[str, str], ...] = field(default=(), metadata={"form": "list of sections"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "platforms": partial(parse.choice, choices=("all", "none", "list")),
        "platformlist": _platforms,
    }


@dataclass(frozen=True)
class ManifestOptions:
    """What a manifest must be.

    :param layers: whether its layers must be there before it: ``all``, or ``none`` of them. Ours alone.
    :param mediatypes: ``all``, or ``distribution``: only the types that Distribution knows, for a storage
        that both use; others get 400. Ours alone.
    :param indexes: which images of an index must be there before it.
    :param urls: where layers that are not pushed may be fetched from.
    """

    layers: str = "all"
    mediatypes: str = "all"
    indexes: IndexOptions = field(default_factory=IndexOptions, metadata=_SECTION)
    urls: URLOptions | None = field(default=None, metadata=_SECTION)

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "layers": partial(parse.choice, choices=("all", "none")),
        "mediatypes": partial(parse.choice, choices=("all", "distribution")),
        "indexes": partial(parse.section_options, IndexOptions),
        "urls": partial(parse.section_options, URLOptions),
    }


@dataclass(frozen=True)
class ValidationOptions:
    """Which manifests are taken.

    :param disabled: whether neither the images of an index nor the URLs of layers are looked at.
    :param enabled: whether ``manifests.urls`` is checked also where the file does not have it, which then
        allows no URL.
    :param manifests: what a manifest must be.
    """

    disabled: bool = False
    enabled: bool = False
    manifests: ManifestOptions = field(default_factory=ManifestOptions, metadata=_SECTION)

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "disabled": parse.boolean,
        "enabled": parse.boolean,
        "manifests": partial(parse.section_options, ManifestOptions),
    }


@dataclass(frozen=True)
class RegistryOptions:
    """What the registry lists and takes.

    :param catalog: the list of repositories.
    :param tags: the lists of tags.
    :param validation: which manifests are taken, as the file says it.
    :param required: the same, as the registry checks it.
    """

    catalog: CatalogOptions = field(default_factory=CatalogOptions)
    tags: TagsOptions = field(default_factory=TagsOptions)
    validation: ValidationOptions = field(default_factory=ValidationOptions)
    required: Required = field(default_factory=Required)


def read_registry(tree: Mapping[str, Any]) -> RegistryOptions:
    """Return the options of the three sections.

    :param tree: the whole configuration.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    catalog = parse.section(tree.get("catalog"), "catalog")
    tags = parse.section(tree.get("tags"), "tags")
    section = parse.section(tree.get("validation"), "validation")
    validation = parse.options(ValidationOptions, section, "validation")
    return RegistryOptions(
        parse.options(CatalogOptions, catalog, "catalog"),
        parse.options(TagsOptions, tags, "tags"),
        validation,
        _required(validation),
    )


def _required(validation: ValidationOptions) -> Required:
    manifests, indexes = validation.manifests, validation.manifests.indexes
    platforms: frozenset[tuple[str, str]] | None = None
    if validation.disabled or indexes.platforms == "none":
        platforms = frozenset()
    elif indexes.platforms == "list":
        if not indexes.platformlist:
            raise _no_platforms("validation.manifests.indexes.platformlist")
        platforms = frozenset(indexes.platformlist)
    return Required(
        layers=manifests.layers == "all",
        platforms=platforms,
        collectable=manifests.mediatypes == "distribution",
        urls=_url_rules(validation),
    )


def _url_rules(validation: ValidationOptions) -> URLRules | None:
    """Return which URLs are allowed; None for any.

    As in Distribution, a file that asks for the check and has no expression allows none. One that does not
    mention it allows any, which Distribution does not.
    """
    urls = validation.manifests.urls
    is_on = validation.enabled or not validation.disabled
    if not is_on or (urls is None and not validation.enabled):
        return None
    urls = urls or URLOptions()
    return URLRules(urls.allow if urls.allow or not urls.deny else None, urls.deny)
