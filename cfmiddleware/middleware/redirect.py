"""The redirect that a pull is answered with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cfmiddleware.wsgi.repeatedheaders import Repeated, start_repeated

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.wsgi.types import StartResponse

_VERSION = ("Docker-Distribution-API-Version", "registry/2.0")
_NOT_FOR_CACHES = ("Cache-Control", "private, no-store")
_NO_BODY = ("Content-Length", "0")
_STATUS = "307 Temporary Redirect"


def redirect(
    start_response: StartResponse, location: str, digest: Digest, kept: Iterable[tuple[str, str]] = ()
) -> Iterable[bytes]:
    """Answer with a redirect. It is for this client, until the signature expires: not for caches.

    :param location: where it leads.
    :param digest: the blob's.
    :param kept: further headers.
    """
    start_response(_STATUS, [*redirect_headers(location, digest), *kept])
    return [b""]  # some servers, such as hypercorn, answer nothing where there is no chunk at all


def redirect_again(start_response: StartResponse, repeated: Repeated) -> Iterable[bytes]:
    """Answer as :func:`redirect` does, with :func:`redirect_headers`."""
    start_repeated(start_response, _STATUS, repeated)
    return [b""]


def redirect_headers(location: str, digest: Digest) -> list[tuple[str, str]]:
    """Return the headers of a redirect.

    :param location: where it leads.
    :param digest: the blob's.
    """
    return [
        ("Location", location),
        ("Docker-Content-Digest", str(digest)),
        _VERSION,
        _NOT_FOR_CACHES,
        _NO_BODY,
    ]
