"""What CloudFront does with a signed URL: check it, and say in its own words why not (Amazon CloudFront
Developer Guide, "How CloudFront checks the expiration date and time in a signed URL").
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from .keys import PublicKey
from .policy import Policy, canned_policy, decode, is_url, parse_policy
from .url import SIGNING_PARAMETERS
from .wildcard import matches

# A number up to LAST_SECOND in the only way to write it: no sign and no zeros in front.
_SECONDS = re.compile(r"[1-9][0-9]{0,9}")

_HASHES = {None: "sha1", "SHA1": "sha1", "SHA256": "sha256"}


class Refused(Exception):
    """A URL that CloudFront would not serve.

    :param status: the HTTP status.
    :param code: CloudFront's code, such as ``AccessDenied``.
    :param message: CloudFront's message. It holds nothing of the URL.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Verifier:
    """Checks signed URLs as CloudFront does.

    :param keys: the public keys that the distribution trusts, by their ids.
    """

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        self._keys = dict(keys)

    def check(self, url: str, now: float, address: str | None) -> None:
        """Return if *url* is signed, in time and for this client.

        :param url: scheme, host, path and query exactly as the client sent them, still encoded.
        :param now: in Unix seconds.
        :param address: the client's address, or None where it is not known.
        :raises Refused: otherwise.
        """
        resource, parameters = _split(url)
        id = parameters.get("Key-Pair-Id")
        if not id:
            raise Refused(403, "MissingKey", "Missing Key-Pair-Id query parameter or cookie value")
        key = self._keys.get(id)
        if key is None:
            raise Refused(403, "InvalidKey", "Unknown Key")
        hash = _HASHES.get(parameters.get("Hash-Algorithm"))
        if hash is None or ("Policy" in parameters) == ("Expires" in parameters):
            raise _denied()
        policy: Policy | None = None
        if "Policy" in parameters:
            text = _decode_policy(parameters["Policy"])
        else:
            policy = _canned(resource, parameters["Expires"])
            text = canned_policy(resource, policy.expires).encode("ascii")
        try:
            signature = decode(parameters.get("Signature", ""))
        except ValueError:
            raise _denied() from None
        if not key.verify(text, signature, hash):
            raise _denied()
        # Only what is signed is worth reading.
        if policy is None:
            policy = _parse(text)
            if not matches(policy.resource, resource):
                raise _denied()
        _check_conditions(policy, now, address)


def _split(url: str) -> tuple[str, dict[str, str]]:
    """Take the signing parameters out of *url*; what is left stays as it is, byte for byte."""
    if not is_url(url):
        raise _denied()
    path, mark, query = url.partition("?")
    parameters: dict[str, str] = {}
    others: list[str] = []
    for part in query.split("&") if mark else ():
        name, _, value = part.partition("=")
        if name not in SIGNING_PARAMETERS:
            others.append(part)
        elif name in parameters:
            raise _denied()
        else:
            parameters[name] = value
    return (f"{path}?{'&'.join(others)}" if others else path), parameters


def _canned(resource: str, expires: str) -> Policy:
    if not _SECONDS.fullmatch(expires):
        raise _malformed()
    return Policy(resource, int(expires))


def _decode_policy(text: str) -> bytes:
    try:
        return decode(text)
    except ValueError:
        raise _malformed() from None


def _parse(text: bytes) -> Policy:
    try:
        return parse_policy(text)
    except ValueError:
        raise _malformed() from None


def _check_conditions(policy: Policy, now: float, address: str | None) -> None:
    if not now < policy.expires or (policy.starts is not None and not now > policy.starts):
        raise _denied()
    if policy.source_ip is None:
        return
    try:
        client = ipaddress.ip_address(address or "")
    except ValueError:
        raise _denied() from None
    if isinstance(client, ipaddress.IPv6Address):
        # A server that listens on both families gives IPv4 clients as ::ffff:192.0.2.1.
        mapped = client.ipv4_mapped
        if mapped is None:
            raise _denied()
        client = mapped
    if client not in policy.source_ip:
        raise _denied()


def _denied() -> Refused:
    return Refused(403, "AccessDenied", "Access denied")


def _malformed() -> Refused:
    return Refused(403, "MalformedPolicy", "Malformed Policy")
