"""Changes to the URLs that clients are sent to: Distribution's storage middleware ``rewrite``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote, urlsplit, urlunsplit

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def _scheme(value: object, name: str) -> str:
    return parse.choice(value, name, ("http", "https"))


def _host(value: object, name: str) -> str:
    text = parse.text(value, name)
    if not _HOST.fullmatch(text):
        raise ConfigError(
            f"{name}: {text!r} is not a host; write it like cdn.example.com or cdn.example.com:8443"
        )
    return text


def _prefix(value: object, name: str) -> str:
    return quote(parse.text(value, name), safe="/%~")


@dataclass(frozen=True)
class RewriteOptions:
    """What is changed in the URL of a redirect. A signature stays as it is, so what stands at the new address
    has to give the old host and path back before it asks CloudFront or S3.

    :param scheme: ``http`` or ``https`` in place of the URL's own.
    :param host: the host, with a port if it has one, in place of the URL's own.
    :param trimpathprefix: what is left out at the beginning of the path.
    """

    scheme: str = ""
    host: str = ""
    trimpathprefix: str = ""

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "scheme": _scheme,
        "host": _host,
        "trimpathprefix": _prefix,
    }

    def __call__(self, url: str) -> str:
        """Return the URL with the changes."""
        parts = urlsplit(url)
        path = "/" + parts.path.removeprefix(self.trimpathprefix).lstrip("/")
        return urlunsplit(
            parts._replace(
                scheme=self.scheme or parts.scheme,
                netloc=self.host or parts.netloc,
                path=path if self.trimpathprefix else parts.path,
            )
        )


def in_turn(rewrites: tuple[RewriteOptions, ...], url: str) -> str:
    """Return the URL after all the changes, in their order."""
    for rewrite in rewrites:
        url = rewrite(url)
    return url
