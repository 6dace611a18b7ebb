"""How a client reaches what answers it: the scheme and the host of its URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from .forwarded import first_element

#: A host, perhaps with a port, as the header ``Host`` has it (RFC 9110, 7.2).
HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")

# Headers of more characters than this are not remembered.
_REMEMBERED = 500


def origin(environ: Mapping[str, Any]) -> str:
    """Return scheme and host of the registry for the client, or an empty string if they are not known.

    Forwarded headers are believed, as Distribution believes them: a client that forges them misleads only
    itself.
    """
    get = environ.get
    parts = (
        get("HTTP_FORWARDED", ""),
        get("HTTP_X_FORWARDED_PROTO", ""),
        get("HTTP_X_FORWARDED_HOST", ""),
        get("HTTP_HOST", ""),
        str(get("wsgi.url_scheme", "http")),
    )
    return _known_origin(*parts) if sum(map(len, parts)) < _REMEMBERED else _origin(*parts)


def _origin(forwarded: str, proto: str, host: str, called: str, scheme: str) -> str:
    # As in Distribution, Forwarded goes before the others, which are not read beside it.
    if forwarded:
        told = first_element(forwarded)
        proto, host = told.get("proto", ""), told.get("host", "")
    else:
        proto, host = (each.partition(",")[0].strip() for each in (proto, host))
    host, scheme = host or called, (proto or scheme).lower()
    if scheme not in ("http", "https") or not HOST.fullmatch(host):
        return ""
    return f"{scheme}://{host}"


# Nearly all requests come by one of a few ways.
_known_origin = lru_cache(maxsize=64)(_origin)
