"""Reading a driver's options: YAML's own types, or the text that an ini file or a variable gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from cfmiddleware.errors import ConfigError, nearest

from .paths import clean_root

#: What turns an option's value into its type, raising ValueError with what would be right.
Parser = Callable[[object], Any]

_FLAGS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}

_SIZE = re.compile(r"([0-9]{1,18}) ?(?:([kmgt])(i?)b|b)?", re.IGNORECASE)


def text(value: object) -> str:
    """Return *value*, which must be text: a key of digits alone would have lost its leading zeros in YAML."""
    if not isinstance(value, str):
        raise ValueError("must be text; put it in quotes")
    return value


def root(value: object) -> str:
    """Return *value* as the directory of a bucket, without slashes at its ends."""
    return clean_root(text(value))


def flag(value: object) -> bool:
    """Return *value* as true or false."""
    known = _FLAGS.get(str(value).lower())
    if known is None:
        raise ValueError("must be true or false")
    return known


def count(value: object) -> int:
    """Return *value* as a whole number that is not negative."""
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,18}", str(value)):
        raise ValueError("must be a whole number")
    return int(str(value))


def size(value: object) -> int:
    """Return *value* in bytes: a number of them, or text such as ``10MB`` (10^6 each) or ``10MiB`` (2^20)."""
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError("must be a number of bytes, or a size such as 10MiB")
    number, unit, binary = match.groups()
    power = " kmgt".index(unit.lower()) if unit else 0
    return int(number) * int((1024 if binary else 1000) ** power)


def read_options(options: Mapping[str, object], known: Mapping[str, Parser], *, where: str) -> dict[str, Any]:
    """Return *options* with each value parsed. One that is empty is as good as absent, and left out.

    :param where: the place of the options in the configuration, for messages.
    :raises ConfigError: for an unknown option or a value that cannot be parsed; values are not repeated, for
        they may be secret.
    """
    parsed = {}
    for option, value in options.items():
        parser = known.get(option)
        if parser is None:
            raise ConfigError(f"{where}.{option}: there is no such option{nearest(str(option), known)}")
        if value is None or value == "":
            continue
        try:
            parsed[option] = parser(value)
        except ValueError as error:
            raise ConfigError(f"{where}.{option}: {error}") from None
    return parsed
