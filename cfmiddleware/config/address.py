"""Addresses to listen on, written ``host:port``, and paths of sockets."""

from __future__ import annotations

from pathlib import Path

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError


class Address(tuple[str, int]):
    """A host and a port to listen on; ``str()`` gives ``host:port``."""

    __slots__ = ()

    def __str__(self) -> str:
        host, port = self
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @classmethod
    def parse(cls, text: object, name: str) -> Address:
        """Read ``127.0.0.1:5000``, ``[::1]:5000`` or ``:5000``, which is every address of the machine.

        :raises ConfigError: for anything else, naming the option *name*.
        """
        found = parse.host_and_port(text)
        if found is None:
            raise ConfigError(f"{name}: {text!r} is not an address; write it like 127.0.0.1:5000")
        return cls((found[0] or "0.0.0.0", found[1]))  # noqa: S104 (what `:5000` means)


class SocketPath(str):
    """The path of a Unix socket to listen on."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object, name: str, here: Path) -> SocketPath:
        """Read a path, which is relative to *here*.

        :raises ConfigError: for one that no socket can have, naming the option *name*.
        """
        if text in (None, ""):
            raise ConfigError(f"{name}: is required with 'net: unix', and is the path of the socket")
        path = str(here / parse.text(text, name))
        if "\0" in path or len(path.encode("utf-8", "surrogateescape")) > _LONGEST:
            raise ConfigError(
                f"{name}: {path!r} is too long for the path of a socket, of at most {_LONGEST} bytes"
            )
        return cls(path)


# What Linux has room for (unix(7)).
_LONGEST = 107

#: Where the registry listens by default.
DEFAULT_ADDRESS = Address(("127.0.0.1", 5000))

#: Where the edge listens by default.
DEFAULT_EDGE = Address(("127.0.0.1", 5001))
