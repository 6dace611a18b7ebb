"""Who has made a request that an event is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfmiddleware.wsgi.client import client_text

from .envelope import Requester, new_id


def requester(environ: Mapping[str, Any], trustedproxies: int = 0) -> Requester:
    """Return what an event says of a request.

    :param trustedproxies: how many proxies are in front. With any, the client's port is not known.
    """
    # A wrapper that asks whether a client may have a blob does so for a GET, whatever it asks by.
    method = "GET" if "cfmiddleware.probe" in environ else environ["REQUEST_METHOD"]
    if trustedproxies:
        addr = client_text(environ, trustedproxies)
    else:
        addr, port = environ.get("REMOTE_ADDR") or "", environ.get("REMOTE_PORT")
        if addr and port:
            addr = f"[{addr}]:{port}" if ":" in addr else f"{addr}:{port}"
    host, agent = environ.get("HTTP_HOST", ""), environ.get("HTTP_USER_AGENT", "")
    return Requester(new_id(), _text(addr), _text(host), method, _text(agent))


def _text(header: str) -> str:
    """Return the text of a header, whose bytes are the characters of a WSGI string (PEP 3333)."""
    return header if header.isascii() else header.encode("latin-1", "replace").decode("utf-8", "replace")
