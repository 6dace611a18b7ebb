"""The section ``auth`` of a configuration (Distribution, "auth"): which scheme, and its options.

A scheme is an entry of :data:`SCHEMES` and a module of its own. That module is imported where the scheme is
built, because it needs packages that others do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

from .access import Authenticator
from .schemeoptions import HtpasswdOptions, TokenOptions


@dataclass(frozen=True)
class Scheme:
    """A way to authenticate clients, with its options as they were read. No file has been opened.

    :param name: its name in a configuration.
    :param options: what the section says; the fields are the keyword arguments of the authenticator.
    """

    name: str
    options: HtpasswdOptions | TokenOptions = field(repr=False)

    def authenticator(self) -> Authenticator:
        """Return what authenticates clients.

        :raises ConfigError: for a file that cannot be used, and a package that is not installed.
        """
        try:
            return SCHEMES[self.name].build(**vars(self.options))
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
    return Scheme(name, _read(name, parse.section(given, f"auth.{name}"), here))


class _Kind(NamedTuple):
    """A scheme before it is used: the class of its options, and what imports its module and makes it."""

    options: type[HtpasswdOptions] | type[TokenOptions]
    build: Callable[..., Authenticator]


def _htpasswd(**options: Any) -> Authenticator:
    from .htpasswd import HtpasswdAuth

    return HtpasswdAuth(**options)


def _token(**options: Any) -> Authenticator:
    from .token import TokenAuth

    return TokenAuth(**options)


#: The schemes, by their names in a configuration.
SCHEMES: Mapping[str, _Kind] = {
    "htpasswd": _Kind(HtpasswdOptions, _htpasswd),
    "token": _Kind(TokenOptions, _token),
}


def _read(name: str, given: Mapping[str, Any], here: Path) -> HtpasswdOptions | TokenOptions:
    kind, where = SCHEMES[name].options, f"auth.{name}"
    read = parse.read(given, kind.PARSERS, f"{where}.")
    for option in fields(kind):
        if option.default is MISSING and option.name not in read:
            raise ConfigError(f"{where}.{option.name}: this option is required")
    read = {name: here / value if isinstance(value, Path) else value for name, value in read.items()}
    try:
        return kind(**read)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
