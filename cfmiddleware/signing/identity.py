"""The public half of a key as PEM, and its fingerprint, the same from both libraries that sign."""

from __future__ import annotations

import hashlib

from .der import ECPublic, RSAPublic, write_spki
from .pem import armour


class Identity:
    """The public half of a key.

    :param public: the public half, as numbers.
    """

    #: ``rsa`` or ``ecdsa``.
    algorithm: str
    #: The hex form of the SHA-256 of the DER SubjectPublicKeyInfo: equal for the two halves of a pair, and
    #: for every encoding of either.
    fingerprint: str
    #: The public half as CloudFront takes it: ``-----BEGIN PUBLIC KEY-----``.
    public_pem: str

    def __init__(self, public: RSAPublic | ECPublic) -> None:
        info = write_spki(public)
        self.algorithm = "rsa" if isinstance(public, RSAPublic) else "ecdsa"
        self.fingerprint = hashlib.sha256(info).hexdigest()
        self.public_pem = armour("PUBLIC KEY", info)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.algorithm} {self.fingerprint[:16]}>"
