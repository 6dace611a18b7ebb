"""The heads that nearly every pull has, read without a parser: GET and HEAD without a body.

gunicorn's parser knows all of RFC 9112 and takes some 40 µs. This one knows a small part of it that cannot be
read in two ways. Whatever is not in this part is gunicorn's to judge: nothing is refused here. The tests
compare the environ with the one that gunicorn makes of the same bytes.
"""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from .parsedhead import HOST

_LINE = re.compile(r"(GET|HEAD) (/(?!/)[!-~]*) HTTP/1\.1")
_NAME = re.compile(r"[A-Za-z0-9-]+")

# Printable ASCII and tabs. To take these away is the fastest way to look at each byte of a head.
_TEXT = bytes((0x09, *range(0x20, 0x7F)))

# The last field ends its line, and an empty line follows.
_END = ["", ""]

#: Longer heads, and those with more fields, are gunicorn's: it knows the limits.
_MAX_BYTES = 8190
_MAX_FIELDS = 64

# What frames or changes a connection, and what the environ has under another name.
_SPECIAL = frozenset(
    (
        "CONNECTION",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "EXPECT",
        "HTTP2_SETTINGS",
        "KEEP_ALIVE",
        "PROXY_CONNECTION",
        "TE",
        "TRAILER",
        "TRANSFER_ENCODING",
        "UPGRADE",
    )
)

# The environ's key of each name that was seen, so that each is checked once; None for what is not plain.
_keys: dict[str, str | None] = {}
_MAX_KEYS = 1000


class PlainRequest:
    """What the answer has to know of a request without a body (``gunicorn.http.message.Request``)."""

    __slots__ = ("method",)

    version = (1, 1)
    body = None

    def __init__(self, method: str) -> None:
        self.method = method

    def should_close(self) -> bool:
        """Return False: HTTP/1.1 without ``Connection: close``."""
        return False


# It says nothing of one request.
_REQUESTS = {method: PlainRequest(method) for method in ("GET", "HEAD")}


def read_plain(head: bytes, base: dict[str, Any]) -> tuple[PlainRequest, dict[str, Any]] | None:
    """Return a request and its environ (PEP 3333), or None for a head that is not plain.

    :param head: all of the head, with the empty line at its end and nothing behind it.
    :param base: what each environ of the connection has.
    """
    if len(head) > _MAX_BYTES:
        return None
    lines = head.decode("latin-1").split("\r\n")
    # What is not text is the ends of these lines: it is all ASCII, and neither CR nor LF stands alone.
    if head.translate(None, _TEXT) != b"\r\n" * (len(lines) - 1) or lines[-2:] != _END:
        return None
    line = _LINE.fullmatch(lines[0])
    if line is None or len(lines) - 3 > _MAX_FIELDS:
        return None
    method, target = line.groups()
    if "#" in target:
        return None
    environ = base.copy()
    for field in lines[1:-2]:
        name, colon, value = field.partition(":")
        key = _keys[name] if name in _keys else _key(name)
        if key is None or not colon or key in environ:
            return None
        environ[key] = value.strip(" \t")
    host = environ.get("HTTP_HOST")
    if host is None or not HOST.fullmatch(host):
        return None
    path, _, query = target.partition("?")
    environ["REQUEST_METHOD"] = method
    environ["RAW_URI"] = target
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
    environ["QUERY_STRING"] = query
    environ["wsgi.input"] = io.BytesIO()
    return _REQUESTS[method], environ


def _key(name: str) -> str | None:
    """Return the environ's key for the name of a field, or None if it is not plain."""
    key = name.upper().replace("-", "_")
    plain = _NAME.fullmatch(name) is not None and key not in _SPECIAL
    if len(_keys) < _MAX_KEYS:
        _keys[name] = f"HTTP_{key}" if plain else None
    return f"HTTP_{key}" if plain else None
