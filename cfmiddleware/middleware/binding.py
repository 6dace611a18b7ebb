"""Which address a signed URL is bound to (``bindip``)."""

from __future__ import annotations

import ipaddress
import logging
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from cfmiddleware.process.throttle import Throttle
from cfmiddleware.wsgi.client import client_address, client_text

from .misses import INTERVAL, Miss

_log = logging.getLogger("cfmiddleware")

# What CloudFront never sees as a client's address: this host, private networks, those that carriers share,
# loopback and link-local addresses (RFC 6890).
_LOCAL = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.168.0.0/16"),
    )
)
# Their ends, to search: sorted, and none within another.
_FIRST = [int(network.network_address) for network in _LOCAL]
_LAST = [int(network.broadcast_address) for network in _LOCAL]

_UNKNOWN = "the address of a client is not known"


class Binding:
    """Finds the address that a URL is bound to.

    :param trustedproxies: how many proxies in front append to ``X-Forwarded-For``.
    """

    def __init__(self, trustedproxies: int) -> None:
        self._proxies = trustedproxies
        self._throttle = Throttle(INTERVAL)

    def address(self, environ: Mapping[str, Any], *, near: bool = False) -> str | Miss | None:
        """Return the client's IPv4 address, None where a URL is not bound, or why there can be no URL.

        A client with a private address reaches CloudFront with another one, which is not known here. So its
        URL is not bound, which is logged seldom.
        """
        client = client_address(environ, self._proxies)
        if client is None:
            return Miss("unknown-client", self._unknown(environ))
        if isinstance(client, ipaddress.IPv6Address):
            what = "the client's address is IPv6"
            if client.is_loopback or client.is_link_local or client.is_private:
                what += f" ({client}, which may be a proxy's: trustedproxies is {self._proxies})"
            return Miss("ipv6-client", what)
        if _is_local(client):
            if not near and self._throttle.allows():
                _log.warning(
                    "bindip: %s is not an address that CloudFront could see, so URLs for it are not bound; "
                    "if it is a proxy's, set trustedproxies to the number of proxies in front",
                    client,
                )
            return None
        return str(client)

    def _unknown(self, environ: Mapping[str, Any]) -> str:
        text = client_text(environ, self._proxies)
        if not self._proxies:
            return f"{_UNKNOWN}: REMOTE_ADDR is {text[:60]!r}"
        return (
            f"{_UNKNOWN}: {text[:60]!r} stands where X-Forwarded-For should have it"
            if text
            else (f"{_UNKNOWN}: X-Forwarded-For has fewer than {self._proxies} values")
        )


def _is_local(client: ipaddress.IPv4Address) -> bool:
    number = int(client)
    index = bisect_right(_FIRST, number) - 1
    return index >= 0 and number <= _LAST[index]
