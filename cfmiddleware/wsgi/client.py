"""The client's address: the peer's, or the one that a known number of proxies vouch for.

A client may send any ``X-Forwarded-For``, and each proxy appends the address it was called from. So only the
last values can be trusted, as many as there are proxies. Where there is no such header at all, ``Forwarded``
(RFC 7239) is read instead. Proxies that write only the latter must take the former away.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from .forwarded import elements

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# An address as some balancers append it, with the port of the connection or in brackets.
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


def parse_address(text: str) -> Address | None:
    """Read a bare IPv4 or IPv6 address, or return None: for a port, a zone, quotes, a name.

    An IPv4 address mapped into IPv6 (``::ffff:192.0.2.1``) is the IPv4 address.
    """
    if "%" in text:  # a zone has a meaning on one link only
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def client_address(environ: Mapping[str, Any], trustedproxies: int = 0) -> Address | None:
    """Return the client's address, or None if it is not known for certain.

    :param environ: the request's WSGI environ; it is only read.
    :param trustedproxies: how many proxies the operator has in front. With 0 the peer is the client and
        ``X-Forwarded-For`` is not read.

    With N proxies the client is the N-th value of ``X-Forwarded-For``, or of ``for=`` in ``Forwarded``, from
    the right; fewer values than that,
    or an N-th that is not an address, mean that a proxy was bypassed or misled: the client is unknown. A port
    behind the address is left out.
    """
    return parse_address(client_text(environ, trustedproxies))


def client_text(environ: Mapping[str, Any], trustedproxies: int = 0) -> str:
    """Return the text where the client's address should be, without a port; an empty one if there is none.

    It is for a caller that parses it as strictly as :func:`client_address`, and faster.
    """
    if not trustedproxies:
        return without_port(environ.get("REMOTE_ADDR") or "")
    header = environ.get("HTTP_X_FORWARDED_FOR")
    if header is None:
        values = [element.get("for", "") for element in elements(environ.get("HTTP_FORWARDED", ""))]
        return without_port(values[-trustedproxies]) if len(values) >= trustedproxies else ""
    # Only the last N values are split off: a client may fill the rest of the header.
    values = header.rsplit(",", trustedproxies)[-trustedproxies:]
    return without_port(values[0].strip(" \t")) if len(values) == trustedproxies else ""


def without_port(text: str) -> str:
    """Return the address of ``1.2.3.4:80``, ``[::1]:80`` and ``[::1]``, and any other text as it is."""
    match = _WITH_PORT.fullmatch(text) if ":" in text else None
    return text if match is None else match[1] or match[2]
