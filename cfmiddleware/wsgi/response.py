"""What a resource hands back to the dispatcher: a status, headers and a body."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cfmiddleware.errors import RegistryError


class Answer(NamedTuple):
    """An HTTP answer.

    :param status: the HTTP status.
    :param headers: its headers, without those that every answer of the registry has.
    :param body: its bytes; where it has a ``close`` method, the server calls it, as PEP 3333 has it.
    """

    status: int
    headers: list[tuple[str, str]]
    body: Iterable[bytes] = ()


def empty(status: int, headers: Mapping[str, str]) -> Answer:
    """Return an answer without a body."""
    listed = list(headers.items())
    if status != 204:  # which must not have one (RFC 9110, 8.6)
        listed.append(("Content-Length", "0"))
    return Answer(status, listed)


def whole(status: int, media_type: str, content: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer with a body that is in memory."""
    listed = [("Content-Type", media_type), ("Content-Length", str(len(content))), *(headers or {}).items()]
    return Answer(status, listed, (content,))


def as_json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Return *value* as JSON."""
    return whole(status, "application/json", json.dumps(value).encode(), headers)


def failure(error: RegistryError) -> Answer:
    """Return the error body that the specification prescribes (OCI Distribution, "Error Codes")."""
    entry = {"code": error.code, "message": error.message, "detail": error.detail}
    return as_json(error.status, {"errors": [entry]}, error.headers)
