"""Apps to wrap, and the least of a WSGI server to ask them with.

The lower half is served by gunicorn: each function is a factory, `gunicorn 'lab.apps:flask_registry()'`, that
takes what it needs from variables named `TEST_...`.
"""

from __future__ import annotations

import functools
import hmac
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.signing.keys import GeneratedKey, generate

CONTENT = bytes(range(256)) * 300
DIGEST = Digest.of(CONTENT)
BLOB = f"/v2/team/app/blobs/{DIGEST}"
KEY = f"docker/registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"
EDGE = "https://d111111abcdef8.cloudfront.net"
KEY_PAIR_ID = "K2JCJMDEHXQW5F"


@functools.cache
def key(number: int) -> GeneratedKey:
    """Return an RSA key, the same one for the same number."""
    return generate("rsa")


def wrap(app: Any, **options: Any) -> CloudFrontMiddleware:
    """Wrap *app* with a key and an edge, and with *options*."""
    signing = {"privatekey": key(1).private_pem, "keypairid": KEY_PAIR_ID}
    return CloudFrontMiddleware(app, **{"baseurl": EDGE, **signing, **options})


def request(path: str = BLOB, method: str = "GET", **more: Any) -> dict[str, Any]:
    """Return the environ of a request as a server makes it."""
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "registry.example",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **more,
    }


class Exchange:
    """One request put to an app by the rules of PEP 3333: `start` and `run`, or both at once with `ask`.

    :param app: any WSGI app.
    :param environ: the request.
    """

    def __init__(self, app: Any, environ: dict[str, Any]) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.written = bytearray()
        self.sent = False
        self.response = app(environ, self._start_response)

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.status and not exc_info:
            raise AssertionError("start_response was called twice")
        self.status, self.headers = status, headers
        return self._write

    def _write(self, data: bytes) -> None:
        self.sent = True
        self.written += data

    @property
    def code(self) -> int:
        return int(self.status[:3])

    @property
    def location(self) -> str | None:
        return dict(self.headers).get("Location")

    def read(self) -> bytes:
        """Take the whole body, then close it, as a server does."""
        try:
            for chunk in self.response:
                self._write(chunk)
        finally:
            if hasattr(self.response, "close"):
                self.response.close()
        return bytes(self.written)


class Answered(NamedTuple):
    """A whole answer."""

    code: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def location(self) -> str | None:
        return dict(self.headers).get("Location")


def ask(app: Any, environ: dict[str, Any] | None = None) -> Answered:
    """Put a request to an app and take the whole answer."""
    exchange = Exchange(app, request() if environ is None else environ)
    body = exchange.read()
    return Answered(exchange.code, exchange.headers, body)


class Body:
    """A response that counts how often it is closed, and how much of it was taken.

    :param chunks: an iterable of chunks, or of callables that return one.
    """

    def __init__(self, chunks: Any) -> None:
        self._chunks = iter(chunks)
        self.closed = 0
        self.taken = 0

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.taken += 1
        return chunk() if callable(chunk) else chunk

    def close(self) -> None:
        self.closed += 1


class App:
    """An app that gives one answer to everything, and remembers what it was asked.

    :param status: its status line.
    :param headers: its headers.
    :param body: a callable that makes the response; what it made lies in `responses`.
    """

    def __init__(
        self,
        status: str = "200 OK",
        headers: Any = (("Docker-Content-Digest", str(DIGEST)),),
        body: Any = lambda: Body([CONTENT]),
    ) -> None:
        self._status = status
        self._headers = headers
        self._body = body
        self.environs: list[dict[str, Any]] = []
        self.methods: list[str] = []
        self.responses: list[Any] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.environs.append(environ)
        self.methods.append(environ["REQUEST_METHOD"])
        start_response(self._status, list(self._headers))
        self.responses.append(self._body())
        return self.responses[-1]


# What gunicorn serves


def _wrapped(app: Any, **options: Any) -> CloudFrontMiddleware:
    return CloudFrontMiddleware(app, **json.loads(os.environ["TEST_OPTIONS"]), **options)


def _allowed(header: str) -> bool:
    return hmac.compare_digest(header.encode(), b"Bearer let-me-in")


def flask_registry() -> Any:
    """Return a Flask registry with a token check of its own; it knows nothing of the wrapper."""
    import flask

    app = flask.Flask("registry")

    @app.get("/v2/<path:name>/blobs/<digest>")
    def blob(name: str, digest: str) -> Any:
        if not _allowed(flask.request.headers.get("Authorization", "")):
            return flask.jsonify(errors=[{"code": "UNAUTHORIZED"}]), 401, {"WWW-Authenticate": "Bearer"}
        if digest != str(DIGEST):
            return flask.jsonify(errors=[{"code": "BLOB_UNKNOWN"}]), 404
        response = flask.Response(CONTENT, mimetype="application/octet-stream")
        response.headers["Docker-Content-Digest"] = digest
        response.set_cookie("session", "of the app")
        return response

    @app.put("/v2/<path:name>/blobs/<digest>")
    def put(name: str, digest: str) -> Any:
        return {"received": len(flask.request.get_data())}

    app.wsgi_app = _wrapped(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's own documents say
    return app


def presigning() -> Any:
    """Return a Flask app that redirects every pull to the presigned S3 URL of one object."""
    import boto3
    import flask

    client = boto3.client(
        "s3",
        endpoint_url=os.environ.get("TEST_ENDPOINT") or None,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    app = flask.Flask("presigning")

    @app.get("/v2/<path:name>/blobs/<digest>")
    def blob(name: str, digest: str) -> Any:
        where = {"Bucket": os.environ["TEST_BUCKET"], "Key": os.environ["TEST_KEY"]}
        return flask.redirect(client.generate_presigned_url("get_object", Params=where, ExpiresIn=60))

    app.wsgi_app = _wrapped(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's own documents say
    return app


def writing() -> Any:
    """Return an app that streams a generator and `write()`, and notes in a file what became of it."""

    def note(event: str) -> None:
        with Path(os.environ["TEST_NOTES"]).open("a") as notes:
            notes.write(event + "\n")

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if not path.startswith("/v2/"):
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
            return [b"ok"]
        note("called")
        digest = str(DIGEST) if path.startswith("/v2/yes") else "sha256:" + "0" * 64
        write = start_response("200 OK", [("Docker-Content-Digest", digest)])
        if "writes" in path:
            try:
                for _ in range(1000):
                    write(b"x" * (1 << 20))
                    note("written")
            except BaseException as error:
                note(f"ended by {type(error).__name__}")
                raise
        return Noted()

    class Noted:
        def __iter__(self) -> Any:
            yield b""
            yield b"one "
            yield b"two"

        def close(self) -> None:
            note("closed")

    return _wrapped(app)


def _plain(environ: dict[str, Any], start_response: Any) -> Any:
    """Serve every blob below `/v2/`, and say of everything else what was asked for."""
    path = environ["PATH_INFO"]
    if path.startswith("/v2/") and path.endswith(f"/blobs/{DIGEST}"):
        headers = [("Docker-Content-Digest", str(DIGEST)), ("Content-Length", str(len(CONTENT)))]
        start_response("200 OK", headers)
        return [CONTENT]
    body = json.dumps({"path": path, "mount": environ.get("SCRIPT_NAME", "")}).encode()
    start_response(
        "404 Not Found", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    )
    return [body]


def asked() -> Any:
    """Return an app that answers every path whatsoever with the blob's own 200."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        headers = [("Docker-Content-Digest", str(DIGEST)), ("Content-Length", str(len(CONTENT)))]
        start_response("200 OK", headers)
        return [CONTENT]

    return _wrapped(app)


def mounted_inside() -> Any:
    """Return a wrapper around a dispatcher that mounts the registry under `/registry`."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    return _wrapped(DispatcherMiddleware(_plain, {"/registry": _plain}))


def mounted_outside() -> Any:
    """Return a dispatcher that mounts the wrapped registry under `/registry`."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    return DispatcherMiddleware(_plain, {"/registry": _wrapped(_plain)})


def django_registry() -> Any:
    """Return a Django registry with a token check of its own, wrapped."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    def blob(request: Any, name: str, digest: str) -> Any:
        if not _allowed(request.headers.get("Authorization", "")):
            return JsonResponse({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        if name == "page":
            return HttpResponse("<p>Welcome</p>")
        return StreamingHttpResponse(
            iter([CONTENT]),
            # Django's own default is text/html, which is never a blob.
            content_type="application/octet-stream",
            headers={"Docker-Content-Digest": digest},
        )

    urls = type(sys)("django_urls")
    urls.urlpatterns = [path("v2/<path:name>/blobs/<str:digest>", blob)]  # type: ignore[attr-defined]
    sys.modules["django_urls"] = urls
    settings.configure(ROOT_URLCONF="django_urls", ALLOWED_HOSTS=["*"], SECRET_KEY="of the test")
    django.setup()
    return _wrapped(get_wsgi_application())


def edge() -> Any:
    """Return an edge over a directory."""
    from cfmiddleware import logs
    from cfmiddleware.edge import Edge
    from cfmiddleware.signing.keys import load_public_key
    from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver

    logs.to_stderr()
    public = load_public_key(os.environ["TEST_PUBLIC_KEY"], "key of the test")
    return Edge(
        FilesystemDriver(os.environ["TEST_DIRECTORY"]),
        publickeys={KEY_PAIR_ID: public},
        originpath=os.environ.get("TEST_ORIGINPATH", ""),
    )
