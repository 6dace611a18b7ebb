"""The redirect that a pull is answered with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.wsgi.types import StartResponse

_VERSION = ("Docker-Distribution-API-Version", "registry/2.0")
_NOT_FOR_CACHES = ("Cache-Control", "private, no-store")
_NO_BODY = ("Content-Length", "0")


def redirect(
    start_response: StartResponse, location: str, digest: Digest, kept: Iterable[tuple[str, str]] = ()
) -> Iterable[bytes]:
    """Answer with a redirect. It is for this client, until the signature expires: not for caches.

    :param location: where it leads.
    :param digest: the blob's.
    :param kept: further headers.
    """
    start_response(
        "307 Temporary Redirect",
        [
            ("Location", location),
            ("Docker-Content-Digest", str(digest)),
            _VERSION,
            _NOT_FOR_CACHES,
            _NO_BODY,
            *kept,
        ],
    )
    return [b""]  # some servers, such as hypercorn, answer nothing where there is no chunk at all
