"""The section ``storage.maintenance`` of a configuration (Distribution, "maintenance")::

storage:
  maintenance:
    readonly:
      enabled: false
    uploadpurging:                            # see purgeoptions.py
      enabled: true
    retention:                              # see retentionoptions.py
      enabled: false
    garbagecollect:                         # see collectionoptions.py
      enabled: false
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from cfmiddleware import parse

from .collectionoptions import CollectionOptions
from .purgeoptions import PurgeOptions, read_purging
from .retentionoptions import RetainOptions


def _readonly(value: object, name: str) -> bool:
    section = parse.section(value, name, "with 'enabled'")
    return bool(parse.read(section, {"enabled": parse.boolean}, f"{name}.").get("enabled", False))


@dataclass(frozen=True)
class MaintenanceOptions:
    """What is done with the storage beside requests.

    :param readonly: ``enabled``: whether every request that would change something gets 405, as during
        garbage collection; false by default. Then nothing is changed in the background either.
    :param uploadpurging: what becomes of uploads that nobody finishes.
    :param retention: whether tags go by themselves, by the rules of the section ``retention``.
    :param garbagecollect: garbage collections that begin by themselves.
    """

    readonly: bool = field(default=False, metadata={"form": "section"})
    uploadpurging: PurgeOptions = field(default_factory=PurgeOptions, metadata={"form": "section"})
    retention: RetainOptions = field(default_factory=RetainOptions, metadata={"form": "section"})
    garbagecollect: CollectionOptions = field(default_factory=CollectionOptions, metadata={"form": "section"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "readonly": _readonly,
        "uploadpurging": read_purging,
        "retention": partial(parse.section_options, RetainOptions),
        "garbagecollect": partial(parse.section_options, CollectionOptions),
    }


def read_maintenance(value: object, name: str) -> MaintenanceOptions:
    """Return the options of the section.

    :param name: its place in the configuration.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    return parse.section_options(MaintenanceOptions, value, name)
