"""CloudFront's policies: what is signed, in text (Amazon CloudFront Developer Guide, "Create a signed URL
using a canned policy" and "... a custom policy").
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from ipaddress import IPv4Network
from typing import Any, NamedTuple

#: The last second that a policy may name, in Unix seconds: ten digits. CloudFront calls a policy malformed
#: that names milliseconds.
LAST_SECOND = 9_999_999_999

# What may stand in a URL (RFC 3986, section 2), without "#": nothing that needs escaping in JSON.
_URL = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")

_NETWORK = re.compile(r"[0-9.]{7,15}(?:/[0-9]{1,2})?", re.ASCII)

_BASE64 = re.compile(r"(?:[A-Za-z0-9~-]{4})*(?:[A-Za-z0-9~-]{2}__|[A-Za-z0-9~-]{3}_)?")
_TO_CLOUDFRONT = str.maketrans("+=/", "-_~")
_FROM_CLOUDFRONT = str.maketrans("-_~", "+=/")


class Policy(NamedTuple):
    """What a policy allows.

    :param resource: the URL; ``*`` stands for any characters, ``?`` for any one.
    :param expires: the first second that is too late, in Unix seconds.
    :param starts: the last second that is too early, in Unix seconds.
    :param source_ip: where the client must be.
    """

    resource: str
    expires: int
    starts: int | None = None
    source_ip: IPv4Network | None = None


def canned_policy(resource: str, expires: int) -> str:
    """Return the text that is signed for a URL with ``Expires``; CloudFront builds the same from the URL.

    :param resource: the whole URL, encoded, without the signing parameters.
    :param expires: in Unix seconds.
    :raises ValueError: when either cannot stand in a policy.
    """
    _check(resource, expires)
    return _statement(resource, _less_than(expires))


def custom_policy(resource: str, expires: int, address: str) -> str:
    """Return the text of a policy for one client.

    :param resource: the whole URL, encoded, without the signing parameters.
    :param expires: in Unix seconds.
    :param address: the client's IPv4 address.
    :raises ValueError: when one of them cannot stand in a policy; a ``*`` would open it to other URLs.
    """
    _check(resource, expires)
    if "*" in resource:
        raise ValueError("a custom policy for one URL cannot hold '*', which is a wildcard there")
    client = ipaddress.IPv4Address(address)
    return _statement(resource, f'{_less_than(expires)},"IpAddress":{{"AWS:SourceIp":"{client}/32"}}')


def parse_policy(text: bytes) -> Policy:
    """Read a custom policy: one statement with a resource and a ``DateLessThan``, and nothing unknown.

    :raises ValueError: for anything else; the message is one line.
    """
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("the policy is nested too deeply") from None
    statements = _members(document, "the policy", {"Statement"})["Statement"]
    if not isinstance(statements, list) or len(statements) != 1:
        raise ValueError("a policy has a list of exactly one statement")
    statement = _members(statements[0], "the statement", {"Resource", "Condition"})
    resource = statement["Resource"]
    if not isinstance(resource, str) or not resource:
        raise ValueError("Resource is not a text")
    condition = _members(
        statement["Condition"], "the condition", {"DateLessThan"}, {"DateGreaterThan", "IpAddress"}
    )
    starts = _seconds(condition, "DateGreaterThan") if "DateGreaterThan" in condition else None
    network = _network(condition["IpAddress"]) if "IpAddress" in condition else None
    return Policy(resource, _seconds(condition, "DateLessThan"), starts, network)


def is_url(text: str) -> bool:
    """Return whether *text* has only characters that may stand in a URL, with no fragment."""
    return _URL.fullmatch(text) is not None


def encode(content: bytes) -> str:
    """Return CloudFront's base64: ``-``, ``_`` and ``~`` for ``+``, ``=`` and ``/``."""
    return base64.b64encode(content).decode("ascii").translate(_TO_CLOUDFRONT)


def decode(text: str) -> bytes:
    """Return what :func:`encode` made *text* of.

    :raises ValueError: when it made nothing into this very text.
    """
    if not _BASE64.fullmatch(text):
        raise ValueError("this is not CloudFront's base64")
    content = base64.b64decode(text.translate(_FROM_CLOUDFRONT))
    if encode(content) != text:
        raise ValueError("this is not CloudFront's base64: bits are set beyond its end")
    return content


def _statement(resource: str, conditions: str) -> str:
    # Written out, not dumped: CloudFront builds a canned policy's text itself, and one space would differ.
    return f'{{"Statement":[{{"Resource":"{resource}","Condition":{{{conditions}}}}}]}}'


def _less_than(expires: int) -> str:
    return f'"DateLessThan":{{"AWS:EpochTime":{expires}}}'


def _check(resource: str, expires: int) -> None:
    if not is_url(resource):
        raise ValueError("the URL to sign is empty or not percent-encoded, or has a fragment")
    if not 0 < expires <= LAST_SECOND:
        raise ValueError("the expiry is not a time in Unix seconds")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return members


def _members(
    value: Any, what: str, required: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    names = set(value)
    if not required <= names <= required | optional:
        raise ValueError(f"{what} lacks a name, or has an unknown one")
    return value


def _seconds(condition: dict[str, Any], name: str) -> int:
    seconds = _members(condition[name], name, {"AWS:EpochTime"})["AWS:EpochTime"]
    if type(seconds) is not int or not 0 <= seconds <= LAST_SECOND:
        raise ValueError(f"{name} is not a time in Unix seconds")
    return seconds


def _network(value: Any) -> IPv4Network:
    text = _members(value, "IpAddress", {"AWS:SourceIp"})["AWS:SourceIp"]
    if not isinstance(text, str) or not _NETWORK.fullmatch(text):
        raise ValueError("AWS:SourceIp is not an IPv4 address or range")
    return IPv4Network(text, strict=False)
