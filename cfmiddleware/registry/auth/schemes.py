"""The section ``auth`` of a configuration (Distribution, "auth"): which scheme, and its options.

A scheme is an entry of :data:`SCHEMES` and a module of its own. That module is imported where the scheme is
built, because it needs packages that others do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

from .access import Authenticator
from .challenge import check_parameter
from .credentials import ALGORITHMS


@dataclass(frozen=True)
class Scheme:
    """A way to authenticate clients, with its options as they were read. No file has been opened.

    :param name: its name in a configuration.
    :param options: the keyword arguments of its authenticator.
    """

    name: str
    options: Mapping[str, Any] = field(repr=False)

    def authenticator(self) -> Authenticator:
        """Return what authenticates clients.

        :raises ConfigError: for a file that cannot be used, and a package that is not installed.
        """
        try:
            return SCHEMES[self.name].build(**self.options)
        except ImportError as error:
            raise ConfigError(
                f"auth.{self.name}: {error.name} is not installed; install cfmiddleware[auth]"
            ) from None
        except ConfigError as error:
            # Some messages begin with an option's name, some with a file's, which is an absolute path.
            is_option = "/" not in str(error).partition(":")[0]
            raise ConfigError(f"auth.{self.name}{'.' if is_option else ': '}{error}") from None


def read_scheme(section: Mapping[str, Any], here: Path) -> Scheme:
    """Return the scheme that the section names, with its options.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown scheme or option, one that is missing, or a value that cannot work.
    """
    if not section:  # an operator that writes the word expects clients to be asked for a password
        raise ConfigError(f"auth: is empty; there are {' and '.join(SCHEMES)}, or leave the section out")
    for name in section:
        if name not in SCHEMES:
            raise ConfigError(
                f"auth.{name}: there is no such way to authenticate{parse.nearest(str(name), SCHEMES)}; "
                f"there are {' and '.join(SCHEMES)}"
            )
    if len(section) > 1:
        raise ConfigError(f"auth: {' and '.join(section)} are two ways; there can be one only")
    ((name, given),) = section.items()
    where = f"auth.{name}"
    return Scheme(name, SCHEMES[name].read(parse.section(given, where), where, here))


class _Kind(NamedTuple):
    """A scheme before it is used: *read* parses its options, *build* imports its module and makes it."""

    read: Callable[[Mapping[str, Any], str, Path], Mapping[str, Any]]
    build: Callable[..., Authenticator]


def _read_htpasswd(given: Mapping[str, Any], where: str, here: Path) -> Mapping[str, Any]:
    parsers = {"realm": _header_text, "path": _path(here)}
    return _read(given, where, parsers, required=("realm", "path"))


def _htpasswd(**options: Any) -> Authenticator:
    from .htpasswd import HtpasswdAuth

    return HtpasswdAuth(**options)


def _read_token(given: Mapping[str, Any], where: str, here: Path) -> Mapping[str, Any]:
    parsers = {
        "realm": _header_text,
        "service": _header_text,
        "issuer": parse.text,
        "rootcertbundle": _path(here),
        "jwks": _path(here),
        "signingalgorithms": _algorithms,
        "autoredirect": parse.boolean,
        "autoredirectpath": _header_text,
    }
    read = _read(given, where, parsers, required=("realm", "service", "issuer"))
    if not ("rootcertbundle" in read or "jwks" in read):
        raise ConfigError(
            f"{where}.rootcertbundle: this option or 'jwks' is required: tokens are checked with it"
        )
    return read


def _token(**options: Any) -> Authenticator:
    from .token import TokenAuth

    return TokenAuth(**options)


#: The schemes, by their names in a configuration.
SCHEMES: Mapping[str, _Kind] = {
    "htpasswd": _Kind(_read_htpasswd, _htpasswd),
    "token": _Kind(_read_token, _token),
}


def _read(
    given: Mapping[str, Any], where: str, parsers: Mapping[str, parse.Parser], required: tuple[str, ...]
) -> Mapping[str, Any]:
    read = parse.read(given, parsers, f"{where}.")
    for name in required:
        if name not in read:
            raise ConfigError(f"{where}.{name}: this option is required")
    return read


def _header_text(value: object, name: str) -> str:
    return check_parameter(parse.text(value, name), name)


def _path(here: Path) -> parse.Parser:
    return lambda value, name: here / parse.text(value, name)


def _algorithms(value: object, name: str) -> tuple[str, ...]:
    algorithms = parse.words(value, name)
    if not algorithms:
        raise ConfigError(f"{name}: must be a list such as [RS256, ES256]")
    for algorithm in algorithms:
        if algorithm not in ALGORITHMS:
            raise ConfigError(f"{name}: {algorithm!r} is none of {', '.join(ALGORITHMS)}")
    return algorithms
