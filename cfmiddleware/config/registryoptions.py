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
    # Version 2 of Distribution has 'enabled'; there it only concerns the URLs of layers.
    parsers: dict[str, parse.Parser] = {
        "disabled": parse.boolean,
        "enabled": parse.anything,
        "manifests": parse.section,
    }
    read = parse.read(validation, parsers, "validation.")
    parsers = {
        "layers": _layers,
        "mediatypes": _media_types,
        "indexes": parse.section,
        "urls": parse.anything,
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
    )


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
