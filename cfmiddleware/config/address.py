"""Addresses to listen on, written ``host:port``."""

from __future__ import annotations

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


#: Where the registry listens by default.
DEFAULT_ADDRESS = Address(("127.0.0.1", 5000))

#: Where the edge listens by default.
DEFAULT_EDGE = Address(("127.0.0.1", 5001))
