"""Who the client is: the peer, or whom a known number of proxies vouch for.

A client may send any ``X-Forwarded-For`` it likes; each proxy appends the address it was called from. So of
the values only the last ones are worth anything, and exactly as many as there are proxies of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> Address | None:
    """Read a bare IPv4 or IPv6 address, or return None: for a port, a zone, quotes, a name.

    An IPv4 address mapped into IPv6 (``::ffff:192.0.2.1``) is the IPv4 address.
    """
    if "%" in text:  # a zone means something on one link only
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def client_address(environ: Mapping[str, Any], trustedproxies: int = 0) -> Address | None:
    """Return the client's address, or None where it is not known for certain.

    :param environ: the request's WSGI environ; it is only read.
    :param trustedproxies: how many proxies of the operator's stand in front. With 0 the peer is the client
        and ``X-Forwarded-For`` is not looked at.

    With N proxies the client is the N-th value of ``X-Forwarded-For`` from the right; fewer values than that,
    or an N-th that is no bare address, mean that a proxy was passed by or misled: the client is unknown.
    """
    return parse_address(client_text(environ, trustedproxies))


def client_text(environ: Mapping[str, Any], trustedproxies: int = 0) -> str:
    """Return what stands where the client's address should, unread; empty where there is nothing.

    For who reads it as strictly as :func:`client_address` does, and faster.
    """
    if not trustedproxies:
        return environ.get("REMOTE_ADDR") or ""
    # Only the last N values are split off: the rest of the header is the client's to fill.
    values = environ.get("HTTP_X_FORWARDED_FOR", "").rsplit(",", trustedproxies)[-trustedproxies:]
    return values[0].strip(" \t") if len(values) == trustedproxies else ""
