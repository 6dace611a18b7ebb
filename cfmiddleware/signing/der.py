"""What is inside a key's PEM: ASN.1 read into numbers, and numbers written back.

PKCS#1 is RFC 8017, appendix A.1; SEC1 is RFC 5915; PKCS#8 is RFC 5958; public keys are RFC 5280,
section 4.1, with RFC 3279 and RFC 5480. Without ``cryptography``, ``rsa`` signs, and it reads neither PKCS#8
nor SEC1. That is the one reason for this file. Keys are read here for both libraries, so that both accept the
same keys and refuse the others with the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import namedtype, tag, univ

_RSA = "1.2.840.113549.1.1.1"
_EC = "1.2.840.10045.2.1"
_P256 = "1.2.840.10045.3.1.7"

_ALGORITHMS = {
    "1.2.840.113549.1.1.10": "an RSA-PSS key",
    "1.2.840.113549.1.1.7": "an RSA-OAEP key",
    "1.2.840.10040.4.1": "a DSA key",
    "1.2.840.113549.1.3.1": "a Diffie-Hellman key",
    "1.3.101.110": "an X25519 key",
    "1.3.101.111": "an X448 key",
    "1.3.101.112": "an Ed25519 key",
    "1.3.101.113": "an Ed448 key",
}

_CURVES = {
    "1.2.840.10045.3.1.1": "P-192",
    "1.3.132.0.33": "P-224",
    "1.3.132.0.34": "P-384",
    "1.3.132.0.35": "P-521",
    "1.3.132.0.10": "secp256k1",
    "1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
    "1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
    "1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
    "1.2.156.10197.1.301": "SM2",
}

#: The keys that CloudFront accepts, for the end of an error's line.
WANTED = "CloudFront takes RSA with 2048 bits or ECDSA on P-256"

_RSA_BITS = 2048
_FIELD = 32  # bytes of a P-256 coordinate or private value

_BROKEN = "is broken: what lies between BEGIN and END is not what its label says"


class KeyFormatError(ValueError):
    """CloudFront does not accept the key. The message says what kind it is, and never quotes it."""


@dataclass(frozen=True, repr=False)
class RSAPublic:
    """An RSA public key."""

    n: int
    e: int


@dataclass(frozen=True, repr=False)
class ECPublic:
    """A public key on P-256: its point, uncompressed (0x04 and two coordinates)."""

    point: bytes


@dataclass(frozen=True, repr=False)
class RSAPrivate:
    """An RSA private key of two primes."""

    n: int
    e: int
    d: int
    p: int
    q: int
    dp: int
    dq: int
    qinv: int

    @property
    def public(self) -> RSAPublic:
        """The public half."""
        return RSAPublic(self.n, self.e)


@dataclass(frozen=True, repr=False)
class ECPrivate:
    """A private key on P-256; *point* is what the PEM says of its public half, which may be nothing."""

    value: int
    point: bytes | None


class _Algorithm(univ.Sequence):  # type: ignore[misc]  # pyasn1 has no types
    componentType = namedtype.NamedTypes(  # noqa: N815  # pyasn1's name
        namedtype.NamedType("algorithm", univ.ObjectIdentifier()),
        namedtype.OptionalNamedType("parameters", univ.Any()),
    )


def _tagged(kind: Any, number: int, *, explicit: bool) -> Any:
    form = tag.tagFormatConstructed if explicit else tag.tagFormatSimple
    mark = tag.Tag(tag.tagClassContext, form, number)
    return kind.subtype(explicitTag=mark) if explicit else kind.subtype(implicitTag=mark)


class _PKCS8(univ.Sequence):  # type: ignore[misc]  # pyasn1 has no types
    componentType = namedtype.NamedTypes(  # noqa: N815  # pyasn1's name
        namedtype.NamedType("version", univ.Integer()),
        namedtype.NamedType("algorithm", _Algorithm()),
        namedtype.NamedType("key", univ.OctetString()),
        namedtype.OptionalNamedType(
            "attributes",
            univ.SetOf(componentType=univ.Any()).subtype(
                implicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, 0)
            ),
        ),
        namedtype.OptionalNamedType("public", _tagged(univ.BitString(), 1, explicit=False)),
    )


class _Curve(univ.Choice):  # type: ignore[misc]  # pyasn1 has no types
    componentType = namedtype.NamedTypes(  # noqa: N815  # pyasn1's name
        namedtype.NamedType("named", univ.ObjectIdentifier()),
        namedtype.NamedType("spelled", univ.SequenceOf(componentType=univ.Any())),
    )


class _SEC1(univ.Sequence):  # type: ignore[misc]  # pyasn1 has no types
    componentType = namedtype.NamedTypes(  # noqa: N815  # pyasn1's name
        namedtype.NamedType("version", univ.Integer()),
        namedtype.NamedType("value", univ.OctetString()),
        namedtype.OptionalNamedType("parameters", _tagged(_Curve(), 0, explicit=True)),
        namedtype.OptionalNamedType("public", _tagged(univ.BitString(), 1, explicit=True)),
    )


class _SPKI(univ.Sequence):  # type: ignore[misc]  # pyasn1 has no types
    componentType = namedtype.NamedTypes(  # noqa: N815  # pyasn1's name
        namedtype.NamedType("algorithm", _Algorithm()),
        namedtype.NamedType("key", univ.BitString()),
    )


def read_pkcs8(content: bytes) -> RSAPrivate | ECPrivate:
    """Read what lies in ``-----BEGIN PRIVATE KEY-----``.

    :raises KeyFormatError: when it is broken, or no key for CloudFront.
    """
    info = _decode(content, _PKCS8())
    inner = bytes(info["key"])
    if _algorithm(info["algorithm"]) == _RSA:
        return read_pkcs1(inner)
    _check_curve(_parameters(info["algorithm"]))
    return _sec1_value(_decode(inner, _SEC1()))


def read_pkcs1(content: bytes) -> RSAPrivate:
    """Read what lies in ``-----BEGIN RSA PRIVATE KEY-----``.

    :raises KeyFormatError: when it is broken, or no key for CloudFront.
    """
    numbers = _integers(content)
    if len(numbers) != 9 or numbers[0] != 0:
        raise KeyFormatError(_BROKEN)
    key = RSAPrivate(*numbers[1:])
    _check_rsa(key.public)
    if not (
        min(key.p, key.q) > 1
        and key.p * key.q == key.n
        and key.d * key.e % (key.p - 1) == 1
        and key.d * key.e % (key.q - 1) == 1
        and key.dp == key.d % (key.p - 1)
        and key.dq == key.d % (key.q - 1)
        and key.q * key.qinv % key.p == 1
        and 0 < key.d < key.n
    ):
        raise KeyFormatError("is broken: its numbers do not make one RSA key")
    return key


def read_sec1(content: bytes, parameters: bytes | None = None) -> ECPrivate:
    """Read what lies in ``-----BEGIN EC PRIVATE KEY-----``.

    :param parameters: what an ``EC PARAMETERS`` block beside it holds, for a key that names no curve.
    :raises KeyFormatError: when it is broken, or no key for CloudFront.
    """
    key = _decode(content, _SEC1())
    if key["parameters"].isValue:
        _check_curve(key["parameters"])
    else:
        _check_curve(_decode(parameters, _Curve()) if parameters is not None else None)
    return _sec1_value(key)


def read_spki(content: bytes) -> RSAPublic | ECPublic:
    """Read what lies in ``-----BEGIN PUBLIC KEY-----``.

    :raises KeyFormatError: when it is broken, or no key for CloudFront.
    """
    info = _decode(content, _SPKI())
    inner = info["key"].asOctets()
    if _algorithm(info["algorithm"]) == _RSA:
        return read_pkcs1_public(inner)
    _check_curve(_parameters(info["algorithm"]))
    if len(inner) != 1 + 2 * _FIELD or inner[0] != 4:
        raise KeyFormatError("is broken: its point is not an uncompressed point of P-256")
    return ECPublic(inner)


def read_pkcs1_public(content: bytes) -> RSAPublic:
    """Read what lies in ``-----BEGIN RSA PUBLIC KEY-----``.

    :raises KeyFormatError: when it is broken, or no key for CloudFront.
    """
    numbers = _integers(content)
    if len(numbers) != 2:
        raise KeyFormatError(_BROKEN)
    key = RSAPublic(*numbers)
    _check_rsa(key)
    return key


def write_spki(key: RSAPublic | ECPublic) -> bytes:
    """Return the SubjectPublicKeyInfo of *key*: what CloudFront takes, and what a fingerprint is made of."""
    info = _SPKI()
    if isinstance(key, RSAPublic):
        _put_algorithm(info["algorithm"], _RSA, univ.Null(""))
        inner = _sequence(univ.Integer(key.n), univ.Integer(key.e))
    else:
        _put_algorithm(info["algorithm"], _EC, univ.ObjectIdentifier(_P256))
        inner = key.point
    info["key"] = univ.BitString.fromOctetString(inner)
    return bytes(encoder.encode(info))


def write_pkcs8(key: RSAPrivate | ECPrivate) -> bytes:
    """Return *key* as a PKCS#8 structure, unencrypted."""
    info = _PKCS8()
    info["version"] = 0
    if isinstance(key, RSAPrivate):
        _put_algorithm(info["algorithm"], _RSA, univ.Null(""))
        numbers = (0, key.n, key.e, key.d, key.p, key.q, key.dp, key.dq, key.qinv)
        info["key"] = _sequence(*map(univ.Integer, numbers))
    else:
        _put_algorithm(info["algorithm"], _EC, univ.ObjectIdentifier(_P256))
        inner = _SEC1()
        inner["version"] = 1
        inner["value"] = key.value.to_bytes(_FIELD, "big")
        if key.point is not None:
            # Assigned through the component's own type, which carries the [1] tag.
            inner["public"] = inner["public"].clone(univ.BitString.fromOctetString(key.point).asBinary())
        info["key"] = encoder.encode(inner)
    return bytes(encoder.encode(info))


def _decode(content: bytes, kind: Any) -> Any:
    try:
        value, rest = decoder.decode(content, asn1Spec=kind)
    except (PyAsn1Error, ValueError, TypeError, IndexError, OverflowError, RecursionError):
        # pyasn1 lets some of Python's own errors through for broken input; its messages quote the input.
        raise KeyFormatError(_BROKEN) from None
    if rest:
        raise KeyFormatError(_BROKEN)
    return value


def _integers(content: bytes) -> list[int]:
    return [int(item) for item in _decode(content, univ.SequenceOf(componentType=univ.Integer()))]


def _algorithm(identifier: Any) -> str:
    """Return the identifier's OID if it is one of the two we take."""
    oid = str(identifier["algorithm"])
    if oid not in (_RSA, _EC):
        name = _ALGORITHMS.get(oid, f"a key of the unknown algorithm {oid}")
        raise KeyFormatError(f"is {name}; {WANTED}")
    return oid


def _parameters(identifier: Any) -> Any:
    parameters = identifier["parameters"]
    return _decode(bytes(parameters), _Curve()) if parameters.isValue else None


def _check_curve(curve: Any) -> None:
    if curve is None:
        raise KeyFormatError("is an EC key that does not say on which curve")
    if curve.getName() != "named":
        raise KeyFormatError(f"is an EC key with a curve spelled out instead of named; {WANTED}")
    oid = str(curve["named"])
    if oid != _P256:
        raise KeyFormatError(f"is an EC key on {_CURVES.get(oid, f'the unknown curve {oid}')}; {WANTED}")


def _check_rsa(key: RSAPublic) -> None:
    bits = key.n.bit_length()
    if key.n <= 0 or key.e < 3 or key.e % 2 == 0 or key.e >= key.n:
        raise KeyFormatError("is broken: its numbers do not make one RSA key")
    if bits != _RSA_BITS:
        raise KeyFormatError(f"is an RSA key of {bits} bits; {WANTED}")


def _sec1_value(key: Any) -> ECPrivate:
    value = bytes(key["value"])
    if int(key["version"]) != 1 or len(value) > _FIELD:
        raise KeyFormatError(_BROKEN)
    point = key["public"].asOctets() if key["public"].isValue else None
    return ECPrivate(int.from_bytes(value, "big"), point)


def _put_algorithm(identifier: Any, oid: str, parameters: Any) -> None:
    identifier["algorithm"] = oid
    identifier["parameters"] = encoder.encode(parameters)


def _sequence(*items: Any) -> bytes:
    sequence = univ.Sequence()
    for index, item in enumerate(items):
        sequence[index] = item
    return bytes(encoder.encode(sequence))
