"""A registry that asks who a client is, wrapped with a probe cache; the factories are for servers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from cfmiddleware.signing.keys import generate

from .apps import CONTENT, DIGEST, ask, request, wrap

Environ = dict[str, Any]

_KEY = generate("ecdsa")


class Guarded:
    """A registry that serves the blob to whoever may have it, and counts how often it is asked.

    :param may: says so, of a request.
    """

    def __init__(self, may: Callable[[Environ], Any]) -> None:
        self.may = may
        self.asked = 0

    def __call__(self, environ: Environ, start_response: Any) -> Any:
        self.asked += 1
        if self.may(environ):
            start_response("200 OK", [("Docker-Content-Digest", str(DIGEST))])
            return [CONTENT]
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
        return [b"no"]


def code(wrapped: Any, **fields: Any) -> int:
    """Return the status with which a blob's GET is answered."""
    answer: int = ask(wrapped, request(**fields)).code
    return answer


def cached(app: Any, **options: Any) -> Any:
    """Return *app* wrapped with a probe cache."""
    # This kind of key is read, and signs, in a fraction of the time.
    return wrap(app, **{"probecache": 30, "privatekey": _KEY.private_pem} | options)


def counting(*_: Any, **__: Any) -> Guarded:
    """Be a factory for PasteDeploy."""
    return Guarded(lambda environ: True)


def note_that_it_was_asked() -> None:
    with open(os.environ["TEST_NOTES"], "a", encoding="ascii") as notes:
        notes.write("asked\n")


def by_certificate() -> Any:
    """Return a wrapped registry that serves one client's certificate, for gunicorn."""

    def may(environ: Environ) -> bool:
        note_that_it_was_asked()
        shown = environ["gunicorn.socket"].getpeercert(binary_form=True) or b""
        return hashlib.sha256(shown).hexdigest() == os.environ["TEST_SERVED"]

    return wrap(Guarded(may), probecache="1h")


def by_token() -> Any:
    """Return a wrapped registry that serves one token, for gunicorn."""

    def may(environ: Environ) -> bool:
        note_that_it_was_asked()
        return environ.get("HTTP_AUTHORIZATION") == "Bearer let-me-in"

    return wrap(Guarded(may), probecache="1h")
