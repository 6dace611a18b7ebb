"""The certificates of a running server, which follow their files."""

from __future__ import annotations

import logging
import ssl

from cfmiddleware.config import Config
from cfmiddleware.config.tlsoptions import TLSOptions
from cfmiddleware.process.watchedfile import WatchedFiles

_log = logging.getLogger("cfmiddleware")


class Certificates:
    """What ``http.tls`` secures connections with. A renewed certificate is served without a restart.

    A pair that does not work, as while it is being written, is logged, and the pair before it stays in force.

    :param options: the section ``http.tls``.
    :param interval: seconds between two looks at the files, at the least.
    :raises ConfigError: if the files do not work to begin with; the line begins with the option.
    """

    def __init__(self, options: TLSOptions, interval: float = 1.0) -> None:
        self.options = options
        # Before the files are watched, because these errors name the option and not only the file.
        options.context()
        self._contexts = WatchedFiles(
            list(dict.fromkeys(options.files)),  # certificate and key may stand in one file
            lambda *contents: options.context(),
            log=_log,
            prefix="http.tls: ",
            interval=interval,
        )

    def context(self) -> ssl.SSLContext:
        """Return what a new connection is secured with."""
        return self._contexts.current()


def certificates_of(config: Config) -> Certificates | None:
    """Return what the section ``http.tls`` of *config* asks for, or None for plain HTTP.

    :raises ConfigError: if TLS cannot be spoken with its files.
    """
    options = config.tls_options()
    if options is None:
        return None
    with config.located("http.tls."):
        return Certificates(options)
