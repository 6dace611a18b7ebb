"""Which URLs lead to a document that nobody can change on its way."""

from __future__ import annotations

from urllib.parse import urlsplit

from cfmiddleware.wsgi.client import parse_address


def check_url(url: str) -> None:
    """Refuse a URL whose document could be changed on its way here.

    :raises ValueError: for anything but ``https``, or ``http`` to this machine; and for a URL with a name or
        password in it, which would be shown in the log.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    # A space or a control character would be sent as it is.
    if not host or "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("it is not a URL like https://host/path")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(host)):
        raise ValueError("only https can be trusted, or http to localhost")


def _is_this_machine(host: str) -> bool:
    address = parse_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)
