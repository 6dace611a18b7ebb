"""From a name and options to a driver. A driver's module is imported when the driver is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cfmiddleware.errors import ConfigError
from cfmiddleware.parse import nearest

from .driver import Driver


def _filesystem() -> type[Driver]:
    from .filesystem.filesystemdriver import FilesystemDriver

    return FilesystemDriver


def _memory() -> type[Driver]:
    from .memory import MemoryDriver

    return MemoryDriver


def _s3() -> type[Driver]:
    from .s3 import S3Driver

    return S3Driver


#: The drivers there are, as the configuration names them. Each is imported by a call.
DRIVERS: Mapping[str, Callable[[], type[Driver]]] = {
    "filesystem": _filesystem,
    "inmemory": _memory,
    "s3": _s3,
}


def storage_driver(
    name: str, given: Mapping[str, object], where: str = "storage", here: Path = Path()
) -> Driver:
    """Return the driver *name* with the options *given*; nothing is connected to, opened or made.

    :param name: one of :data:`DRIVERS`.
    :param given: what the configuration says, named as Distribution names it; values are YAML's, or text.
    :param where: the place of the section in the configuration, for messages, such as ``storage``.
    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown driver or option, or a value that cannot work.
    """
    place = f"{where}.{name}"
    if name not in DRIVERS:
        raise ConfigError(
            f"{place}: there is no such driver{nearest(name, DRIVERS)}; known are {', '.join(DRIVERS)}"
        )
    return DRIVERS[name]().from_options(given, place, here)
