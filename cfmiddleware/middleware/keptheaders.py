"""Which headers of the app's own answer stay on the redirect (``keepheaders``).

The redirect is made anew, because most of an app's headers describe a body that is not sent. An operator may
name others: for browsers (``Access-Control-*``), or ids that tie logs together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.wsgi.headers import VALUE, is_of_the_connection

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import Headers

_NAME = re.compile(r"[a-z0-9!#$%&'+.^_`|~-]+")
_PATTERN = re.compile(r"[a-z0-9!#$%&'+.^_`|~-]*[a-z0-9](?:-\*)?")

# What is never kept, whatever the operator names. The redirect's own; what describes the body that is not
# sent; what clients, caches and proxies would act on: it would lead elsewhere, or keep a signed URL for
# others; and whatever holds a credential, for a redirect is repeated to browsers' scripts and to logs.
_NEVER = re.compile(
    r"location|refresh|retry-after|link|status|alt-svc|clear-site-data"
    r"|docker-.*|content-(?!security-policy).*|(?:.*-)?digest|etag|last-modified|accept-ranges|age"
    r"|(?:.*-)?cache-control|expires|pragma|surrogate-.*|edge-control"
    r"|x-accel-.*|x-sendfile.*|x-lighttpd-.*|x-reproxy-.*|x-litespeed-.*|x-amz-.*"
    r"|.*(?:cookie|authori[sz]ation|authenticat|credential|api-?key|token|secret|password|signature).*"
    r"|.*(?:session|jwt|bearer).*"
)

#: What stays when an answer is remembered (``probecache``): the others are of one answer.
_REMEMBERED = "access-control-"


class KeptHeaders:
    """Picks the headers to keep.

    :param patterns: names in lower case; one that ends in ``-*`` stands for all that begin so.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._names = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._beginnings = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def of(self, headers: Headers) -> list[tuple[str, str]]:
        """Return those of an answer's headers that the redirect has as well."""
        return [(name, value) for name, value in headers if self._is_kept(name.lower(), value)]

    def _is_kept(self, name: str, value: str) -> bool:
        is_named = name in self._names or name.startswith(self._beginnings)
        return is_named and is_harmless(name) and VALUE.fullmatch(value) is not None


def is_harmless(name: str) -> bool:
    """Return whether a header, by its name in lower case, may stand on a redirect to a signed URL."""
    return not (is_of_the_connection(name) or _NEVER.fullmatch(name) or not _NAME.fullmatch(name))


def remembered(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return those of the kept headers that hold for later answers to the same request."""
    return tuple(header for header in headers if header[0].lower().startswith(_REMEMBERED))


def read(value: object, option: str) -> tuple[str, ...]:
    """Read a list of names, with commas between them where it is text.

    :raises ConfigError: for what is not a name, and for a name that must not be on a redirect.
    """
    patterns = tuple(word.lower() for word in parse.words(value, option))
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ConfigError(
                f"{option}: {pattern!r} is not a name of a header; write it like X-Request-Id, or "
                "Access-Control-* for all that begin so"
            )
        if not is_harmless(pattern.removesuffix("*") if pattern.endswith("*") else pattern):
            raise ConfigError(
                f"{option}: {pattern!r} cannot be kept: on a redirect to a signed URL it would mislead "
                "clients or caches, or give a credential away"
            )
    return patterns
