"""The section ``storage.maintenance`` of a configuration (Distribution, "maintenance")::

storage:
  maintenance:
    readonly:
      enabled: false
    uploadpurging:                            # see purgeoptions.py
      enabled: true
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from cfmiddleware import parse

from .purgeoptions import PurgeOptions, read_purging


def _readonly(value: object, name: str) -> bool:
    section = parse.section(value, name, "with 'enabled'")
    return bool(parse.read(section, {"enabled": parse.boolean}, f"{name}.").get("enabled", False))


@dataclass(frozen=True)
class MaintenanceOptions:
    """What is done with the storage beside requests.

    :param readonly: ``enabled``: whether every request that would change something gets 405, as during
        garbage collection; false by default. Then nothing is changed in the background either.
    :param uploadpurging: what becomes of uploads that nobody finishes.
    """

    readonly: bool = field(default=False, metadata={"form": "section"})
    uploadpurging: PurgeOptions = field(default_factory=PurgeOptions, metadata={"form": "section"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"readonly": _readonly, "uploadpurging": read_purging}


def read_maintenance(value: object, name: str) -> MaintenanceOptions:
    """Return the options of the section.

    :param name: its place in the configuration.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    return parse.options(MaintenanceOptions, parse.section(value, name), name)
