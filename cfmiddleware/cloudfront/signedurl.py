"""A signed URL taken apart, whoever signed it and whatever became of it on its way."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from urllib.parse import SplitResult, urlsplit

from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.policy import LAST_SECOND, decode, parse_policy
from cfmiddleware.signing.url import SIGNING_PARAMETERS


@dataclass(frozen=True)
class SignedURL:
    """What a URL says. Nothing of it has been checked.

    :param url: the URL as it goes over the wire.
    :param resource: the URL without CloudFront's own parameters.
    :param parts: its parts.
    :param parameters: CloudFront's own parameters; the first of several of one name.
    :param repeated: the names of parameters that stand in it more than once.
    :param expires: the first second that is too late, in Unix seconds; None where that cannot be read.
    :param starts: the last second that is too early; None where there is none.
    :param source_ip: where the client must be; None for anywhere.
    :param policy_resource: the URL that a custom policy is for; empty with a canned one.
    :param trouble: what cannot be read, and why; empty for nothing.
    """

    url: str
    resource: str
    parts: SplitResult
    parameters: dict[str, str]
    repeated: frozenset[str]
    expires: int | None = None
    starts: int | None = None
    source_ip: IPv4Network | None = None
    policy_resource: str = ""
    trouble: str = ""

    @property
    def shown(self) -> str:
        """The URL as it may be shown: without its query, which is a credential."""
        return f"{self.parts.scheme}://{self.parts.netloc.rpartition('@')[2]}{self.parts.path}"

    @property
    def is_signed(self) -> bool:
        """Whether it has any of CloudFront's own parameters."""
        return bool(self.parameters)

    @property
    def has_signature(self) -> bool:
        """Whether it has a signature, which a log does not show."""
        return len(self.parameters.get("Signature", "").strip(".")) > 1

    @property
    def is_presigned(self) -> bool:
        """Whether it is signed for S3 instead."""
        names = {part.partition("=")[0] for part in self.parts.query.split("&")}
        return bool(names & {"X-Amz-Signature", "X-Amz-Credential", "AWSAccessKeyId"})


def take_apart(text: str) -> SignedURL:
    """Return what a URL says.

    :param text: the URL as it stands in a log or an error, perhaps in quotes or with ``&amp;``.
    :raises ConfigError: for what is not a URL. The message holds nothing of it.
    """
    url = text.strip().strip("\"'<>").replace("\\&", "&").replace("\\u0026", "&")
    if "&amp;" in url:
        url = html.unescape(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable():
        raise ConfigError("the URL must begin with http:// or https://, and be one that went over the wire")
    if " " in url:
        raise ConfigError("the URL has a space in it; give the URL alone, in quotes")
    parameters: dict[str, str] = {}
    repeated: set[str] = set()
    others: list[str] = []
    for part in parts.query.split("&") if parts.query else ():
        name, _, value = part.partition("=")
        if name not in SIGNING_PARAMETERS:
            others.append(part)
        elif name in parameters:
            repeated.add(name)
        else:
            parameters[name] = value
    path = url.partition("?")[0].partition("#")[0]
    resource = f"{path}?{'&'.join(others)}" if others else path
    said = SignedURL(url.partition("#")[0], resource, parts, parameters, frozenset(repeated))
    return _with_policy(said)


def _with_policy(said: SignedURL) -> SignedURL:
    parameters = said.parameters
    if "Policy" in parameters:
        try:
            policy = parse_policy(decode(parameters["Policy"]))
        except ValueError:
            return replace(said, trouble="its policy cannot be read: it was cut off or changed on its way")
        return replace(
            said,
            expires=policy.expires,
            starts=policy.starts,
            source_ip=policy.source_ip,
            policy_resource=policy.resource,
        )
    expires = parameters.get("Expires")
    if expires is None:
        return replace(said, trouble="it has neither Expires nor Policy") if parameters else said
    if not expires.isdecimal() or len(expires) > 10 or not 0 < int(expires) <= LAST_SECOND:
        return replace(said, trouble="its Expires is not a time in Unix seconds")
    return replace(said, expires=int(expires))
