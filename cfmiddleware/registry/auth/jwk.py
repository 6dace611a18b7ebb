"""Public keys that tokens are signed with, and their ids (RFC 7517, RFC 7638)."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from cfmiddleware.errors import ConfigError

_log = logging.getLogger("cfmiddleware.auth")

PublicKey: TypeAlias = (
    rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
)

_RSA = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

_MIN_RSA_BITS = 2048

# The members that make a public key (RFC 7638). Anything else in a file, such as a private part, is not read.
_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
_READERS: dict[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}


@dataclass(frozen=True)
class TrustedKey:
    """A public key and the algorithms that it is used with."""

    public: PublicKey
    algorithms: frozenset[str]


def trusted_key(public: object) -> TrustedKey:
    """Return a key with all the algorithms that its type allows.

    :raises ValueError: for a type of key that no algorithm uses, or an RSA key of less than 2048 bits.
    """
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < _MIN_RSA_BITS:
            raise ValueError(f"an RSA key of {public.key_size} bits is too short; {_MIN_RSA_BITS} are enough")
        return TrustedKey(public, _RSA)
    if isinstance(public, ec.EllipticCurvePublicKey):
        if public.curve.name not in _CURVES:
            raise ValueError(f"no token is signed on the curve {public.curve.name}")
        return TrustedKey(public, frozenset((_CURVES[public.curve.name],)))
    if isinstance(public, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return TrustedKey(public, frozenset(("EdDSA",)))
    raise ValueError("the key is neither RSA nor ECDSA nor EdDSA")


def key_ids(key: TrustedKey) -> tuple[str, str]:
    """Return the ids by which a token may name a key without a ``kid``: Distribution 2's id and 3's."""
    return libtrust_id(key.public), thumbprint(key.public)


def libtrust_id(public: PublicKey) -> str:
    """Return the id that Distribution 2 knows a key by: twelve groups such as ``ABCD:EFGH:...``.

    They are the first 240 bits of the SHA-256 of the DER form, in base32 (libtrust).
    """
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def thumbprint(public: PublicKey) -> str:
    """Return a key's thumbprint (RFC 7638) by SHA-256, in base64url."""
    if isinstance(public, rsa.RSAPublicKey):
        members: Mapping[str, Any] = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        members = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        members = OKPAlgorithm.to_jwk(public, as_dict=True)
    required = {name: members[name] for name in _MEMBERS[members["kty"]]}
    text = json.dumps(required, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def parse_jwks(content: bytes, name: str) -> dict[str, TrustedKey]:
    """Read a JSON Web Key Set (RFC 7517, 5): each key under its ``kid`` and under the ids made of itself.

    A key that cannot be used is left out and named in the log.

    :param name: the file's name, for messages.
    :raises ConfigError: for anything but such a set, and for one without a usable key.
    """
    try:
        entries = json.loads(content)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise ConfigError(f"{name}: is not a JSON Web Key Set: a JSON object with a list of 'keys'")
    named: dict[str, TrustedKey] = {}
    unnamed: dict[str, TrustedKey] = {}
    for number, entry in enumerate(entries, 1):
        try:
            key = _key_of(entry)
        except ValueError as error:
            _log.warning("%s: key %d is left out: %s", name, number, error)
            continue
        kid = entry.get("kid")
        if isinstance(kid, str) and kid and named.setdefault(kid, key) != key:
            _log.warning("%s: key %d is left out: another one has its kid", name, number)
            continue
        unnamed.update(dict.fromkeys(key_ids(key), key))
    if not unnamed:
        raise ConfigError(f"{name}: has no key that a token could be signed with")
    return {**unnamed, **named}


def _key_of(entry: object) -> TrustedKey:
    if not isinstance(entry, dict):
        raise ValueError("it is not a JSON object")
    kind, use, algorithm = entry.get("kty"), entry.get("use", "sig"), entry.get("alg")
    if kind == "oct":
        raise ValueError("it is a shared secret, with which every reader of the file could make tokens")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        raise ValueError("its kty is none of RSA, EC and OKP")
    if use != "sig":
        raise ValueError("it is not for signatures")
    public = {member: entry.get(member) for member in _MEMBERS[kind]}
    try:
        key = trusted_key(_READERS[kind].from_jwk(public))
    except (jwt.PyJWTError, TypeError, AttributeError, ArithmeticError):
        raise ValueError("its numbers make no public key") from None
    if algorithm is None:
        return key
    if algorithm not in key.algorithms:
        raise ValueError("its alg is none that this kind of key is for")
    return TrustedKey(key.public, frozenset((algorithm,)))
