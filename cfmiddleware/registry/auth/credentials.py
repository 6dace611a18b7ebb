"""The header ``Authorization``, whatever a client sends in it (RFC 9110, 11.6.2)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

#: Algorithms (RFC 7518, 3.1; RFC 8037, 3.1) that a token may be signed with. Those with a shared secret
#: (HS256 ...) are not among them: the registry holds nothing that could sign.
ALGORITHMS = (
    *("PS256", "PS384", "PS512", "RS256", "RS384", "RS512"),
    *("ES256", "ES384", "ES512"),
    "EdDSA",
)

#: Characters that a header may have; more than any server in front lets through by default.
MAX_LENGTH = 16_384

_HEADER = re.compile(r"([A-Za-z]++) ++([A-Za-z0-9._~+/=-]++) *+")


class Basic(NamedTuple):
    """A user's name and password, as the bytes that were sent."""

    user: bytes
    password: bytes


def parse_basic(header: str) -> Basic | None:
    """Read ``Basic <base64 of user:password>`` (RFC 7617), or return None for anything else."""
    encoded = _of_scheme("basic", header)
    if encoded is None:
        return None
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = decoded.partition(b":")
    return Basic(user, password) if colon else None


def parse_bearer(header: str) -> str | None:
    """Read ``Bearer <token>`` (RFC 6750, 2.1), or return None for anything else."""
    return _of_scheme("bearer", header)


def _of_scheme(scheme: str, header: str) -> str | None:
    if len(header) > MAX_LENGTH:
        return None
    match = _HEADER.fullmatch(header)
    return match[2] if match is not None and match[1].lower() == scheme else None
