"""The section ``http.tls`` of a configuration (Distribution, "tls"): certificates of server and clients."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path

from .ciphersuites import SUITES_OF_TLS_1_3, openssl_name

_VERSIONS = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = ("tls1.0", "tls1.1")

_CLIENTS = {
    "verify-client-cert-if-given": ssl.CERT_OPTIONAL,
    "require-and-verify-client-cert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("request-client-cert", "require-any-client-cert")


def _version(value: object, name: str) -> str:
    if str(value).strip().lower() in _OLD_VERSIONS:
        raise ConfigError(f"{name}: {value} is not safe any more (RFC 8996); choose tls1.2 or tls1.3")
    return parse.choice(value, name, tuple(_VERSIONS))


def _client_auth(value: object, name: str) -> str:
    if str(value).strip().lower() in _UNVERIFIED:
        raise ConfigError(
            f"{name}: {value} takes certificates without verifying them; choose one of " + ", ".join(_CLIENTS)
        )
    return parse.choice(value, name, tuple(_CLIENTS))


def _suites(value: object, name: str) -> tuple[str, ...]:
    suites = parse.words(value, name)
    for index, suite in enumerate(suites):
        if suite not in SUITES_OF_TLS_1_3:
            try:
                openssl_name(suite)
            except ValueError as error:
                raise ConfigError(f"{name}[{index}]: {error}") from None
    return suites


@dataclass(frozen=True)
class TLSOptions:
    """How connections are secured.

    :param certificate: the file of the server's certificate chain, the server's own certificate first, as
        PEM.
    :param key: the file of its private key, as PEM, without a password.
    :param clientcas: the files of authorities; clients must show a certificate of theirs.
    :param clientauth: with *clientcas*: ``require-and-verify-client-cert``, which is the default, or
        ``verify-client-cert-if-given``. The two ways that verify nothing are refused.
    :param minimumtls: the oldest version that is spoken, ``tls1.2`` or ``tls1.3``. Older ones are refused.
    :param ciphersuites: the cipher suites of TLS 1.2, by the names that Distribution has; Python's choice by
        default. Those of TLS 1.3 are always on; where the list has no others, TLS 1.3 alone is spoken.
    """

    certificate: Path
    key: Path
    clientcas: tuple[Path, ...] = ()
    clientauth: str = ""
    minimumtls: str = "tls1.2"
    ciphersuites: tuple[str, ...] = ()

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "certificate": parse.text,
        "key": parse.text,
        "clientcas": parse.words,
        "clientauth": _client_auth,
        "minimumtls": _version,
        "ciphersuites": _suites,
    }

    def __post_init__(self) -> None:
        if self.clientauth and not self.clientcas:
            raise ConfigError("clientauth: goes with 'clientcas', which says whose certificates are good")

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return (self.certificate, self.key, *self.clientcas)

    def context(self) -> ssl.SSLContext:
        """Return what connections are secured with.

        :raises ConfigError: for a file that cannot be read or is not what it should be, and for a key that is
            not the certificate's.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self.minimumtls]
        context.set_alpn_protocols(["http/1.1"])
        older = [openssl_name(suite) for suite in self.ciphersuites if suite not in SUITES_OF_TLS_1_3]
        if older:
            context.set_ciphers(":".join(older))
        elif self.ciphersuites:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.certificate, "certificate")
        _load_pair(context, self.certificate, self.key)
        for index, file in enumerate(self.clientcas):
            _load_authorities(context, file, f"clientcas[{index}]")
        if self.clientcas:
            context.verify_mode = _CLIENTS[self.clientauth or "require-and-verify-client-cert"]
        return context


def read_tls(section: Mapping[str, Any], here: Path) -> TLSOptions | None:
    """Return the options of the section, or None where it asks for nothing.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    given = {name: value for name, value in section.items() if value not in (None, "", [], {})}
    if not _has_value(given.get("letsencrypt")):
        given.pop("letsencrypt", None)
    parsers = {**TLSOptions.PARSERS, "letsencrypt": _letsencrypt}
    read = parse.read(given, parsers, "http.tls.")
    if not given:
        return None
    for name in ("certificate", "key"):
        if name not in read:
            raise ConfigError(f"http.tls.{name}: this option is required")
        read[name] = here / read[name]
    read["clientcas"] = tuple(here / file for file in read.get("clientcas", ()))
    try:
        return TLSOptions(**read)
    except ConfigError as error:
        raise ConfigError(f"http.tls.{error}") from None


def _has_value(value: object) -> bool:
    """Whether there is a value anywhere in a section: files often have sections with empty values."""
    return any(map(_has_value, value.values())) if isinstance(value, dict) else bool(value)


def _letsencrypt(value: object, name: str) -> None:
    raise ConfigError(
        f"{name}: this version fetches no certificates; let a client such as certbot renew the files "
        "that 'certificate' and 'key' name"
    )


def _load_authorities(context: ssl.SSLContext, file: Path, option: str) -> None:
    _check_readable(file, option)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        raise ConfigError(f"{option}: {file} holds no certificate in PEM") from None


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Let *context* use a certificate, which is known to be one, and its key."""

    def refuse() -> bytes:
        raise ConfigError(
            f"key: {key} is encrypted; write it without a password, readable for its owner only"
        )

    _check_readable(key, "key")
    try:
        context.load_cert_chain(certificate, key, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"key: {key} is not the key of the certificate {certificate}") from None
        if error.reason is not None and "TOO_SMALL" in error.reason:
            raise ConfigError(f"certificate: {certificate}: OpenSSL finds its key too small") from None
        raise ConfigError(f"key: {key} holds no private key in PEM that fits {certificate}") from None


def _check_readable(file: Path, option: str) -> None:
    try:
        with file.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option}: {shown_path(file)} {cannot_be_read(error)}") from None
