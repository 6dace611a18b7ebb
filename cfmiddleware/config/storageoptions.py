"""The section ``storage`` of a configuration (Distribution, "storage")::

storage:
  s3: {bucket: images, region: eu-west-1}   # one driver, with its own options
  delete:
    enabled: false
  redirect:
    disable: false
  maintenance:                              # see maintenanceoptions.py
    readonly:
      enabled: false
  cache:                                    # see cacheoptions.py
    blobdescriptor: inmemory
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.storage.driver import Driver
from cfmiddleware.storage.factory import DRIVERS, storage_driver

from .cacheoptions import CacheOptions
from .maintenanceoptions import MaintenanceOptions, read_maintenance


def _delete(value: object, name: str) -> bool:
    return _enabled(value, name)


def _redirect(value: object, name: str) -> bool:
    section = parse.section(value, name, "with 'disable'")
    return not parse.read(section, {"disable": parse.boolean}, f"{name}.").get("disable", False)


def _enabled(value: object, name: str) -> bool:
    section = parse.section(value, name, "with 'enabled'")
    return bool(parse.read(section, {"enabled": parse.boolean}, f"{name}.").get("enabled", False))


@dataclass(frozen=True)
class StorageOptions:
    """Where everything is kept, and what may be done with it.

    :param driver: the driver, with which nothing is connected or opened yet; None where the configuration
        has no storage.
    :param delete: ``enabled``: whether blobs, manifests and tags may be deleted; false by default, which
        answers 405.
    :param redirect: ``disable``: whether the wrapper stays out, so that the registry sends all blobs itself
        although there is a ``cloudfront``; false by default.
    :param maintenance: what is done with the storage beside requests.
    :param cache: the descriptor cache.
    """

    driver: Driver | None = None
    # In a configuration each of these is a section with the switch that its text names.
    delete: bool = field(default=False, metadata={"form": "section"})
    redirect: bool = field(default=True, metadata={"form": "section"})
    maintenance: MaintenanceOptions = field(default_factory=MaintenanceOptions, metadata={"form": "section"})
    cache: CacheOptions = field(default_factory=CacheOptions)

    #: What may stand beside the driver.
    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "delete": _delete,
        "redirect": _redirect,
        "maintenance": read_maintenance,
        "cache": partial(parse.section_options, CacheOptions),
    }


def read_storage(section: Mapping[str, Any], here: Path) -> StorageOptions:
    """Return the options of the section.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown driver or option, or a value that cannot work.
    """
    given = {name: value for name, value in section.items() if name in StorageOptions.PARSERS}
    driver = read_driver(section, "storage", here) if section else None
    return parse.options(StorageOptions, given, "storage", driver=driver)


def read_driver(section: Mapping[str, Any], place: str, here: Path) -> Driver:
    """Return the driver that a section names; nothing is connected to, opened or made.

    :param place: the section's place in the configuration: ``storage`` or ``edge.storage``.
    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for a section that does not name one driver, and for the driver's options.
    """
    named = [name for name in section if name not in StorageOptions.PARSERS]
    if not named:
        raise no_driver(place)
    if len(named) > 1:
        raise ConfigError(f"{place}: {' and '.join(map(str, named))} are two drivers; there can be one only")
    (name,) = named
    options = parse.section(section[name], f"{place}.{name}")
    return storage_driver(str(name), options, place, here)


def no_driver(place: str) -> ConfigError:
    """Return the error for a section, perhaps an absent one, that does not name a driver."""
    return ConfigError(f"{place}: names no driver; there are {', '.join(DRIVERS)}")
