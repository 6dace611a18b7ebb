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
from typing import Any

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.store.manifest import Required
from cfmiddleware.registry.store.urlpattern import Pattern
from cfmiddleware.registry.store.urlrules import URLRules

_ALL_OR_NONE = ("all", "none")


@dataclass(frozen=True)
class RegistryOptions:
    """What the registry lists and takes.

    :param maxentries: how many repositories one page of the catalog has at the most (``catalog``).
    :param maxtags: how many tags one page of a list of tags has at the most (``tags``); None for no limit.
    :param required: what a manifest must be, and what must be there before it (``validation``).
    """

    maxentries: int = 1000
    maxtags: int | None = None
    required: Required = field(default_factory=Required)


def read_registry(tree: Mapping[str, Any]) -> RegistryOptions:
    """Return the options of the three sections.

    :param tree: the whole configuration.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    catalog = parse.section(tree.get("catalog"), "catalog")
    tags = parse.section(tree.get("tags"), "tags")
    return RegistryOptions(
        **parse.read(catalog, {"maxentries": parse.positive}, "catalog."),
        **parse.read(tags, {"maxtags": parse.positive}, "tags."),
        required=_required(parse.section(tree.get("validation"), "validation")),
    )


def _required(validation: Mapping[str, Any]) -> Required:
    parsers: dict[str, parse.Parser] = {
        "disabled": parse.boolean,
        "enabled": parse.boolean,
        "manifests": parse.section,
    }
    read = parse.read(validation, parsers, "validation.")
    parsers = {
        "layers": _layers,
        "mediatypes": _media_types,
        "indexes": parse.section,
        "urls": _urls,
    }
    manifests = parse.read(read.get("manifests", {}), parsers, "validation.manifests.")
    parsers = {"platforms": _which_platforms, "platformlist": _platform_list}
    where = "validation.manifests.indexes"
    indexes = parse.read(manifests.get("indexes", {}), parsers, f"{where}.")
    platforms: frozenset[tuple[str, str]] | None = None
    if read.get("disabled") or indexes.get("platforms") == "none":
        platforms = frozenset()
    elif indexes.get("platforms") == "list":
        platforms = indexes.get("platformlist") or _platforms(None, f"{where}.platformlist")
    return Required(
        layers=manifests.get("layers", "all") == "all",
        platforms=platforms,
        collectable=manifests.get("mediatypes") == "distribution",
        urls=_url_rules(manifests.get("urls"), read),
    )


def _urls(value: object, name: str) -> Mapping[str, tuple[Pattern, ...]]:
    parsers = {"allow": _patterns, "deny": _patterns}
    found: dict[str, tuple[Pattern, ...]] = parse.read(parse.section(value, name), parsers, f"{name}.")
    return found


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


def _url_rules(
    urls: Mapping[str, tuple[Pattern, ...]] | None, validation: Mapping[str, Any]
) -> URLRules | None:
    """Return which URLs are allowed; None for any.

    As in Distribution, a file that asks for the check and has no expression allows none. One that does not
    mention it allows any, which Distribution does not.
    """
    is_on = validation.get("enabled") or not validation.get("disabled")
    if not is_on or (urls is None and not validation.get("enabled")):
        return None
    urls = urls or {}
    allow, deny = urls.get("allow", ()), urls.get("deny", ())
    return URLRules(allow if allow or not deny else None, deny)


def _layers(value: object, name: str) -> str:
    return parse.choice(value, name, _ALL_OR_NONE)


def _media_types(value: object, name: str) -> str:
    return parse.choice(value, name, ("all", "distribution"))


def _which_platforms(value: object, name: str) -> str:
    return parse.choice(value, name, (*_ALL_OR_NONE, "list"))


def _platform_list(value: object, name: str) -> frozenset[tuple[str, str]]:
    return _platforms(value, name) if value else frozenset()


def _platforms(value: object, name: str) -> frozenset[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{name}: must be a list of platforms, each with os and architecture")
    return frozenset(_platform(entry, f"{name}[{index}]") for index, entry in enumerate(value))


def _platform(value: object, name: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: must have os and architecture")
    parse.refuse_unknown(value, ("os", "architecture"), f"{name}.")
    return (
        parse.text(value.get("os"), f"{name}.os"),
        parse.text(value.get("architecture"), f"{name}.architecture"),
    )
