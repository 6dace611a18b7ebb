"""The configuration of ``cfmiddleware serve`` without a file: data and keys in one directory."""

from __future__ import annotations

import os
import secrets
import string
from pathlib import Path
from typing import TYPE_CHECKING

from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keyfiles import write_private
from cfmiddleware.signing.keys import generate
from cfmiddleware.wsgi.hostguard import HostGuard, is_loopback

from .configuration import Config

if TYPE_CHECKING:
    from cfmiddleware.health.watch import Health
    from cfmiddleware.wsgi.types import App

_ID_LENGTH = 13


def default_directory() -> Path:
    """Return the directory that the user has not named: one below ``XDG_DATA_HOME``."""
    home = os.environ.get("XDG_DATA_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path("~/.local/share").expanduser()
    return base / "cfmiddleware"


def embedded(
    directory: Path,
    address: str = "127.0.0.1:5000",
    edge_address: str = "127.0.0.1:5001",
    *,
    create: bool = True,
) -> Config:
    """Return the configuration of a registry and an edge whose data and keys lie in *directory*.

    :param create: whether the directory and the key pair are made if they are missing.
    :raises ConfigError: where the directory cannot be made or written, and for a missing key pair that may
        not be made.
    """
    directory = directory.absolute()
    keys = directory / "keys"
    try:
        if create:
            (directory / "registry").mkdir(parents=True, exist_ok=True)
            keys.mkdir(mode=0o700, exist_ok=True)
            if not os.access(directory / "registry", os.W_OK | os.X_OK):
                raise PermissionError(13, os.strerror(13), str(directory))
        present = any(keys.glob("pk-*.pem"))
    except OSError as error:
        raise ConfigError(
            f"{error.filename or directory}: the data cannot be kept here: {error.strerror}; choose "
            "a directory that you may write with --data"
        ) from None
    if not present:
        if not create:
            raise ConfigError(
                f"{directory}: there is no key pair; run 'cfmiddleware serve' once, or give --config"
            )
        name = "K" + "".join(
            secrets.choice(string.ascii_uppercase + string.digits) for _ in range(_ID_LENGTH)
        )
        write_private(keys / f"pk-{name}.pem", generate("rsa").private_pem)
    tree = {
        "version": "0.1",
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "registry")},
            "delete": {"enabled": True},
        },
        "http": {"addr": address},
        "middleware": {
            "storage": [
                {
                    "name": "cloudfront",
                    "options": {"baseurl": f"http://{edge_address}", "privatekey": str(keys)},
                }
            ]
        },
        "edge": {"addr": edge_address, "digestheader": True},
    }
    return _Embedded(tree, str(directory), directory)


class _Embedded(Config):
    """A registry without authentication, for clients on the same machine."""

    def app(self, health: Health | None = None) -> App:
        """Return the registry, wrapped, which refuses what a web page has a browser send.

        One that listens at other addresses is reached by names that are not known here, and answers by all.
        """
        app = super().app(health)
        host = str(self.address()[0])
        return HostGuard(app, host) if is_loopback(host) else app
