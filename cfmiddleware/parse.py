"""Parsers of option values.

YAML gives numbers and truth values, PasteDeploy and environment variables give strings, Python gives either.
Each parser takes a value and the option's name. It returns the value that the option has, or raises
:class:`~cfmiddleware.errors.ConfigError` with one line that says what is wrong and what would be right.
"""

from __future__ import annotations

import difflib
import inspect
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .errors import ConfigError

#: A function that reads a value; its second argument is the option's name, for messages.
Parser = Callable[[object, str], Any]

_Options = TypeVar("_Options")

_TRUE = frozenset(("true", "yes", "on", "1"))
_FALSE = frozenset(("false", "no", "off", "0"))

_USER = re.compile(r"//[^/@\s]*@")

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|μs|ms|s|m|h))+")
_DAYS = re.compile(r"([0-9]{1,5})d(.*)", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST_AND_PORT = re.compile(rf"(?:\[([0-9A-Fa-f:.]+)\]|((?:{_LABEL}(?:\.{_LABEL})*\.?)?)):([0-9]{{1,5}})")

_SIZE = re.compile(r"([0-9]{1,18}) *(|b|kb|mb|gb|tb|kib|mib|gib|tib|k|m|g|t)", re.IGNORECASE)


def text(value: object, name: str) -> str:
    """Return a string that is not empty; numbers, which YAML makes of an unquoted id, become one."""
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ConfigError(f"{name}: {_shown(value)} is not text")
    return str(value).strip()


def optional_text(value: object, name: str) -> str:
    """Return a string as :func:`text` does, or an empty one where there is nothing."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    return text(value, name)


def exact_text(value: object, name: str) -> str:
    """Return a string that is not empty. What YAML read as a number or a date is refused, because it may have
    lost leading zeros. The message does not repeat the value, which may be secret.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name}: must be text; put it in quotes")
    return value.strip()


def anything(value: object, name: str) -> object:
    """Return any value as it is: for options that have no effect here."""
    return value


def boolean(value: object, name: str) -> bool:
    """Return a truth value: ``true`` or ``false``, also as a string, ``yes``, ``on``, ``1`` and so on."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ConfigError(f"{name}: {_shown(value)} is neither true nor false")


def integer(value: object, name: str, minimum: int = 0, maximum: int | None = None) -> int:
    """Return a whole number within bounds."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip(), re.ASCII):
        number = int(value)
    if number is None or number < minimum or (maximum is not None and number > maximum):
        bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ConfigError(f"{name}: {_shown(value)} is not a whole number {bounds}")
    return number


def positive(value: object, name: str) -> int:
    """Return a whole number that is at least 1."""
    return integer(value, name, minimum=1)


def choice(value: object, name: str, choices: Collection[str]) -> str:
    """Return one of *choices*, in whatever case it was written. None is not the word ``none``."""
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in choices:
        hint = "" if value is None else nearest(str(value), choices)
        raise ConfigError(f"{name}: {_shown(value)} is none of {', '.join(choices)}{hint}")
    return word


def seconds(value: object, name: str, minimum: int = 1) -> int:
    """Return a duration in whole seconds, from a number of seconds or Go's form (``20m``, ``1h30m``)."""
    total = _duration(value, name)
    if total != total.to_integral_value() or total < minimum:
        raise ConfigError(f"{name}: {_shown(value)} must be whole seconds, at least {minimum}")
    return int(total)


def short_seconds(value: object, name: str, hours: int = 1) -> float:
    """Return a duration in seconds that may be as short as a millisecond (``10ms``)."""
    total = _duration(value, name)
    if not Decimal("0.001") <= total <= hours * 3600:
        raise ConfigError(f"{name}: {_shown(value)} must be from 1ms to {hours}h")
    return float(total)


def is_http_url(text: str) -> bool:
    """Return whether a text is a whole URL of the scheme ``http`` or ``https``."""
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    return bool(known) and text.isascii() and text.isprintable() and " " not in text


def period(value: object, name: str) -> float:
    """Return a period in seconds, which may be zero, from Go's form or with days in front (``30d``,
    ``1d12h``). It needs a unit, as in Go: things are deleted by periods, and 30 for 30 days would be 30
    seconds.
    """
    days, rest = 0, value
    if isinstance(value, str) and (found := _DAYS.fullmatch(value.strip())):
        days, rest = int(found[1]), found[2] or 0
    try:
        total = days * 86400 + float(_duration(rest, name))
    except ConfigError:
        raise ConfigError(f"{name}: {_shown(value)} is not a period; write it like 30d, 12h or 90s") from None
    if total and not (isinstance(value, str) and value.strip()[-1].isalpha()):
        raise ConfigError(f"{name}: {_shown(value)} has no unit; write it like 30d, 12h or 90s")
    return total


def _duration(value: object, name: str) -> Decimal:
    total: Decimal | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        total = Decimal(str(value))
    elif isinstance(value, str):
        word = value.strip()
        if re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", word, re.ASCII):
            total = Decimal(word)
        elif len(word) < 100 and _DURATION.fullmatch(word):
            total = sum((Decimal(n) * _SECONDS[u] for n, u in _DURATION_PART.findall(word)), Decimal(0))
    if total is None or not total.is_finite():
        raise ConfigError(
            f"{name}: {_shown(value)} is not a duration; write seconds (1200) or Go's form (20m, 1h30m)"
        )
    return total


def size(value: object, name: str, minimum: int = 0, maximum: int | None = None) -> int:
    """Return a size in bytes, from a number of bytes or a form like ``10MB`` (10^6) or ``10MiB`` (2^20)."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is not None:
            unit = match[2].lower()
            base = 1024 if "i" in unit else 1000
            number = int(match[1]) * base ** (0 if unit in ("", "b") else "kmgt".index(unit[0]) + 1)
    if number is None or number < minimum or (maximum is not None and number > maximum):
        bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ConfigError(f"{name}: {_shown(value)} is not a size {bounds} bytes; write bytes, 10MB or 10MiB")
    return number


def words(value: object, name: str) -> tuple[str, ...]:
    """Return the words of a list, or of one text with commas between them; none of an empty value."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    if value is None:
        return ()
    if not isinstance(value, list | tuple | set | frozenset):
        raise ConfigError(f"{name}: must be a list, or text with commas between the words")
    return tuple(text(item, f"{name}[{index}]") for index, item in enumerate(value))


def host_and_port(value: object) -> tuple[str, int] | None:
    """Return the host and the port of ``host:port``, ``[::1]:port`` or ``:port``, which has an empty host.

    Returns None for anything else. The caller says what would be right, and whether a host is required.
    """
    match = _HOST_AND_PORT.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[3]) > 65535:
        return None
    if match[1] is not None:
        try:
            ipaddress.IPv6Address(match[1])
        except ValueError:
            return None
    return match[1] or match[2], int(match[3])


def section(value: object, name: str, content: str = "of options") -> Mapping[str, Any]:
    """Return a section, which maps names to values. An empty value is an empty section.

    :param content: what the section holds, for the message: ``of options``, ``with 'enabled'``.
    """
    if not value:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name}: must be a section {content}")
    return value


def read(given: Mapping[str, object], parsers: Mapping[str, Parser], where: str = "") -> dict[str, Any]:
    """Return the options *given*, each read by its parser. Options that are empty are left out.

    :param where: what stands in front of the name in a message, such as ``storage.s3.``.
    :raises ConfigError: for an unknown option, or a value that its parser refuses.
    """
    refuse_unknown(given, parsers, where)
    return {
        option: parsers[option](value, f"{where}{option}")
        for option, value in given.items()
        if value is not None and value != ""
    }


def options(kind: type[_Options], given: Mapping[str, object], where: str, **further: Any) -> _Options:
    """Return an options dataclass with the options *given*, each read by its parser in ``kind.PARSERS``.

    :param where: the section's place in the configuration, such as ``storage.s3``.
    :param further: values of fields that are not read by a parser.
    :raises ConfigError: for an unknown option, and for a value that its parser or the dataclass refuses.
    """
    build: Any = kind
    parsed = read(given, build.PARSERS, f"{where}.")
    try:
        found: _Options = build(**parsed, **further)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    return found


def section_options(kind: type[_Options], value: object, name: str) -> _Options:
    """Return an options dataclass with the options of a section, as :func:`options` does.

    :param name: the section's place in the configuration.
    :raises ConfigError: as :func:`options`, and for what is not a section.
    """
    return options(kind, section(value, name), name)


def documented(kind: type) -> dict[str, str]:
    """Return the texts of the ``:param name:`` fields in a class's docstring, each on one line."""
    found: dict[str, str] = {}
    for field in re.split(r"^:", inspect.getdoc(kind) or "", flags=re.MULTILINE)[1:]:
        head, _, content = field.partition(":")
        if head.startswith("param "):
            found[head.removeprefix("param ")] = " ".join(content.split())
    return found


def refuse_unknown(names: Iterable[object], known: Collection[str], where: str = "") -> None:
    """Raise for the first of *names* that is not among the *known* ones, suggesting the nearest.

    :param where: what stands in front of the name in the message, such as ``storage.s3.``.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"{where}{name}: there is no such option{nearest(str(name), known)}")


def _shown(value: object) -> str:
    """Return a value as an error may show it: short, on one line."""
    shown = quoted(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def quoted(value: object) -> str:
    """Return a value in quotes, for an error, without the user and the password of a URL."""
    return _USER.sub("//...@", repr(value))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known word nearest to *word*, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
