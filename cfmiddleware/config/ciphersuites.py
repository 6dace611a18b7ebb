"""Cipher suites: Distribution names them as Go does (IANA, "TLS Cipher Suites"), OpenSSL otherwise."""

from __future__ import annotations

import re
import ssl

#: The suites of TLS 1.3. They are on wherever TLS 1.3 is, as in Distribution.
SUITES_OF_TLS_1_3 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")

_SUITE = re.compile(
    r"TLS_(?P<exchange>RSA|ECDHE_RSA|ECDHE_ECDSA)_WITH_"
    r"(?:AES_(?P<bits>128|256)_(?P<mode>CBC|GCM)_(?P<hash>SHA|SHA256|SHA384)|CHACHA20_POLY1305(?:_SHA256)?)"
)


def openssl_name(suite: str) -> str:
    """Return OpenSSL's name of a suite of TLS 1.2.

    :raises ValueError: for what is not a suite, and for one that OpenSSL on this machine does not have.
    """
    match = _SUITE.fullmatch(suite)
    if match is None:
        raise ValueError(f"{suite!r} is not a suite; write it like TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    exchange = "" if match["exchange"] == "RSA" else match["exchange"].replace("_", "-") + "-"
    mode = "GCM-" if match["mode"] == "GCM" else ""
    cipher = f"AES{match['bits']}-{mode}{match['hash']}" if match["bits"] else "CHACHA20-POLY1305"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(exchange + cipher)
    except ssl.SSLError:
        raise ValueError(f"{suite} is not a suite that OpenSSL here has") from None
    return exchange + cipher
