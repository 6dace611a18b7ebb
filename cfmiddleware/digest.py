"""Digests, the names of content in a registry (OCI Image Specification, "Descriptors: Digests")."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hashlib import _Hash

#: Algorithms that the specification registers and a registry must know, with the length of their hex form.
HEX_LENGTHS = {"sha256": 64, "sha512": 128}

_HEX = {algorithm: re.compile(f"[0-9a-f]{{{length}}}") for algorithm, length in HEX_LENGTHS.items()}


class Digest(NamedTuple):
    """An algorithm and the lower-case hex form of a hash; ``str()`` gives ``sha256:...`` back."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse ``sha256:`` and 64, or ``sha512:`` and 128 lower-case hex digits.

        :raises ValueError: for anything else, white space and upper case included.
        """
        return _parse(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of *content*."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def hasher(self) -> _Hash:
        """Return a new hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)


# A few digests are asked for over and over. Text that is not a digest raises, and so is not kept.
@lru_cache(maxsize=4096)
def _parse(text: str) -> Digest:
    algorithm, _, hexadecimal = text.partition(":")
    pattern = _HEX.get(algorithm)
    if pattern is None or not pattern.fullmatch(hexadecimal):
        raise ValueError("a digest is sha256: and 64, or sha512: and 128 lower-case hex digits")
    return Digest(algorithm, hexadecimal)
