"""From the ``storage`` section of a configuration to a driver."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from cfmiddleware.errors import ConfigError, nearest

from .driver import Driver
from .options import Parser, count, flag, read_options, root, text

_log = logging.getLogger(__name__)

#: The drivers there are, as the configuration names them.
DRIVERS = ("filesystem", "inmemory", "s3")

_FILESYSTEM: Mapping[str, Parser] = {"rootdirectory": text, "maxthreads": count}
_MEMORY: Mapping[str, Parser] = {"rootdirectory": root}

# Options of Distribution that this version does without: the registry works the same, if slower or quieter.
_S3_WITHOUT: Mapping[str, Parser] = {
    "accelerate": flag,
    "loglevel": text,
    "logs3apirequests": flag,
    "logs3apiresponseheaders": lambda value: value,
    "useragent": text,
    "usedualstack": flag,
}

# Options of Distribution that cannot be done without where they are set to anything but this.
_S3_ONLY: Mapping[str, tuple[Parser, object]] = {"v4auth": (flag, True), "usefipsendpoint": (flag, False)}


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
    from .filesystem import FilesystemDriver

    parsed = read_options(options, _FILESYSTEM, where=where)
    # Threads are the server's business here: each request has one.
    parsed.pop("maxthreads", None)
    return FilesystemDriver(parsed.get("rootdirectory", "/var/lib/registry"), where=where)


def _memory(options: Mapping[str, object], where: str) -> Driver:
    from .memory import MemoryDriver

    return MemoryDriver(**read_options(options, _MEMORY, where=where))


def _s3(options: Mapping[str, object], where: str) -> Driver:
    # Here, because boto3 takes its time to import and only this driver needs it.
    from .s3 import S3Driver, S3Options

    known = {
        **S3Options.PARSERS,
        **_S3_WITHOUT,
        **{option: parser for option, (parser, _) in _S3_ONLY.items()},
    }
    parsed = read_options(options, known, where=where)
    for option, (_, only) in _S3_ONLY.items():
        if parsed.pop(option, only) != only:
            raise ConfigError(f"{where}.{option}: only {str(only).lower()} is supported")
    without = [option for option in _S3_WITHOUT if parsed.pop(option, None)]
    if without:
        _log.warning("%s: these options have no effect in this version: %s", where, ", ".join(without))
    try:
        return S3Driver(S3Options(**parsed), where=where)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
