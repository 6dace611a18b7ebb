"""From the ``storage`` section of a configuration to a driver."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from cfmiddleware.errors import ConfigError
from cfmiddleware.parse import Parser, boolean, exact_text, integer, nearest, read

from .driver import Driver
from .pathcheck import clean_root

_log = logging.getLogger(__name__)

#: The drivers there are, as the configuration names them.
DRIVERS = ("filesystem", "inmemory", "s3")

# Options of Distribution that do nothing here: the registry works the same, if quieter.
_S3_WITHOUT: Mapping[str, Parser] = {
    "logs3apirequests": boolean,
    "logs3apiresponseheaders": lambda value, name: value,
}


def storage_driver(name: str, options: Mapping[str, object], where: str = "storage") -> Driver:
    """Return the driver *name* with *options*; nothing is connected to, opened or made before it is used.

    :param name: ``filesystem``, ``inmemory`` or ``s3``.
    :param options: what the configuration says, named as Distribution names it; values are YAML's, or text.
    :param where: the place of the section in the configuration, for messages, such as
        ``config.yml: storage``.
    :raises ConfigError: for an unknown driver or option, or a value that cannot work.
    """
    place = f"{where}.{name}"
    if name == "filesystem":
        return _filesystem(options, place)
    if name == "inmemory":
        return _memory(options, place)
    if name == "s3":
        return _s3(options, place)
    raise ConfigError(
        f"{place}: there is no such driver{nearest(name, DRIVERS)}; known are {', '.join(DRIVERS)}"
    )


def _filesystem(options: Mapping[str, object], where: str) -> Driver:
    from .filesystem.filesystemdriver import FilesystemDriver

    parsed = read(options, {"rootdirectory": exact_text, "maxthreads": integer}, f"{where}.")
    # Threads are the server's business here: each request has one.
    parsed.pop("maxthreads", None)
    return FilesystemDriver(parsed.get("rootdirectory", "/var/lib/registry"), where=where)


def _memory(options: Mapping[str, object], where: str) -> Driver:
    from .memory import MemoryDriver

    return MemoryDriver(**read(options, {"rootdirectory": _root}, f"{where}."))


def _s3(options: Mapping[str, object], where: str) -> Driver:
    # Here, because boto3 takes its time to import and only this driver needs it.
    from .s3 import S3Driver, S3Options

    parsed = read(options, {**S3Options.PARSERS, **_S3_WITHOUT}, f"{where}.")
    without = [option for option in _S3_WITHOUT if parsed.pop(option, None)]
    if without:
        _log.warning("%s: these options have no effect: %s", where, ", ".join(without))
    try:
        built = S3Options(**parsed)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    for warning in built.warnings():
        _log.warning("%s.%s", where, warning)
    return S3Driver(built, where=where)


def _root(value: object, name: str) -> str:
    """Return *value* as the directory of a bucket, without slashes at its ends."""
    written = exact_text(value, name)
    try:
        return clean_root(written)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
