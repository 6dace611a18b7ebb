"""RSA and ECDSA by the ``cryptography`` package. Importing this module needs that package."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cfmiddleware.errors import ConfigError

from .der import ECPrivate, ECPublic, RSAPrivate, RSAPublic
from .identity import Identity
from .rsa_backend import PlainPublicKey, PlainSigningKey

_SHA1_FORBIDDEN = "hash: this platform forbids SHA-1 with an ECDSA key; set hash to sha256, or use an RSA key"


class RSAPublicKey(Identity):
    """An RSA public key in ``cryptography``."""

    def __init__(self, numbers: RSAPublic) -> None:
        super().__init__(numbers)
        self._key = rsa.RSAPublicNumbers(numbers.e, numbers.n).public_key()
        self._plain = PlainPublicKey(numbers)

    def verify(self, message: bytes, signature: bytes, hash: str) -> bool:
        """Return whether *signature* is this key's (RFC 8017, section 8.2.2)."""
        try:
            self._key.verify(signature, message, padding.PKCS1v15(), _hash(hash))
        except InvalidSignature:
            return False
        except UnsupportedAlgorithm:
            return self._plain.verify(message, signature, hash)
        return True


class RSASigningKey(Identity):
    """An RSA private key in ``cryptography``."""

    def __init__(self, numbers: RSAPrivate) -> None:
        super().__init__(numbers.public)
        public = rsa.RSAPublicNumbers(numbers.e, numbers.n)
        self._key = rsa.RSAPrivateNumbers(
            numbers.p, numbers.q, numbers.d, numbers.dp, numbers.dq, numbers.qinv, public
        ).private_key()
        self._plain = PlainSigningKey(numbers)

    def sign(self, message: bytes, hash: str) -> bytes:
        """Return the PKCS#1 v1.5 signature of *message* (RFC 8017, section 8.2.1)."""
        try:
            return self._key.sign(message, padding.PKCS1v15(), _hash(hash))
        except UnsupportedAlgorithm:
            # The platform forbids SHA-1, which CloudFront needs.
            return self._plain.sign(message, hash)


class ECPublicKey(Identity):
    """A public key on P-256 in ``cryptography``."""

    def __init__(self, numbers: ECPublic) -> None:
        super().__init__(numbers)
        self._key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), numbers.point)

    def verify(self, message: bytes, signature: bytes, hash: str) -> bool:
        """Return whether *signature*, in DER, is this key's.

        :raises ConfigError: when the platform forbids the hash.
        """
        try:
            self._key.verify(signature, message, ec.ECDSA(_hash(hash)))
        except InvalidSignature:
            return False
        except UnsupportedAlgorithm:
            raise ConfigError(_SHA1_FORBIDDEN) from None
        return True


class ECSigningKey(Identity):
    """A private key on P-256 in ``cryptography``.

    :raises ValueError: if the value is not one of the curve's, or the point is not this value's.
    """

    def __init__(self, numbers: ECPrivate) -> None:
        self._key = ec.derive_private_key(numbers.value, ec.SECP256R1())
        points = {
            form: self._key.public_key().public_bytes(Encoding.X962, form)
            for form in (PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint)
        }
        if numbers.point is not None and numbers.point not in points.values():
            raise ValueError("the public point is another key's")
        super().__init__(ECPublic(points[PublicFormat.UncompressedPoint]))

    def sign(self, message: bytes, hash: str) -> bytes:
        """Return the ECDSA signature of *message*, in DER (RFC 3279, section 2.2.3).

        :raises ConfigError: when the platform forbids the hash.
        """
        try:
            return self._key.sign(message, ec.ECDSA(_hash(hash)))
        except UnsupportedAlgorithm:
            raise ConfigError(_SHA1_FORBIDDEN) from None


def generate_rsa() -> RSAPrivate:
    """Return a new RSA key of 2048 bits."""
    key = rsa.generate_private_key(65537, 2048).private_numbers()
    public = key.public_numbers
    return RSAPrivate(public.n, public.e, key.d, key.p, key.q, key.dmp1, key.dmq1, key.iqmp)


def generate_ec() -> ECPrivate:
    """Return a new key on P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return ECPrivate(key.private_numbers().private_value, point)


def _hash(name: str) -> hashes.HashAlgorithm:
    if name == "sha1":
        return hashes.SHA1()  # noqa: S303  # CloudFront's default
    if name == "sha256":
        return hashes.SHA256()
    raise ValueError(f"the hash is sha1 or sha256, not {name!r}")
