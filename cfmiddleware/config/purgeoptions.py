"""The section ``storage.maintenance.uploadpurging`` of a configuration (Distribution, "uploadpurging")::

storage:
  maintenance:
    uploadpurging:
      enabled: true
      age: 168h
      interval: 24h
      dryrun: false
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

_DURATION = {"form": "duration"}


def some_time(value: object, name: str) -> float:
    """Return a period in seconds, of one at the least."""
    found = parse.period(value, name)
    if found < 1:
        raise ConfigError(f"{name}: {value!r} is too short; it must be at least 1s")
    return found


@dataclass(frozen=True)
class PurgeOptions:
    """What becomes of uploads that nobody finishes.

    :param enabled: whether they are deleted in the background.
    :param age: for how long nobody must have written to an upload.
    :param interval: how long after a purge the next one begins. The first one begins within an hour.
    :param dryrun: whether the log only says what would be deleted.
    """

    enabled: bool = True
    age: float = field(default=168 * 3600.0, metadata=_DURATION)
    interval: float = field(default=24 * 3600.0, metadata=_DURATION)
    dryrun: bool = False

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "enabled": parse.boolean,
        "age": some_time,
        "interval": some_time,
        "dryrun": parse.boolean,
    }


def read_purging(value: object, name: str) -> PurgeOptions:
    """Return the options of the section.

    :param name: its place in the configuration.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    return parse.section_options(PurgeOptions, value, name)
