"""RSA by the ``rsa`` package, the fallback for machines without ``cryptography``.

It is pure Python, which every platform has, and takes 33 ms for a signature instead of 0.5 ms.
"""

from __future__ import annotations

import hashlib

import rsa

from .der import RSAPrivate, RSAPublic
from .identity import Identity

_NAMES = {"sha1": "SHA-1", "sha256": "SHA-256"}


class PlainPublicKey(Identity):
    """An RSA public key in pure Python."""

    def __init__(self, numbers: RSAPublic) -> None:
        super().__init__(numbers)
        self._key = rsa.PublicKey(numbers.n, numbers.e)

    def verify(self, message: bytes, signature: bytes, hash: str) -> bool:
        """Return whether *signature* is this key's (RFC 8017, section 8.2.2)."""
        name = _name(hash)
        # A number beyond the modulus would be reduced and make a second signature out of one (step 2b).
        if int.from_bytes(signature, "big") >= self._key.n:
            return False
        try:
            return bool(rsa.verify(message, signature, self._key) == name)
        except rsa.VerificationError:
            return False


class PlainSigningKey(Identity):
    """An RSA private key in pure Python."""

    def __init__(self, numbers: RSAPrivate) -> None:
        super().__init__(numbers.public)
        self._key = rsa.PrivateKey(numbers.n, numbers.e, numbers.d, numbers.p, numbers.q)

    def sign(self, message: bytes, hash: str) -> bytes:
        """Return the PKCS#1 v1.5 signature of *message* (RFC 8017, section 8.2.1)."""
        name = _name(hash)
        # Hashed here, because a platform may forbid SHA-1 where ``rsa`` hashes. CloudFront needs it.
        digest = hashlib.new(hash, message, usedforsecurity=False).digest()
        return bytes(rsa.sign_hash(digest, self._key, name))


def generate() -> RSAPrivate:
    """Return a new RSA key of 2048 bits; this takes some seconds."""
    key = rsa.newkeys(2048, accurate=True)[1]
    return RSAPrivate(key.n, key.e, key.d, key.p, key.q, key.exp1, key.exp2, key.coef)


def _name(hash: str) -> str:
    try:
        return _NAMES[hash]
    except KeyError:
        raise ValueError(f"the hash is sha1 or sha256, not {hash!r}") from None
