"""The storage of a command that works on what a registry has stored."""

from __future__ import annotations

import os

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError
from cfmiddleware.storage.driver import Driver


def storage_there(config: Config) -> Driver:
    """Return the storage's driver, and write nothing.

    :raises ConfigError: for the memory of another process, and for a directory that is not there: a server
        makes it, but for a command it is a mistake, with which it would find nothing to do day after day.
    """
    driver = config.driver()
    if not driver.shared:
        raise ConfigError(
            f"{config.source}: storage.{driver.name}: is the memory of each server, which no command sees"
        )
    if not driver.remote:
        try:
            os.stat(driver.describe())
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{config.source}: storage.{driver.name}.rootdirectory: {driver.describe()!r}: {why}"
            ) from None
    return driver
