"""What tests of authentication stand on: htpasswd files, keys, certificates, tokens, a token server."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bcrypt
import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from werkzeug.wrappers import Request, Response

from cfmiddleware.registry.auth.htpasswd import HtpasswdAuth
from cfmiddleware.registry.auth.token import TokenAuth
from cfmiddleware.storage.memory import MemoryDriver
from lab.registry_client import RegistryClient
from lab.wsgi_server import running_app

REALM = "https://auth.example.com/token"
SERVICE = "registry.example.com"
ISSUER = "auth.example.com"

PULL = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
PUSH = [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}]


def htpasswd(users: Mapping[str, str], cost: int = 4) -> bytes:
    """Return an htpasswd file, of the cheapest hashes that there are."""
    lines = (
        user.encode() + b":" + bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))
        for user, password in users.items()
    )
    return b"\n".join(lines) + b"\n"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def htpasswd_client(file: Path, **options: Any) -> RegistryClient:
    """Return a client of a registry whose users are in *file*."""
    return RegistryClient(MemoryDriver(), auth=HtpasswdAuth(realm="the registry", path=file, **options))


def token_client(**options: Any) -> RegistryClient:
    """Return a client of a registry that takes tokens."""
    named = {"realm": REALM, "service": SERVICE, "issuer": ISSUER, **options}
    return RegistryClient(MemoryDriver(), auth=TokenAuth(**named))


@functools.cache
def private_key(kind: str, number: int = 0) -> Any:
    """Return a key: RSA, P-256, P-384 or Ed25519; the same one for the same number."""
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}[kind])


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    """Return the public half of a key, as a JSON Web Key."""
    readers = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    (reader,) = [reader for kind, reader in readers.items() if isinstance(key, kind)]
    members = reader.to_jwk(key.public_key(), as_dict=True)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        # All bytes of a coordinate (RFC 7518, 6.2.1.2); older versions of PyJWT leave out leading zeros.
        size = (key.key_size + 7) // 8
        numbers = key.public_key().public_numbers()
        for name, value in (("x", numbers.x), ("y", numbers.y)):
            members[name] = base64.urlsafe_b64encode(value.to_bytes(size, "big")).rstrip(b"=").decode()
    return {**members, **more}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**more: Any) -> dict[str, Any]:
    """Return what a good token says.

    :param more: claims instead of the good ones; None leaves one out, and a time is in seconds from now.
    """
    now = int(time.time())
    for name in ("exp", "nbf", "iat"):
        if isinstance(more.get(name), int):
            more[name] += now
    said = {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": "alice",
        "exp": now + 300,
        "nbf": now - 1,
        "iat": now,
        "access": PULL,
        **more,
    }
    return {name: value for name, value in said.items() if value is not None}


def token(key: Any, algorithm: str = "RS256", headers: Mapping[str, Any] | None = None, **more: Any) -> str:
    """Return a token, signed as it should be."""
    return jwt.encode(claims(**more), key, algorithm, dict({"kid": "one"} if headers is None else headers))


def certificate(
    name: str,
    key: Any,
    issuer: tuple[str, Any] | None = None,
    *,
    ca: bool = False,
    days: tuple[int, int] = (-1, 1),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    path_length: int | None = None,
    algorithm: Any = None,
) -> x509.Certificate:
    """Return a certificate.

    :param issuer: the name and the key that it is signed with; its own by default.
    :param days: when it is valid, counted from now.
    """
    issuer_name, issuer_key = issuer or (name, key)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    edwards = isinstance(issuer_key, ed25519.Ed25519PrivateKey)
    return builder.sign(issuer_key, None if edwards else algorithm or hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def x5c(*certificates: x509.Certificate) -> list[str]:
    return [base64.b64encode(one.public_bytes(serialization.Encoding.DER)).decode() for one in certificates]


class TokenServer:
    """A small token server: it knows its users' passwords, and who may do what with which repository.

    :param rights: for each user, the actions that it has on each repository.
    """

    def __init__(self, key: Any, passwords: Mapping[str, str], rights: Mapping[str, Mapping[str, Any]]):
        self.port = 0
        self.scopes: list[str] = []
        self._key, self._passwords, self._rights = key, passwords, rights

    @property
    def realm(self) -> str:
        """Its URL, while it runs."""
        return f"http://127.0.0.1:{self.port}/token"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        given = request.authorization
        user = (given.username or "") if given else ""
        if given and self._passwords.get(user) != given.password:
            return Response("wrong", 401)(environ, start_response)
        access = []
        for scope in " ".join(request.args.getlist("scope")).split():
            self.scopes.append(scope)
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = self._rights.get(user, {}).get(name, ())
            granted = [action for action in actions.split(",") if action in allowed]
            access.append({"type": kind, "name": name, "actions": granted})
        made = token(self._key, aud=request.args.get("service"), sub=user, access=access)
        body = json.dumps({"token": made, "expires_in": 300})
        return Response(body, content_type="application/json")(environ, start_response)


@contextlib.contextmanager
def running_token_server(server: TokenServer) -> Iterator[TokenServer]:
    """Serve on a free port until the block is left."""
    with running_app(server) as server.port:
        yield server
