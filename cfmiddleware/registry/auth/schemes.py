"""The section ``auth`` of a configuration (Distribution, "auth"): which way there is, and its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.parse import nearest

from .access import Authenticator

#: The ways that there are.
METHODS = ("htpasswd", "token")


def authenticator(section: Mapping[str, Any], here: Path) -> Authenticator:
    """Return what the section describes.

    :param section: one name with its options.
    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for a name or an option that there is not, one that is missing, a file that cannot
        be used, a package that is not installed.
    """
    if not section:  # whoever writes the word wants to be asked for a password
        raise ConfigError(f"auth: is empty; there are {' and '.join(METHODS)}, or leave the section out")
    for name in section:
        if name not in METHODS:
            raise ConfigError(
                f"auth.{name}: there is no such way to authenticate{nearest(str(name), METHODS)}; "
                f"there are {' and '.join(METHODS)}"
            )
    if len(section) > 1:
        raise ConfigError(f"auth: {' and '.join(section)} are two ways; there can be one only")
    ((name, given),) = section.items()
    if not isinstance(given or {}, dict):
        raise ConfigError(f"auth.{name}: must be a section of options")
    build = _htpasswd if name == "htpasswd" else _token
    try:
        return build(given or {}, here)
    except ImportError as error:
        raise ConfigError(f"auth.{name}: {error.name} is not installed; install cfmiddleware[auth]") from None
    except ConfigError as error:
        # Some begin with an option's name, some with a file's, which is an absolute path.
        is_option = "/" not in str(error).partition(":")[0]
        raise ConfigError(f"auth.{name}{'.' if is_option else ': '}{error}") from None


def _htpasswd(given: Mapping[str, Any], here: Path) -> Authenticator:
    from .htpasswd import HtpasswdAuth

    read = _read(given, {"realm": parse.text, "path": _path(here)}, ("realm", "path"))
    return HtpasswdAuth(**read)


def _token(given: Mapping[str, Any], here: Path) -> Authenticator:
    from .token import TokenAuth

    parsers: dict[str, parse.Parser] = {
        "realm": parse.text,
        "service": parse.text,
        "issuer": parse.text,
        "rootcertbundle": _path(here),
        "jwks": _path(here),
        "signingalgorithms": _words,
        "autoredirect": parse.boolean,
        "autoredirectpath": parse.text,
    }
    read = _read(given, parsers, ("realm", "service", "issuer"))
    return TokenAuth(**read)


def _read(
    given: Mapping[str, Any], parsers: Mapping[str, parse.Parser], required: tuple[str, ...]
) -> dict[str, Any]:
    read = parse.read(given, parsers)
    for name in required:
        if name not in read:
            raise ConfigError(f"{name}: this option is required")
    return read


def _path(here: Path) -> Callable[[object, str], Path]:
    return lambda value, name: here / parse.text(value, name)


def _words(value: object, name: str) -> tuple[str, ...]:
    """Read a list of words, or one text of words with commas between them."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ConfigError(f"{name}: must be a list such as [RS256, ES256]")
    return tuple(word.strip() for word in words)
