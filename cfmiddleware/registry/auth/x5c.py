"""Certificate chains that tokens bring with them (RFC 7515, 4.1.6; RFC 5280, 6.1)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID

from cfmiddleware.errors import ConfigError

from .jwk import TrustedKey, key_ids, trusted_key

#: How long a chain may be; real ones have two or three certificates.
_MAX_LENGTH = 6

_SHA2 = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

# The critical extensions that a certificate may have: those read here, and those that say nothing about
# signing tokens. A program must refuse a certificate with a critical extension that it does not know (RFC
# 5280, 4.2).
_UNDERSTOOD = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
)


class ChainError(ValueError):
    """A certificate chain does not lead to a trusted one."""


class Roots:
    """Certificates that are trusted: a bundle's.

    :param certificates: at least one.
    :raises ValueError: if one has a key that tokens cannot be signed with.
    """

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._certificates = tuple(certificates)
        #: Their keys, by the ids that a token may use.
        self.keys: dict[str, TrustedKey] = {}
        for certificate in certificates:
            key = trusted_key(certificate.public_key())
            self.keys.update(dict.fromkeys(key_ids(key), key))

    def key_of(self, encoded: Sequence[object], now: datetime | None = None) -> TrustedKey:
        """Return the key of a chain's first certificate, if the chain leads to one that is trusted.

        :param encoded: the header ``x5c``: the signer's certificate and those between it and a root, each
            DER in base64.
        :param now: the moment that all certificates must be valid at; the present by default.
        :raises ChainError: if anything about the chain is wrong.
        """
        moment = now or datetime.now(UTC)
        leaf, *between = _decode(encoded)
        try:
            self._follow(leaf, between, moment)
            return trusted_key(leaf.public_key())
        except ChainError:
            raise
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ChainError("a certificate of the chain has something that cannot be read") from None

    def _follow(self, leaf: x509.Certificate, between: list[x509.Certificate], moment: datetime) -> None:
        current, below = leaf, 0
        _check(current, moment)
        if current not in self._certificates:
            _check_signer(current)
        while current not in self._certificates:
            candidates = [*self._certificates, *between]
            issuer = next((one for one in candidates if _issued(one, current)), None)
            if issuer is None:
                raise ChainError("the chain leads to none of the trusted certificates")
            if issuer in between:
                between.remove(issuer)
            _check(issuer, moment)
            _check_authority(issuer, below)
            below += issuer.subject != issuer.issuer
            current = issuer


def parse_bundle(content: bytes, name: str) -> Roots:
    """Read certificates in PEM.

    :param name: the file's name, for messages.
    :raises ConfigError: if there is none, or one that cannot be used.
    """
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ConfigError(f"{name}: has no certificate in PEM")
    try:
        return Roots(x509.load_pem_x509_certificates(content))
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = str(error).splitlines()[0] if str(error) else "it cannot be read"
        raise ConfigError(f"{name}: a certificate cannot be used: {reason}") from None


def _decode(encoded: Sequence[object]) -> list[x509.Certificate]:
    if not 0 < len(encoded) <= _MAX_LENGTH:
        raise ChainError(f"the chain has not 1 to {_MAX_LENGTH} certificates")
    try:
        return [
            x509.load_der_x509_certificate(base64.b64decode(_text(one), validate=True)) for one in encoded
        ]
    except (ValueError, UnsupportedAlgorithm):
        raise ChainError("a certificate of the chain cannot be read") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if issuer.subject != certificate.issuer:
        return False
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, _SHA2):
        raise ChainError("a certificate of the chain is not signed with SHA-256, SHA-384 or SHA-512")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check(certificate: x509.Certificate, moment: datetime) -> None:
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise ChainError("a certificate of the chain has expired, or is not valid yet")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise ChainError("a certificate of the chain has a critical extension that is not known here")


def _check_signer(certificate: x509.Certificate) -> None:
    """Check that a certificate may sign what is no certificate (RFC 5280, 4.2.1.3).

    Where the bundle is a company's authority, its certificates for servers that say what they are for sign no
    tokens.
    """
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.KeyUsage) and not extension.value.digital_signature:
            raise ChainError("the key usage of the signer's certificate has no digitalSignature")


def _check_authority(certificate: x509.Certificate, below: int) -> None:
    """Check that a certificate may issue others.

    :param below: how many authorities there are between it and the signer.
    """
    extensions = certificate.extensions
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise ChainError("a certificate of the chain is not an authority's") from None
    if not constraints.ca or (constraints.path_length is not None and constraints.path_length < below):
        raise ChainError("a certificate of the chain may not issue others, or not that far down")
    for extension in extensions:
        if isinstance(extension.value, x509.KeyUsage) and not extension.value.key_cert_sign:
            raise ChainError("a certificate of the chain may not issue others")
        if isinstance(extension.value, x509.NameConstraints):
            raise ChainError("a certificate of the chain has name constraints, which are not known here")
