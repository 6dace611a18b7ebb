"""The section ``http.tls`` of a configuration (Distribution, "tls"): certificates, and who must show one.

:mod:`ssl` is the standard library's; suites are named as Distribution names them.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

_log = logging.getLogger("cfmiddleware")

_OPTIONS = ("certificate", "key", "clientcas", "clientauth", "minimumtls", "ciphersuites", "letsencrypt")

_VERSIONS = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = ("tls1.0", "tls1.1")

_CLIENTS = {
    "verify-client-cert-if-given": ssl.CERT_OPTIONAL,
    "require-and-verify-client-cert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("request-client-cert", "require-any-client-cert")

#: The suites of TLS 1.3, which are on wherever TLS 1.3 is, as they are in Distribution.
_SUITES_OF_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_SUITE = re.compile(
    r"TLS_(?P<exchange>RSA|ECDHE_RSA|ECDHE_ECDSA)_WITH_"
    r"(?:AES_(?P<bits>128|256)_(?P<mode>CBC|GCM)_(?P<hash>SHA|SHA256|SHA384)|CHACHA20_POLY1305(?:_SHA256)?)"
)

# Seconds between two looks at the files.
_INTERVAL = 1.0


@dataclass(frozen=True)
class TLSOptions:
    """How connections are secured.

    :param certificate: the file of the server's certificate, followed by those that vouch for it, as PEM.
    :param key: the file of its private key, not encrypted.
    :param clientcas: files of the authorities whose certificates clients may show.
    :param clients: whether clients may or must show one.
    :param minimum: the oldest version of TLS that is spoken.
    :param ciphers: suites of TLS 1.2 by OpenSSL's names, with colons between; empty for Python's own choice.
    """

    certificate: Path
    key: Path
    clientcas: tuple[Path, ...] = ()
    clients: ssl.VerifyMode = ssl.CERT_NONE
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ciphers: str = ""

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
        context.minimum_version = self.minimum
        context.set_alpn_protocols(["http/1.1"])
        if self.ciphers:
            context.set_ciphers(self.ciphers)
        _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.certificate, "certificate")
        _load_pair(context, self.certificate, self.key)
        for index, file in enumerate(self.clientcas):
            _load_authorities(context, file, f"clientcas[{index}]")
        context.verify_mode = self.clients
        return context


class Certificates:
    """A server's TLS, which follows its files: a renewed certificate is served without a restart.

    A pair that does not work, as while it is being written, is logged, and the one before goes on.

    :param tls: the options.
    :param interval: seconds between two looks at the files, at the least.
    :raises ConfigError: where they do not work to begin with.
    """

    def __init__(self, tls: TLSOptions, interval: float = _INTERVAL) -> None:
        self.options = tls
        self._interval = interval
        self._stamp = self._look()
        self._context = tls.context()
        self._looked = time.monotonic()
        self._lock = threading.Lock()

    def context(self) -> ssl.SSLContext:
        """Return what a new connection is secured with."""
        now = time.monotonic()
        if now - self._looked >= self._interval and self._lock.acquire(blocking=False):
            try:
                self._looked = now
                stamp = self._look()
                if stamp != self._stamp:
                    self._stamp = stamp
                    self._context = self.options.context()
                    _log.info("http.tls: the new certificate of %s is served", self.options.certificate)
            except ConfigError as error:
                _log.error("http.tls: the certificate before goes on: %s", error)
            finally:
                self._lock.release()
        return self._context

    def _look(self) -> tuple[object, ...]:
        """Return what changes when one of the files does."""
        found: list[object] = []
        for file in self.options.files:
            try:
                stat = os.stat(file)
            except (OSError, ValueError):  # which reading it will tell
                found.append(None)
            else:
                found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(found)


def read(section: Mapping[str, Any], here: Path) -> TLSOptions | None:
    """Read the section, or return None where it asks for nothing.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an option that there is not, or a value that cannot be.
    """
    parse.refuse_unknown(section, _OPTIONS)
    given = {name: value for name, value in section.items() if value not in (None, "", [], {})}
    if _is_asked_for(given.pop("letsencrypt", None)):
        raise ConfigError(
            "letsencrypt: this version fetches no certificates; let a client such as certbot renew the files "
            "that 'certificate' and 'key' name"
        )
    if not given:
        return None
    for name in ("certificate", "key"):
        if name not in given:
            raise ConfigError(f"{name}: this option is required")
    authorities = tuple(here / file for file in _words(given.get("clientcas", []), "clientcas"))
    minimum = _version(given.get("minimumtls", "tls1.2"))
    ciphers, only_13 = _ciphers(_words(given.get("ciphersuites", []), "ciphersuites"))
    return TLSOptions(
        certificate=here / parse.text(given["certificate"], "certificate"),
        key=here / parse.text(given["key"], "key"),
        clientcas=authorities,
        clients=_clients(given.get("clientauth"), bool(authorities)),
        minimum=ssl.TLSVersion.TLSv1_3 if only_13 else minimum,
        ciphers=ciphers,
    )


def _is_asked_for(value: object) -> bool:
    """Whether a section says anything: files often have it with empty values."""
    return any(map(_is_asked_for, value.values())) if isinstance(value, dict) else bool(value)


def _version(value: object) -> ssl.TLSVersion:
    if str(value).strip().lower() in _OLD_VERSIONS:
        raise ConfigError(f"minimumtls: {value} is not safe any more (RFC 8996); choose tls1.2 or tls1.3")
    return _VERSIONS[parse.choice(value, "minimumtls", tuple(_VERSIONS))]


def _clients(value: object, has_authorities: bool) -> ssl.VerifyMode:
    if value is None:
        return ssl.CERT_REQUIRED if has_authorities else ssl.CERT_NONE
    if str(value).strip().lower() in _UNVERIFIED:
        raise ConfigError(
            f"clientauth: {value} takes certificates that nobody vouches for; choose one of "
            + ", ".join(_CLIENTS)
        )
    chosen = _CLIENTS[parse.choice(value, "clientauth", tuple(_CLIENTS))]
    if not has_authorities:
        raise ConfigError("clientauth: goes with 'clientcas', which says whose certificates are good")
    return chosen


def _ciphers(names: tuple[str, ...]) -> tuple[str, bool]:
    """Return OpenSSL's names of suites, and whether TLS 1.3 is all that they leave."""
    found = []
    for index, name in enumerate(names):
        if name in _SUITES_OF_13:
            continue
        where = f"ciphersuites[{index}]"
        match = _SUITE.fullmatch(name)
        if match is None:
            raise ConfigError(
                f"{where}: {name!r} is no suite; write it like TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
            )
        exchange = "" if match["exchange"] == "RSA" else match["exchange"].replace("_", "-") + "-"
        mode = "GCM-" if match["mode"] == "GCM" else ""
        known = f"AES{match['bits']}-{mode}{match['hash']}" if match["bits"] else "CHACHA20-POLY1305"
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(exchange + known)
        except ssl.SSLError:
            raise ConfigError(f"{where}: {name} is none of the suites that OpenSSL here has") from None
        found.append(exchange + known)
    return ":".join(found), bool(names) and not found


def _words(value: object, name: str) -> tuple[str, ...]:
    """Read a list of texts, or one text."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise ConfigError(f"{name}: must be a list")
    return tuple(parse.text(item, f"{name}[{index}]") for index, item in enumerate(listed))


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
        reason = error.strerror if isinstance(error, OSError) else "that is no path"
        raise ConfigError(f"{option}: {file} cannot be read: {reason}") from None
