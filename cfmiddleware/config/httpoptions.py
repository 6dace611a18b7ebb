"""The section ``http`` of a configuration (Distribution, "http")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.wsgi import headers

from .address import DEFAULT_ADDRESS, Address
from .tlsoptions import TLSOptions, read_tls


def _prefix(value: object, name: str) -> str:
    return parse.text(value, name).rstrip("/")


def _origin(value: object, name: str) -> str:
    """Read scheme and host, perhaps with a port and a path that stands in front of all."""
    text = parse.text(value, name)
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is not a number, a bracket that is left open
        known = False
    if not known or any(c in text for c in "?#@\\ ") or not text.isprintable() or not text.isascii():
        raise ConfigError(f"{name}: {text!r} is not a URL; write it like https://registry.example.com")
    return text


def _headers(value: object, name: str) -> tuple[tuple[str, str], ...]:
    return tuple(headers.read(value or {}, name))


def _drain_timeout(value: object, name: str) -> int:
    return parse.seconds(value, name, minimum=0)


@dataclass(frozen=True)
class HTTPOptions:
    """How the registry is reached.

    :param addr: where ``cfmiddleware serve`` listens: ``host:port``, or ``:port`` for every address of the
        machine.
    :param prefix: the path in front of ``/v2/``, such as ``/registry``.
    :param host: scheme and host for ``Location`` headers, such as ``https://registry.example.com``, where
        those of the request are not what clients should use.
    :param relativeurls: whether ``Location`` headers go without scheme and host.
    :param headers: headers for all responses: their names, each with a value or a list of values.
    :param draintimeout: how many seconds requests under way get when the server stops; 0 leaves that to
        ``server.gracefultimeout``.
    :param tls: the certificate that ``cfmiddleware serve`` speaks TLS with; None for plain HTTP.
    """

    addr: Address = DEFAULT_ADDRESS
    prefix: str = ""
    host: str = ""
    relativeurls: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    draintimeout: int = 0
    tls: TLSOptions | None = None

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "addr": Address.parse,
        "prefix": _prefix,
        "host": _origin,
        "relativeurls": parse.boolean,
        "headers": _headers,
        "draintimeout": _drain_timeout,
        "tls": parse.section,
    }


def read_http(section: Mapping[str, Any], here: Path) -> HTTPOptions:
    """Return the options of the section.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    given = dict(section)
    tls = read_tls(parse.section(given.pop("tls", None), "http.tls"), here)
    return parse.options(HTTPOptions, given, "http", tls=tls)
