"""Digests as numbers of 64 bits, so that a collection has room for millions of them.

Two digests with one number would only keep garbage: whatever is looked up is looked up among what is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from cfmiddleware.digest import Digest


def fingerprint_of(digest: Digest) -> int:
    """Return the number of a digest."""
    return int(digest.hex[:16], 16)


def pack(numbers: Iterable[int]) -> bytes:
    """Return numbers in eight bytes each."""
    numbers = tuple(numbers)
    return struct.pack(f">{len(numbers)}Q", *numbers)


def unpack(packed: bytes) -> tuple[int, ...]:
    """Return the numbers that were packed."""
    return struct.unpack(f">{len(packed) // 8}Q", packed)
