"""Which keys are taken, in which encodings, what is said of the others, and that both libraries agree."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import subprocess
import sys
import traceback

import pytest
import rsa as rsa_package
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.examples import examples
from lab.signing_material import (
    ec_key,
    ec_pem,
    integer,
    needs_cryptography,
    needs_openssl,
    oid,
    openssl,
    pkcs1,
    pkcs8,
    plain_key,
    public,
    rsa_key,
    rsa_numbers,
    rsa_pem,
    sec1,
    tlv,
)

from cfmiddleware.errors import ConfigError
from cfmiddleware.signing import der
from cfmiddleware.signing.keys import generate, load_private_key, load_public_key
from cfmiddleware.signing.pem import PEMError, armour, find_blocks
from cfmiddleware.signing.rsa_backend import PlainPublicKey

EC = "1.2.840.10045.2.1"
P256 = "1.2.840.10045.3.1.7"
P384 = "1.3.132.0.34"
HASHES = ("sha1", "sha256")


def error_of(text, load=load_private_key):
    with pytest.raises(ConfigError) as caught:
        load(text, "some.pem")
    message = str(caught.value)
    assert message.startswith("some.pem: ")
    assert "\n" not in message
    return message


def rsa_as_pkcs1(number=1):
    numbers = rsa_numbers(number)
    key = rsa_package.PrivateKey(numbers.n, numbers.e, numbers.d, numbers.p, numbers.q)
    return key.save_pkcs1().decode()


# Encodings


def test_pkcs1_and_pkcs8_give_the_same_rsa_key():
    assert load_private_key(rsa_as_pkcs1(), "x").fingerprint == rsa_key().fingerprint


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"A key for CloudFront:\n\n{text}\nKeep it.",
        lambda text: text.replace("\n", "\n    "),
        lambda text: text.replace("\n", " "),
        lambda text: text.strip(),
        lambda text: "\ufeff" + text,
    ],
    ids=["CRLF", "text around", "indented", "on one line", "no newline at the end", "byte order mark"],
)
@pytest.mark.parametrize("text", [rsa_as_pkcs1, rsa_pem], ids=["PKCS#1", "PKCS#8"])
def test_a_key_may_be_dressed_in_many_ways(text, dress):
    assert load_private_key(dress(text()), "x").fingerprint == rsa_key().fingerprint


def test_a_certificate_beside_the_key_does_no_harm():
    certificate = armour("CERTIFICATE", b"\x30\x00")
    assert load_private_key(certificate + rsa_pem(), "x").fingerprint == rsa_key().fingerprint


@needs_openssl
def test_what_openssl_says_is_the_fingerprint_and_the_public_key():
    spki = openssl("pkey", "-pubout", "-outform", "DER", text=rsa_pem().encode())
    assert rsa_key().fingerprint == openssl("dgst", "-sha256", "-r", text=spki).split()[0].decode()
    assert rsa_key().public_pem == openssl("pkey", "-pubout", text=rsa_pem().encode()).decode()


@needs_cryptography
@needs_openssl
def test_ec_keys_are_taken_as_openssl_writes_them():
    with_parameters = openssl("ecparam", "-genkey", "-name", "prime256v1").decode()
    assert "BEGIN EC PARAMETERS" in with_parameters
    alone = with_parameters[with_parameters.index("-----BEGIN EC PRIVATE KEY") :]
    modern = openssl("pkcs8", "-topk8", "-nocrypt", text=with_parameters.encode()).decode()
    keys = [load_private_key(text, "x") for text in (with_parameters, alone, modern)]
    assert len({key.fingerprint for key in keys}) == 1
    assert keys[0].public_pem == openssl("pkey", "-pubout", text=modern.encode()).decode()
    assert keys[0].algorithm == "ecdsa"


@needs_cryptography
def test_an_ec_key_that_names_no_curve_takes_it_from_the_parameters_beside_it():
    bare = sec1(bytes(31) + b"\x07")
    assert "on which curve" in error_of(bare)
    named = load_private_key(armour("EC PARAMETERS", oid(P256)) + bare, "x")
    assert named.fingerprint == load_private_key(sec1(b"\x07", tlv(0xA0, oid(P256))), "x").fingerprint
    assert "P-384" in error_of(armour("EC PARAMETERS", oid(P384)) + bare)


# Refusals

REFUSED = {
    "encrypted PKCS#8": (armour("ENCRYPTED PRIVATE KEY", b"\x30\x00"), "an encrypted key"),
    "encrypted PKCS#1": (
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n"
        "-----END RSA PRIVATE KEY-----\n",
        "an encrypted key",
    ),
    "encrypted SEC1, CRLF": (
        "-----BEGIN EC PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-128-CBC,00\r\n\r\nAAAA\r\n"
        "-----END EC PRIVATE KEY-----\r\n",
        "an encrypted key",
    ),
    "DSA": (armour("DSA PRIVATE KEY", b"\x30\x00"), "a DSA key"),
    "DSA in PKCS#8": (pkcs8("1.2.840.10040.4.1", tlv(48), integer(7)), "a DSA key"),
    "Ed25519": (pkcs8("1.3.101.112", b"", tlv(4, bytes(32))), "an Ed25519 key"),
    "Ed448": (pkcs8("1.3.101.113", b"", tlv(4, bytes(57))), "an Ed448 key"),
    "X25519": (pkcs8("1.3.101.110", b"", tlv(4, bytes(32))), "an X25519 key"),
    "X448": (pkcs8("1.3.101.111", b"", tlv(4, bytes(56))), "an X448 key"),
    "RSA-PSS": (pkcs8("1.2.840.113549.1.1.10", tlv(48), tlv(48)), "an RSA-PSS key"),
    "unknown algorithm": (pkcs8("1.2.3.4", b"", b""), "unknown algorithm 1.2.3.4"),
    "public key": (armour("PUBLIC KEY", b"\x30\x00"), "a public key"),
    "RSA public key": (armour("RSA PUBLIC KEY", b"\x30\x00"), "a public key"),
    "certificate": (armour("CERTIFICATE", b"\x30\x00"), "a certificate"),
    "certificate request": (armour("CERTIFICATE REQUEST", b"\x30\x00"), "a certificate request"),
    "OpenSSH": (armour("OPENSSH PRIVATE KEY", b"openssh-key-v1\0"), "ssh-keygen -p -m PEM"),
    "curve alone": (armour("EC PARAMETERS", oid(P256)), "no key"),
    "P-384 in PKCS#8": (pkcs8(EC, oid(P384), b""), "an EC key on P-384"),
    "P-521 in SEC1": (sec1(bytes(66), tlv(0xA0, oid("1.3.132.0.35"))), "an EC key on P-521"),
    "secp256k1": (sec1(bytes(32), tlv(0xA0, oid("1.3.132.0.10"))), "an EC key on secp256k1"),
    "unknown curve": (pkcs8(EC, oid("1.2.3.4.5"), b""), "unknown curve 1.2.3.4.5"),
    "curve spelled out": (pkcs8(EC, tlv(48, integer(1)), b""), "spelled out"),
    "RSA 1024": (pkcs1(0, 1 << 1023 | 1, 65537, 3, 3, 3, 3, 3, 3), "an RSA key of 1024 bits"),
    "RSA 4096": (pkcs1(0, 1 << 4095 | 1, 65537, 3, 3, 3, 3, 3, 3), "an RSA key of 4096 bits"),
    "RSA without sense": (pkcs1(0, 1 << 2047 | 1, 65537, 3, 3, 3, 3, 3, 3), "is broken"),
    "RSA with one for a prime": (pkcs1(0, 1 << 2047 | 1, 3, 3, 1, 1 << 2047 | 1, 3, 3, 3), "is broken"),
    "RSA of zeros": (pkcs1(0, 0, 0, 0, 0, 0, 0, 0, 0), "is broken"),
    "too few numbers": (pkcs1(0, 1, 2), "is broken"),
    "something else": (armour("PGP MESSAGE", b"\x30\x00"), "'PGP MESSAGE'"),
    "no PEM": ("K2JCJMDEHXQW5F", "is not PEM"),
    "nothing": ("", "is not PEM"),
    "no end": ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n", "without its END line"),
    "no base64": ("-----BEGIN PRIVATE KEY-----\nMII!\n-----END PRIVATE KEY-----", "not base64"),
    "empty": ("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----", "nothing lies between"),
    "no DER": (armour("PRIVATE KEY", b"something else"), "is broken"),
    "cut off DER": (armour("PRIVATE KEY", b"\x30\x82\x04\xbd\x02\x01"), "is broken"),
    "nested without end": (armour("PRIVATE KEY", b"\x30\x80" * 5000), "is broken"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_key_that_cloudfront_does_not_take_is_called_by_its_name(text, said):
    assert said in error_of(text)


def test_two_private_keys_in_one_text_are_refused():
    assert "more than one private key" in error_of(rsa_pem(1) + rsa_pem(2))


def test_bytes_after_the_key_are_refused():
    content = find_blocks(rsa_pem())[0].decode()
    assert "is broken" in error_of(armour("PRIVATE KEY", content + b"\0"))


@pytest.mark.parametrize("member", ["n", "e", "d", "p", "q", "dp", "dq", "qinv"])
def test_an_rsa_key_of_which_one_number_is_wrong_is_refused(member):
    numbers = rsa_numbers()
    wrong = dataclasses.replace(numbers, **{member: getattr(numbers, member) + 2})
    # Asked of the reader, because whether a library would notice differs between the two.
    with pytest.raises(der.KeyFormatError, match="is broken"):
        der.read_pkcs8(der.write_pkcs8(wrong))


def test_an_rsa_key_whose_primes_are_none_is_refused():
    p, q = (1 << 1023) + 9, (1 << 1024) - 3  # neither is a prime; what belongs to them is reckoned as if
    e = 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    text = pkcs1(0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    assert (p * q).bit_length() == 2048
    assert "is broken" in error_of(text)


@needs_cryptography
def test_an_ec_key_with_another_keys_point_is_refused():
    own, other = (der.read_pkcs8(find_blocks(ec_pem(number))[0].decode()) for number in (1, 2))
    mixed = dataclasses.replace(own, point=other.point)
    assert "is broken" in error_of(armour("PRIVATE KEY", der.write_pkcs8(mixed)))


@needs_cryptography
@pytest.mark.parametrize("value", [bytes(32), b"\xff" * 32], ids=["zero", "beyond the order"])
def test_an_ec_value_that_is_none_of_the_curves_is_refused(value):
    assert "is broken" in error_of(sec1(value, tlv(0xA0, oid(P256))))


@needs_openssl
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("genpkey", "-algorithm", "ed25519"), "an Ed25519 key"),
        (("genpkey", "-algorithm", "ed448"), "an Ed448 key"),
        (("genpkey", "-algorithm", "x25519"), "an X25519 key"),
        (("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"), "on P-384"),
        (("ecparam", "-genkey", "-name", "secp384r1"), "on P-384"),
        (("ecparam", "-genkey", "-name", "secp521r1", "-noout"), "on P-521"),
        (("ecparam", "-genkey", "-name", "prime256v1", "-param_enc", "explicit"), "spelled out"),
        (("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"), "of 1024 bits"),
    ],
)
def test_what_openssl_makes_of_other_kinds_is_called_by_its_name(arguments, said):
    assert said in error_of(openssl(*arguments).decode())


@needs_openssl
@pytest.mark.parametrize("form", [(), ("-traditional",)])
def test_what_openssl_encrypts_is_called_encrypted(form):
    arguments = ("pkey", *form, "-aes128", "-passout", "pass:x")
    assert "an encrypted key" in error_of(openssl(*arguments, text=rsa_pem().encode()).decode())


def test_an_error_and_its_traceback_hold_nothing_of_the_key():
    body = "".join(rsa_pem().splitlines()[1:-1])
    for broken in (body[:-8] + "!!!!", body[8:], body[: len(body) // 8 * 4], body):
        text = f"-----BEGIN RSA PRIVATE KEY-----\n{broken}\n-----END RSA PRIVATE KEY-----"
        try:
            load_private_key(text, "x")
        except ConfigError as error:
            shown = "".join(traceback.format_exception(error))
        else:
            pytest.fail("the broken key was taken")
        assert broken[40:60] not in shown
        assert not any(
            str(number) in shown for number in dataclasses.astuple(rsa_numbers()) if number > 65537
        )


def test_a_keys_repr_holds_no_secret():
    numbers = rsa_numbers()
    shown = repr([rsa_key(), plain_key(), numbers, find_blocks(rsa_pem())])
    assert str(numbers.d) not in shown
    assert rsa_pem()[100:120] not in shown


@settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_a_damaged_key_is_taken_or_refused_but_never_a_crash(data):
    content = bytearray(find_blocks(rsa_pem())[0].decode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(60, len(content) - 1)))] = data.draw(st.integers(0, 255))
    for read in (der.read_pkcs8, der.read_pkcs1, der.read_sec1, der.read_spki, der.read_pkcs1_public):
        with contextlib.suppress(der.KeyFormatError):
            read(bytes(content))


@given(st.text(alphabet="-BEGINDPRVATEKY \n:=abc", max_size=120))
def test_any_text_gives_blocks_or_a_pem_error(text):
    with contextlib.suppress(PEMError):
        for block in find_blocks(text):
            block.decode()


@given(st.binary(min_size=1, max_size=300))
def test_what_is_put_into_armour_comes_out_again(content):
    (block,) = find_blocks(armour("PUBLIC KEY", content))
    assert (block.label, block.decode()) == ("PUBLIC KEY", content)


# Public keys


def test_a_public_key_has_the_fingerprint_of_its_private_half():
    assert public(rsa_key()).fingerprint == rsa_key().fingerprint
    assert public(rsa_key()).algorithm == "rsa"


def test_a_public_key_may_be_pkcs1():
    numbers = rsa_numbers().public
    text = armour("RSA PUBLIC KEY", tlv(48, integer(numbers.n), integer(numbers.e)))
    assert load_public_key(text, "x").fingerprint == rsa_key().fingerprint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (armour("CERTIFICATE", b"\x30\x00"), "'CERTIFICATE'"),
        (armour("PRIVATE KEY", b"\x30\x00"), "is a private key"),
        (armour("PUBLIC KEY", tlv(48, tlv(48, oid("1.3.101.112")), tlv(3, bytes(33)))), "an Ed25519 key"),
        (armour("PUBLIC KEY", tlv(48, tlv(48, oid(EC), oid(P384)), tlv(3, bytes(98)))), "on P-384"),
        (
            armour("PUBLIC KEY", tlv(48, tlv(48, oid(EC), oid(P256)), tlv(3, bytes(34)))),
            "not an uncompressed point",
        ),
        (armour("PUBLIC KEY", b"nothing"), "is broken"),
        ("ssh-rsa AAAAB3NzaC1yc2E= someone", "is not PEM"),
    ],
)
def test_what_is_no_public_key_for_cloudfront_is_called_by_its_name(text, said):
    assert said in error_of(text, load_public_key)


@needs_cryptography
def test_a_point_that_is_not_on_the_curve_is_refused():
    point = b"\0\x04" + bytes(63) + b"\x01"
    text = armour("PUBLIC KEY", tlv(48, tlv(48, oid(EC), oid(P256)), tlv(3, point)))
    assert "not on P-256" in error_of(text, load_public_key)


# Signatures


@needs_openssl
@pytest.mark.parametrize("hash", HASHES)
def test_the_rsa_package_signs_what_openssl_signs(tmp_path, hash):
    file = tmp_path / "key.pem"
    file.write_text(rsa_pem())
    expected = openssl("dgst", f"-{hash}", "-sign", str(file), text=b"a policy")
    assert plain_key().sign(b"a policy", hash) == expected


@needs_cryptography
@settings(max_examples=10, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(HASHES))
def test_both_libraries_sign_with_the_same_bytes(message, hash):
    assert type(rsa_key()) is not type(plain_key())
    assert rsa_key().sign(message, hash) == plain_key().sign(message, hash)


@pytest.mark.parametrize("hash", HASHES)
def test_a_signature_holds_for_its_message_key_and_hash_alone(hash):
    signature = rsa_key().sign(b"a policy", hash)
    other = "sha256" if hash == "sha1" else "sha1"
    for verifier in (public(rsa_key()), PlainPublicKey(rsa_numbers().public)):
        assert verifier.verify(b"a policy", signature, hash)
        assert not verifier.verify(b"another policy", signature, hash)
        assert not verifier.verify(b"a policy", signature, other)
        assert not verifier.verify(b"a policy", b"\0" + signature, hash)
        assert not verifier.verify(b"a policy", signature[:-1], hash)
        assert not verifier.verify(b"a policy", b"", hash)
        assert not verifier.verify(b"a policy", b"\xff" * 256, hash)
    assert not public(rsa_key(2)).verify(b"a policy", signature, hash)


def test_a_signature_plus_the_modulus_is_no_second_signature():
    modulus = rsa_numbers().n
    messages = (str(number).encode() for number in range(200))
    signatures = ((message, int.from_bytes(plain_key().sign(message, "sha1"), "big")) for message in messages)
    message, raised = next((m, s + modulus) for m, s in signatures if s + modulus < 1 << 2048)
    for verifier in (public(rsa_key()), PlainPublicKey(rsa_numbers().public)):
        assert not verifier.verify(message, raised.to_bytes(256, "big"), "sha1")


@settings(max_examples=examples(40), deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_checked_without_a_crash(signature):
    assert not public(rsa_key()).verify(b"a policy", signature, "sha1")
    assert not PlainPublicKey(rsa_numbers().public).verify(b"a policy", signature, "sha1")


@pytest.mark.parametrize("key", [rsa_key, plain_key], ids=["default", "rsa package"])
def test_another_hash_is_an_error(key):
    with pytest.raises(ValueError, match="sha1 or sha256"):
        key().sign(b"a policy", "md5")


@needs_cryptography
@pytest.mark.parametrize("hash", HASHES)
def test_an_ecdsa_signature_holds_for_its_message_key_and_hash_alone(hash):
    signature = ec_key().sign(b"a policy", hash)
    verifier = public(ec_key())
    assert verifier.verify(b"a policy", signature, hash)
    assert not verifier.verify(b"another policy", signature, hash)
    assert not verifier.verify(b"a policy", signature, "sha256" if hash == "sha1" else "sha1")
    assert not verifier.verify(b"a policy", signature[:-1], hash)
    assert not public(ec_key(2)).verify(b"a policy", signature, hash)


@needs_cryptography
@needs_openssl
def test_openssl_accepts_our_ecdsa_signature(tmp_path):
    (tmp_path / "public.pem").write_text(ec_key().public_pem)
    (tmp_path / "signature").write_bytes(ec_key().sign(b"a policy", "sha256"))
    files = ("-verify", str(tmp_path / "public.pem"), "-signature", str(tmp_path / "signature"))
    assert b"Verified OK" in openssl("dgst", "-sha256", *files, text=b"a policy")


@needs_cryptography
def test_where_the_platform_forbids_sha1_rsa_signs_all_the_same(monkeypatch):
    from cryptography.exceptions import UnsupportedAlgorithm

    from cfmiddleware.signing import cryptography_backend

    def forbidden():
        raise UnsupportedAlgorithm("SHA-1 is forbidden here")

    monkeypatch.setattr(cryptography_backend.hashes, "SHA1", forbidden)
    signature = rsa_key().sign(b"a policy", "sha1")
    assert signature == plain_key().sign(b"a policy", "sha1")
    assert public(rsa_key()).verify(b"a policy", signature, "sha1")
    with pytest.raises(ConfigError, match="set hash to sha256"):
        ec_key().sign(b"a policy", "sha1")


# New keys


@needs_cryptography
@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_new_key_can_be_read_back(kind):
    new = generate(kind)
    assert new.private_pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert new.public_pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert load_private_key(new.private_pem, "x").fingerprint == new.key.fingerprint
    assert load_public_key(new.public_pem, "x").fingerprint == new.key.fingerprint
    assert new.private_pem[40:60] not in repr(new)


@needs_openssl
def test_openssl_finds_nothing_wrong_with_a_pkcs8_of_ours():
    text = armour("PRIVATE KEY", der.write_pkcs8(rsa_numbers()))
    assert b"ok" in openssl("rsa", "-check", "-noout", text=text.encode())


def test_another_kind_of_key_is_an_error_that_suggests_one():
    with pytest.raises(ConfigError, match="did you mean 'ecdsa'"):
        generate("ecdas")


# Without cryptography

ALONE = """
import json, sys
sys.modules["cryptography"] = None
from cfmiddleware.signing.keys import generate, load_private_key, load_public_key
answers = []
for text in json.load(sys.stdin):
    try:
        key = load_private_key(text, "some.pem")
        answers.append([type(key).__name__, key.fingerprint, key.public_pem, key.sign(b"a", "sha1").hex()])
    except ValueError as error:
        answers.append(str(error))
for kind in sys.argv[1:]:
    try:
        new = generate(kind)
        signature = new.key.sign(b"a", "sha1")
        answers.append(load_public_key(new.public_pem, "x").verify(b"a", signature, "sha1"))
    except ValueError as error:
        answers.append(str(error))
json.dump(answers, sys.stdout)
"""


def without_cryptography(texts, *kinds):
    run = [sys.executable, "-c", ALONE, *kinds]
    answer = subprocess.run(run, input=json.dumps(list(texts)), capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def test_without_cryptography_rsa_keys_sign_with_the_same_bytes():
    ((kind, *rest), (_, *again)) = without_cryptography([rsa_pem(), rsa_as_pkcs1()])
    key = rsa_key()
    assert kind == "PlainSigningKey"
    assert rest == again == [key.fingerprint, key.public_pem, key.sign(b"a", "sha1").hex()]


def test_without_cryptography_every_refusal_has_the_same_words():
    assert without_cryptography(text for text, _ in REFUSED.values()) == [
        error_of(text) for text, _ in REFUSED.values()
    ]


def test_without_cryptography_an_ec_key_names_the_extra_to_install():
    ec = sec1(bytes(31) + b"\x07", tlv(0xA0, oid(P256)))
    first, second = without_cryptography([ec], "ecdsa")
    assert first.startswith("some.pem: is an ECDSA key")
    assert "cfmiddleware[server]" in first
    assert "cfmiddleware[server]" in second


@pytest.mark.long  # 10 seconds of pure Python; scripts/without-cryptography makes such keys too
def test_without_cryptography_an_rsa_key_can_be_made():
    assert without_cryptography([], "rsa") == [True]


def test_importing_the_package_does_not_import_cryptography():
    code = "import cfmiddleware.signing, sys; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_base64_of_the_armour_is_64_columns_wide():
    lines = rsa_key().public_pem.splitlines()[1:-1]
    assert {len(line) for line in lines[:-1]} == {64}
    assert base64.b64decode("".join(lines))
