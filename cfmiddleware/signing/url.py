"""Signed URLs (Amazon CloudFront Developer Guide, "Create a signed URL using a canned policy")."""

from __future__ import annotations

from .keys import KeyPair
from .policy import canned_policy, custom_policy, encode

#: The query parameters that are CloudFront's own; a URL to be signed cannot have them.
SIGNING_PARAMETERS = frozenset({"Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm"})


def sign(resource: str, expires: int, pair: KeyPair, hash: str = "sha1", address: str | None = None) -> str:
    """Return *resource* with the parameters that open it until *expires*.

    :param resource: the whole URL, encoded; it may have a query of its own.
    :param expires: the first second that is too late, in Unix seconds.
    :param hash: ``sha1`` or ``sha256``.
    :param address: the only client that the URL serves, as an IPv4 address; this takes a custom policy.
    :raises ValueError: when the URL, the time, the hash or the address cannot be signed.
    """
    _, mark, query = resource.partition("?")
    if any(part.partition("=")[0] in SIGNING_PARAMETERS for part in query.split("&")):
        raise ValueError("the URL to sign has one of CloudFront's own parameters")
    if address is None:
        policy = canned_policy(resource, expires)
        said = f"Expires={expires}"
    else:
        policy = custom_policy(resource, expires, address)
        said = f"Policy={encode(policy.encode('ascii'))}"
    signature = encode(pair.key.sign(policy.encode("ascii"), hash))
    algorithm = "&Hash-Algorithm=SHA256" if hash == "sha256" else ""
    separator = "&" if mark else "?"
    return f"{resource}{separator}{said}&Signature={signature}&Key-Pair-Id={pair.id}{algorithm}"
