"""Keys for the tests of signing, made when first asked for, by whatever is installed."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable

import pytest

from cfmiddleware.signing import der
from cfmiddleware.signing.keys import (
    KeyPair,
    PublicKey,
    SigningKey,
    generate,
    load_private_key,
    load_public_key,
)
from cfmiddleware.signing.pem import armour, find_blocks
from cfmiddleware.signing.rsa_backend import PlainSigningKey

CRYPTOGRAPHY = importlib.util.find_spec("cryptography") is not None
OPENSSL = shutil.which("openssl")

needs_cryptography = pytest.mark.skipif(not CRYPTOGRAPHY, reason="cryptography is not installed")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")


def openssl(*arguments: str, text: bytes = b"") -> bytes:
    """Run openssl with *text* on its standard input and return what it printed."""
    assert OPENSSL is not None
    return subprocess.run([OPENSSL, *arguments], input=text, capture_output=True, check=True).stdout


# Every caller names the number, because the cache takes a default for another argument.
@functools.cache
def _rsa_pem(number: int) -> str:
    if not CRYPTOGRAPHY and OPENSSL is not None:
        return openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048").decode()
    return generate("rsa").private_pem


@functools.cache
def _ec_pem(number: int) -> str:
    return generate("ecdsa").private_pem


@functools.cache
def _load(text: str) -> SigningKey:
    return load_private_key(text, "key of a test")


def rsa_pem(number: int = 1) -> str:
    """Return the text of the RSA key of that number, in PKCS#8."""
    return _rsa_pem(number)


def ec_pem(number: int = 1) -> str:
    """Return the text of the ECDSA key of that number, in PKCS#8."""
    return _ec_pem(number)


def rsa_key(number: int = 1) -> SigningKey:
    return _load(rsa_pem(number))


def ec_key(number: int = 1) -> SigningKey:
    return _load(ec_pem(number))


def rsa_numbers(number: int = 1) -> der.RSAPrivate:
    numbers = der.read_pkcs8(find_blocks(rsa_pem(number))[0].decode())
    assert isinstance(numbers, der.RSAPrivate)
    return numbers


def plain_key(number: int = 1) -> PlainSigningKey:
    """Return the RSA key of that number as the ``rsa`` package signs with it."""
    return PlainSigningKey(rsa_numbers(number))


def pair(id: str, number: int = 1) -> KeyPair:
    return KeyPair(id, rsa_key(number))


def public(key: SigningKey) -> PublicKey:
    return load_public_key(key.public_pem, "public key")


# Just enough of DER's writing side to make keys that no library here would make.


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 | len(size)]) + size + content


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    content = [40 * first + second]
    for arc in rest:
        groups = [arc & 127]
        while arc := arc >> 7:
            groups.insert(0, 128 | arc & 127)
        content += groups
    return tlv(6, bytes(content))


def pkcs8(algorithm: str, parameters: bytes, inner: bytes) -> str:
    return armour("PRIVATE KEY", tlv(48, integer(0), tlv(48, oid(algorithm), parameters), tlv(4, inner)))


def pkcs1(*numbers: int) -> str:
    return armour("RSA PRIVATE KEY", tlv(48, *map(integer, numbers)))


def sec1(value: bytes, *further: bytes) -> str:
    return armour("EC PRIVATE KEY", tlv(48, integer(1), tlv(4, value), *further))


def in_a_fork(function: Callable[[], str]) -> str:
    """Return what *function* returns in a child process, which must end within ten seconds."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            os.write(sending, function().encode())
        finally:
            os._exit(0)
    os.close(sending)
    with open(receiving, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text
