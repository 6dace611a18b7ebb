"""A response before it is sent: a status, headers and a body."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

#: The status line of each status.
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


#: The body of a response that has none. Some servers, such as hypercorn, send nothing at all, not even the
#: status, unless there is a chunk.
NO_BYTES = (b"",)


class Response(NamedTuple):
    """An HTTP response.

    :param status: the HTTP status.
    :param headers: its headers, without those that every response of the app has.
    :param body: its bytes; where it has a ``close`` method, the server calls it, as PEP 3333 has it.
    """

    status: int
    headers: list[tuple[str, str]]
    body: Iterable[bytes] = NO_BYTES


def empty(status: int, headers: Mapping[str, str]) -> Response:
    """Return a response without a body."""
    listed = list(headers.items())
    if status != 204:  # which must not have one (RFC 9110, 8.6)
        listed.append(("Content-Length", "0"))
    return Response(status, listed)


def whole(status: int, media_type: str, content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a body that is in memory."""
    listed = [("Content-Type", media_type), ("Content-Length", str(len(content))), *(headers or {}).items()]
    return Response(status, listed, (content,))


def as_json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return *value* as JSON."""
    return whole(status, "application/json", json.dumps(value).encode(), headers)
