"""Refuses what a web page has a browser send to a server on the same machine.

A page's host name may be made to lead to 127.0.0.1 (DNS rebinding); the browser then takes this server for
the page's own and lets it send and read whatever it likes. The header ``Host`` still has the page's name. A
page that keeps its own address may send some requests blindly; those have its ``Origin``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .client import parse_address
from .response import STATUS_LINES, as_json

if TYPE_CHECKING:
    from .types import App, StartResponse

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


class HostGuard:
    """Wrap a WSGI app for clients on the same machine: only its own names are answered.

    A request without ``Host`` is no browser's, and passes.

    :param app: the app.
    :param host: a further host that it is reached by.
    """

    def __init__(self, app: App, host: str = "") -> None:
        self.app = app
        self._host = host.lower()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        if self._is_ours(environ.get("HTTP_HOST", "")) and self._may_come_from(environ):
            return self.app(environ, start_response)
        message = (
            "this registry answers only by the names of its own machine, such as localhost, so that no web "
            "page can use it; give it a config.yml to serve it by other names"
        )
        answer = as_json(403, {"errors": [{"code": "DENIED", "message": message, "detail": None}]})
        start_response(STATUS_LINES[answer.status], answer.headers)
        return answer.body

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        return not host or (match is not None and (is_loopback(match[1]) or match[1].lower() == self._host))

    def _may_come_from(self, environ: dict[str, Any]) -> bool:
        """Return whether the request changes nothing, or no page of another machine sends it."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or environ["REQUEST_METHOD"] in _SAFE:
            return True
        try:
            return bool(urlsplit(origin).netloc) and self._is_ours(urlsplit(origin).netloc)
        except ValueError:
            return False


def is_loopback(host: str) -> bool:
    """Return whether a host, an IPv6 address in brackets or not, is a name or an address of this machine."""
    name = host.lower().removesuffix(".")
    address = parse_address(name.strip("[]"))
    # RFC 6761, 6.3: no resolver asks anybody for names below localhost.
    return name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback)
