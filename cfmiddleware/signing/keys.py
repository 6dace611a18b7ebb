"""The keys that sign URLs and check them: read from PEM, or made anew.

``cryptography`` signs if it is installed, else ``rsa``, which has no ECDSA. Both give the same signature with
the same RSA key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cfmiddleware.errors import ConfigError
from cfmiddleware.parse import nearest

from . import der, rsa_backend
from .pem import Block, PEMError, armour, find_blocks

_NEEDS_EXTRA = (
    "ECDSA needs the extra that brings the cryptography package: pip install 'cfmiddleware[server]'"
)

_TRIAL = b"a trial signature, so that a broken key is refused before it is needed"

_PRIVATE_LABELS = {"RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY"}

# What else operators give as the private key.
_NO_PRIVATE_KEY = {
    "ENCRYPTED PRIVATE KEY": "is an encrypted key; decrypt it with: openssl pkey -in FILE -out NEWFILE",
    "DSA PRIVATE KEY": f"is a DSA key; {der.WANTED}",
    "OPENSSH PRIVATE KEY": "is a private key in OpenSSH's own format; convert a copy of it with: "
    "ssh-keygen -p -m PEM -N '' -f COPY",
    "PUBLIC KEY": "is a public key; the private one is wanted here",
    "RSA PUBLIC KEY": "is a public key; the private one is wanted here",
    "CERTIFICATE": "is a certificate; the private key is wanted here",
    "X509 CERTIFICATE": "is a certificate; the private key is wanted here",
    "TRUSTED CERTIFICATE": "is a certificate; the private key is wanted here",
    "CERTIFICATE REQUEST": "is a certificate request; the private key is wanted here",
    "NEW CERTIFICATE REQUEST": "is a certificate request; the private key is wanted here",
    "EC PARAMETERS": "holds the name of a curve, but no key",
}


class SigningKey(Protocol):
    """A private key. Objects are safe to share between threads."""

    #: ``rsa`` or ``ecdsa``.
    algorithm: str
    #: The hex form of the SHA-256 of the DER SubjectPublicKeyInfo.
    fingerprint: str
    #: The public half as CloudFront takes it: ``-----BEGIN PUBLIC KEY-----``.
    public_pem: str

    def sign(self, message: bytes, hash: str) -> bytes:
        """Return the signature of *message*: PKCS#1 v1.5 for RSA, DER for ECDSA.

        :param hash: ``sha1`` or ``sha256``.
        :raises ValueError: for another hash.
        """


class PublicKey(Protocol):
    """A public key. Objects are safe to share between threads."""

    #: ``rsa`` or ``ecdsa``.
    algorithm: str
    #: The hex form of the SHA-256 of the DER SubjectPublicKeyInfo; equal to the private half's.
    fingerprint: str
    #: As CloudFront takes it: ``-----BEGIN PUBLIC KEY-----``.
    public_pem: str

    def verify(self, message: bytes, signature: bytes, hash: str) -> bool:
        """Return whether *signature* is this key's for *message*. It may be any bytes.

        :param hash: ``sha1`` or ``sha256``.
        :raises ValueError: for another hash.
        """


class _Backend(Protocol):
    """What a module that signs with a library has."""

    def RSAPublicKey(self, numbers: der.RSAPublic) -> PublicKey: ...  # noqa: N802 (a class)

    def RSASigningKey(self, numbers: der.RSAPrivate) -> SigningKey: ...  # noqa: N802 (a class)

    def ECPublicKey(self, numbers: der.ECPublic) -> PublicKey: ...  # noqa: N802 (a class)

    def ECSigningKey(self, numbers: der.ECPrivate) -> SigningKey: ...  # noqa: N802 (a class)

    def generate_rsa(self) -> der.RSAPrivate: ...

    def generate_ec(self) -> der.ECPrivate: ...


class KeyPair(NamedTuple):
    """A key, and the id that CloudFront gave its public half (``Key-Pair-Id``)."""

    id: str
    key: SigningKey


@dataclass(frozen=True)
class GeneratedKey:
    """A new key with the texts of both halves.

    :param private_pem: PKCS#8, unencrypted.
    :param public_pem: what CloudFront takes.
    """

    key: SigningKey
    private_pem: str = field(repr=False)
    public_pem: str


def load_private_key(text: str, source: str) -> SigningKey:
    """Return the private key that *text*, in PEM, holds: PKCS#1, PKCS#8 or SEC1; RSA 2048 or ECDSA P-256.

    :param source: what the error's line begins with: a file's name, or an option's.
    :raises ConfigError: when it holds no such key, saying what it is instead, or when the key is ECDSA's and
        ``cryptography`` is not installed.
    """
    try:
        numbers = _read_private(text)
    except (PEMError, der.KeyFormatError) as error:
        raise ConfigError(f"{source}: {error}") from None
    return _signing_key(numbers, source)


def load_public_key(text: str, source: str) -> PublicKey:
    """Return the public key that *text* holds, in PEM.

    :param source: what the error's line begins with: a file's name, or an option's.
    :raises ConfigError: when it holds no RSA 2048 or ECDSA P-256 public key, or when the key is ECDSA's and
        ``cryptography`` is not installed.
    """
    try:
        numbers = _read_public(text)
    except (PEMError, der.KeyFormatError) as error:
        raise ConfigError(f"{source}: {error}") from None
    backend = _cryptography()
    if isinstance(numbers, der.RSAPublic):
        return backend.RSAPublicKey(numbers) if backend else rsa_backend.PlainPublicKey(numbers)
    if backend is None:
        raise ConfigError(f"{source}: is an ECDSA key; {_NEEDS_EXTRA}")
    try:
        key: PublicKey = backend.ECPublicKey(numbers)
    except ValueError:
        raise ConfigError(f"{source}: is broken: its point is not on P-256") from None
    return key


def generate(kind: str) -> GeneratedKey:
    """Make a new key.

    :param kind: ``rsa`` (2048 bits) or ``ecdsa`` (P-256).
    :raises ConfigError: for another kind, and for ``ecdsa`` where ``cryptography`` is not installed.
    """
    backend = _cryptography()
    numbers: der.RSAPrivate | der.ECPrivate
    if kind == "rsa":
        numbers = backend.generate_rsa() if backend else rsa_backend.generate()
    elif kind == "ecdsa":
        if backend is None:
            raise ConfigError(f"ecdsa: {_NEEDS_EXTRA}")
        numbers = backend.generate_ec()
    else:
        raise ConfigError(f"{kind}: a key is rsa or ecdsa{nearest(kind, ('rsa', 'ecdsa'))}")
    key = _signing_key(numbers, "generated key")
    return GeneratedKey(key, armour("PRIVATE KEY", der.write_pkcs8(numbers)), key.public_pem)


def signs_slowly() -> bool:
    """Return whether the package ``rsa`` signs, because ``cryptography`` is not installed."""
    return _cryptography() is None


def _cryptography() -> _Backend | None:
    """Return the backend that needs ``cryptography``, or None if that is not installed."""
    try:
        from . import cryptography_backend
    except ImportError:
        return None
    return cryptography_backend


def _signing_key(numbers: der.RSAPrivate | der.ECPrivate, source: str) -> SigningKey:
    backend = _cryptography()
    try:
        if isinstance(numbers, der.RSAPrivate):
            key: SigningKey = (
                backend.RSASigningKey(numbers) if backend else rsa_backend.PlainSigningKey(numbers)
            )
            # ``rsa`` does not check whether the primes are primes. A signature shows it.
            verifier = rsa_backend.PlainPublicKey(numbers.public)
            genuine = verifier.verify(_TRIAL, key.sign(_TRIAL, "sha256"), "sha256")
        elif backend is None:
            raise ConfigError(f"{source}: is an ECDSA key; {_NEEDS_EXTRA}")
        else:
            key, genuine = backend.ECSigningKey(numbers), True
    except ConfigError:
        raise
    except (ValueError, ArithmeticError):
        genuine = False
    if not genuine:
        raise ConfigError(f"{source}: is broken: its numbers do not make one key") from None
    return key


def _read_private(text: str) -> der.RSAPrivate | der.ECPrivate:
    blocks = find_blocks(text)
    candidates = [block for block in blocks if block.label.endswith("PRIVATE KEY")]
    if not candidates:
        # "EC PARAMETERS" may precede any block, and says least.
        label = max(blocks, key=lambda block: block.label != "EC PARAMETERS").label
        raise PEMError(_NO_PRIVATE_KEY.get(label, f"holds {label!r}, which is not a private key"))
    if len(candidates) > 1:
        raise PEMError("holds more than one private key; one file holds one")
    (block,) = candidates
    if block.label not in _PRIVATE_LABELS:
        raise PEMError(_NO_PRIVATE_KEY.get(block.label, f"holds {block.label!r}; {der.WANTED}"))
    if block.encrypted:
        raise PEMError(_NO_PRIVATE_KEY["ENCRYPTED PRIVATE KEY"])
    if block.label == "PRIVATE KEY":
        return der.read_pkcs8(block.decode())
    if block.label == "RSA PRIVATE KEY":
        return der.read_pkcs1(block.decode())
    return der.read_sec1(block.decode(), _parameters(blocks))


def _parameters(blocks: list[Block]) -> bytes | None:
    return next((block.decode() for block in blocks if block.label == "EC PARAMETERS"), None)


def _read_public(text: str) -> der.RSAPublic | der.ECPublic:
    blocks = find_blocks(text)
    if len(blocks) > 1:
        raise PEMError("holds more than one PEM block; a public key is wanted here, alone")
    (block,) = blocks
    if block.label == "PUBLIC KEY":
        return der.read_spki(block.decode())
    if block.label == "RSA PUBLIC KEY":
        return der.read_pkcs1_public(block.decode())
    if block.label.endswith("PRIVATE KEY"):
        raise PEMError("is a private key; the public one is wanted here")
    raise PEMError(f"holds {block.label!r}; a public key is wanted here")
