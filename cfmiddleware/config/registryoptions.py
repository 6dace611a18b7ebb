"""What the sections ``catalog``, ``tags`` and ``validation`` of a configuration say about the registry.

They are Distribution's, but for ``validation.manifests.layers``::

    catalog:
      maxentries: 1000          # repositories in one page of the catalog at the most
    tags:
      maxtags: 1000             # tags in one page of a list of tags at the most; no limit by default
    validation:
      disabled: false           # true: as platforms: none
      manifests:
        layers: all             # or none: images may be pushed without their layers
        indexes:
          platforms: all        # or none, or list: which images of an index must be there before it
          platformlist:         # those of the list
            - os: linux
              architecture: amd64
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.store.manifest import Required

#: The sections that are read here.
SECTIONS = ("catalog", "tags", "validation")

_EVERYTHING_OR_NOTHING = ("all", "none")


def registry_options(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of the registry that the sections stand for.

    :param tree: the whole configuration.
    :raises ConfigError: for an unknown option, or a value that cannot be.
    """
    found: dict[str, Any] = {}
    catalog = parse.read(_section(tree, "catalog"), {"maxentries": _at_least_one}, "catalog.")
    if "maxentries" in catalog:
        found["maxentries"] = catalog["maxentries"]
    tags = parse.read(_section(tree, "tags"), {"maxtags": _at_least_one}, "tags.")
    if "maxtags" in tags:
        found["maxtags"] = tags["maxtags"]
    found["required"] = _required(_section(tree, "validation"))
    return found


def _required(validation: Mapping[str, Any]) -> Required:
    # 'enabled' is what version 2 of Distribution has; there it is about the URLs of layers alone.
    parse.refuse_unknown(validation, ("disabled", "enabled", "manifests"), "validation.")
    disabled = parse.boolean(validation.get("disabled") or False, "validation.disabled")
    where = "validation.manifests"
    manifests = _section(validation, "manifests", where)
    parse.refuse_unknown(manifests, ("layers", "indexes", "urls"), f"{where}.")
    layers = parse.choice(manifests.get("layers") or "all", f"{where}.layers", _EVERYTHING_OR_NOTHING)
    indexes = _section(manifests, "indexes", f"{where}.indexes")
    parse.refuse_unknown(indexes, ("platforms", "platformlist"), f"{where}.indexes.")
    platforms = parse.choice(
        indexes.get("platforms") or "all", f"{where}.indexes.platforms", (*_EVERYTHING_OR_NOTHING, "list")
    )
    listed: frozenset[tuple[str, str]] | None = None
    if disabled or platforms == "none":
        listed = frozenset()
    elif platforms == "list":
        listed = _platforms(indexes.get("platformlist"), f"{where}.indexes.platformlist")
    return Required(layers=layers == "all", platforms=listed)


def _platforms(value: object, where: str) -> frozenset[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{where}: must be a list of platforms, each with os and architecture")
    found: set[tuple[str, str]] = set()
    for number, entry in enumerate(value):
        place = f"{where}[{number}]"
        if not isinstance(entry, dict):
            raise ConfigError(f"{place}: must have os and architecture")
        parse.refuse_unknown(entry, ("os", "architecture"), f"{place}.")
        found.add(
            (
                parse.text(entry.get("os"), f"{place}.os"),
                parse.text(entry.get("architecture"), f"{place}.architecture"),
            )
        )
    return frozenset(found)


def _section(parent: Mapping[str, Any], name: str, where: str = "") -> Mapping[str, Any]:
    value = parent.get(name) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where or name}: must be a section of options")
    return value


def _at_least_one(value: object, name: str) -> int:
    return parse.integer(value, name, minimum=1)
