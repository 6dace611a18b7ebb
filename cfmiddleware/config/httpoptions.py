"""The section ``http`` of a configuration (Distribution, "http")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.wsgi import headers

from .address import DEFAULT_ADDRESS, Address, SocketPath
from .debugoptions import DebugOptions, read_debug
from .tlsoptions import TLSOptions, read_tls


def _prefix(value: object, name: str) -> str:
    return parse.text(value, name).rstrip("/")


def _network(value: object, name: str) -> str:
    return parse.choice(value, name, ("tcp", "unix"))


def _origin(value: object, name: str) -> str:
    """Read scheme and host, perhaps with a port and a path that stands in front of all."""
    text = parse.text(value, name)
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is not a number, a bracket that is left open
        known = False
    if not known or any(c in text for c in "?#@\\ ") or not text.isprintable() or not text.isascii():
        raise ConfigError(
            f"{name}: {parse.quoted(text)} is not a URL; write it like https://registry.example.com"
        )
    return text


def _headers(value: object, name: str) -> tuple[tuple[str, str], ...]:
    return tuple(headers.read(value or {}, name))


@dataclass(frozen=True)
class HTTPOptions:
    """How the registry is reached.

    :param addr: where ``cfmiddleware serve`` listens. ``:5000`` is every address of the machine.
        With ``net: unix`` it is the path of a socket.
    :param net: the kind of address: ``tcp``, or ``unix`` for a socket that a proxy on the same machine uses.
        It has the permissions that the umask leaves.
    :param prefix: the path in front of ``/v2/``, such as ``/registry``. The wrapper is told as well.
    :param host: the scheme and the host of URLs in responses, such as ``https://registry.example.com``; the
        request's by default.
    :param relativeurls: whether URLs in responses have neither scheme nor host.
    :param headers: headers for every response, redirects included: their names, each with a value or a list
        of values. A header that the response has already stays as it is. Headers of the connection,
        ``Content-Length``, ``Date`` and ``Server`` are refused.
    :param draintimeout: how long requests under way get when the server stops. ``server.gracefultimeout``
        goes before it; ``0s`` is the default of that option. With ``debug.addr``, the server first goes on
        for as long after a SIGTERM, while ``/debug/ready`` is 503, so that a balancer sends nothing more.
    :param tls: the certificate that ``cfmiddleware serve`` speaks TLS with; without it, plain HTTP.
    :param debug: the debug listener: health and metrics.
    """

    addr: Address | SocketPath = DEFAULT_ADDRESS
    net: str = "tcp"
    prefix: str = ""
    host: str = ""
    relativeurls: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    draintimeout: int = 0
    tls: TLSOptions | None = None
    debug: DebugOptions = field(default_factory=DebugOptions, metadata={"form": "section"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "addr": Address.parse,
        "net": _network,
        "prefix": _prefix,
        "host": _origin,
        "relativeurls": parse.boolean,
        "headers": _headers,
        "draintimeout": partial(parse.seconds, minimum=0),
        "tls": parse.section,
        "debug": parse.section,
    }


def read_http(section: Mapping[str, Any], here: Path) -> HTTPOptions:
    """Return the options of the section.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    given = dict(section)
    tls = read_tls(parse.section(given.pop("tls", None), "http.tls"), here)
    debug = read_debug(parse.section(given.pop("debug", None), "http.debug"))
    further: dict[str, Any] = {"debug": debug}
    if str(given.get("net") or "").strip().lower() == "unix":
        further["addr"] = SocketPath.parse(given.pop("addr", None), "http.addr", here)
    return parse.options(HTTPOptions, given, "http", tls=tls, **further)
