"""Redirects, and what their URLs say of themselves; signatures, as the key sees them made.

The lower half is served by gunicorn: `gunicorn 'lab.redirects:counted()'`.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cfmiddleware.digest import Digest
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from lab.apps import ask, request
from lab.serving import ask as answer_of


def sha256_of(number: int) -> Digest:
    """Return a digest, another one for each number."""
    return Digest("sha256", hashlib.sha256(b"%d" % number).hexdigest())


def path_of(digest: Digest) -> str:
    return f"/v2/team/app/blobs/{digest}"


def every_blob(environ: dict[str, Any], start_response: Any) -> Any:
    """Be a registry that has every blob there is."""
    digest = environ["PATH_INFO"].rpartition("/")[2]
    start_response("200 OK", [("Docker-Content-Digest", digest), ("Content-Length", "7")])
    return [b"content"]


def redirect(wrapped: Any, digest: Digest, address: str = "192.0.2.7") -> str:
    """Return where the pull of a blob is sent to; it must be sent somewhere."""
    answer = ask(wrapped, request(path_of(digest), REMOTE_ADDR=address))
    assert answer.code == 307
    assert answer.location is not None
    return answer.location


def parameters(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def policy_of(url: str) -> dict[str, Any]:
    """Return the statement of a custom policy."""
    text = parameters(url)["Policy"].translate(str.maketrans("-_~", "+=/"))
    (statement,) = json.loads(base64.b64decode(text))["Statement"]
    return dict(statement)


def date_of(url: str) -> int:
    """Return when a URL of S3's begins to be good, in Unix seconds (signature version 4)."""
    return calendar.timegm(time.strptime(parameters(url)["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))


def end_of(url: str) -> int:
    """Return when a URL expires, in Unix seconds, whoever signed it."""
    said = parameters(url)
    if "X-Amz-Expires" in said:
        return date_of(url) + int(said["X-Amz-Expires"])
    if "Policy" in said:
        return int(policy_of(url)["Condition"]["DateLessThan"]["AWS:EpochTime"])
    return int(said["Expires"])


def listen_to(key: Any, *, pause: float = 0) -> list[str]:
    """Return the list of all policies that *key* is going to sign, as they are signed.

    :param key: a private key, or its class.
    :param pause: seconds that every signature takes longer than it has to, so that threads meet there.
    """
    signed: list[str] = []
    sign = key.sign

    # The last two are the message and the hash, whether it is a method of a class or of one key.
    def listening(*arguments: Any) -> Any:
        message = arguments[-2]
        # Trial signatures, at the start and of new keys, are for nobody's URL.
        if message.startswith(b'{"Statement"'):
            signed.append(message.decode())
        if pause:
            time.sleep(pause)
        return sign(*arguments)

    key.sign = listening
    return signed


# What gunicorn serves


def _without_cryptography() -> None:
    """Make imports fail as they do where the package is not installed."""
    sys.modules["cryptography"] = None  # type: ignore[assignment]


def _signing_class() -> type:
    """Return the class of the RSA keys that sign in this process."""
    try:
        from cfmiddleware.signing.cryptography_backend import RSASigningKey
    except ImportError:
        from cfmiddleware.signing.rsa_backend import PlainSigningKey

        return PlainSigningKey
    return RSASigningKey


def watched(app: Callable[..., Any], signed: list[str]) -> Callable[..., Any]:
    """Return *app*, with the process in every answer, and what it signed under `/signed`."""

    def outer(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("X-Process", str(os.getpid()))], exc_info)

        if environ["PATH_INFO"] == "/signed":
            body = json.dumps(signed).encode()
            start("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        return app(environ, start)

    return outer


def counted() -> Any:
    """Return wrappers of one registry, mounted by the names that TEST_WRAPPERS has for their options."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    if os.environ.get("TEST_BACKEND") == "rsa":
        _without_cryptography()
    cls = _signing_class()
    signed = listen_to(cls)
    given = json.loads(os.environ["TEST_WRAPPERS"])
    mounts: dict[str, Any] = {
        f"/{name}": CloudFrontMiddleware(every_blob, **options) for name, options in given.items()
    }

    def backend(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", str(len(cls.__module__)))])
        return [cls.__module__.encode()]

    mounts["/backend"] = backend
    return watched(DispatcherMiddleware(every_blob, mounts), signed)


def of_each_worker(url: str, number: int, seconds: float = 20) -> dict[int, Any]:
    """Return what each of a gunicorn's workers answers under *url*, in JSON, by their processes."""
    found: dict[int, Any] = {}
    deadline = time.monotonic() + seconds
    while len(found) < number and time.monotonic() < deadline:
        answer = answer_of("GET", url)
        assert answer.status == 200, answer
        found[int(answer.headers["X-Process"])] = json.loads(answer.body)
    return found


def preloaded() -> Any:
    """Return the app of the configuration that TEST_CONFIG names, and its threads' names under `/threads`."""
    from cfmiddleware.server import app

    serve = app(os.environ["TEST_CONFIG"])

    def outer(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/threads":
            return serve(environ, start_response)
        body = json.dumps([thread.name for thread in threading.enumerate()]).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return watched(outer, [])
