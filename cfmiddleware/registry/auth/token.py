"""Tokens that another server has issued (Docker Registry, "Token Authentication Specification")."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from cfmiddleware.errors import ConfigError
from cfmiddleware.process.watchedfile import WatchedFiles
from cfmiddleware.registry.errors import RegistryError
from cfmiddleware.registry.requests import Request
from cfmiddleware.wsgi.origin import HOST

from .access import Grant, needed, wanted
from .challenge import check_parameter, unauthorized
from .credentials import ALGORITHMS, parse_bearer
from .jwk import TrustedKey, parse_jwks
from .schemeoptions import TokenOptions
from .x5c import ChainError, parse_bundle

_log = logging.getLogger("cfmiddleware.auth")

#: Seconds that the clocks of the token server and of this machine may be apart, as in Distribution.
LEEWAY = 60

_JWT = re.compile(r"[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++")

# What the decoders raise for a text that is not a token.
_NO_TOKEN = (
    jwt.PyJWTError,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class _Refused(Exception):
    """A token is not taken; the message says why and goes to the log."""


class TokenAuth:
    """Bearer tokens: JSON Web Tokens whose claim ``access`` says what the client may do.

    The parameters are Distribution's options. A request without a token, or with one that is not enough, is
    told where to get one and for which scope.

    :param realm: the token server's URL.
    :param service: the name of this registry at the token server; a token's ``aud`` must have it.
    :param issuer: the name of the token server; a token's ``iss``.
    :param rootcertbundle: a file of certificates. A token may be signed with the key of one of them, or of
        one that they vouch for through the token's ``x5c``.
    :param jwks: a file with a JSON Web Key Set, whose keys are found by a token's ``kid``.
    :param signingalgorithms: those that are accepted; all of :data:`~.credentials.ALGORITHMS` by default.
    :param autoredirect: whether the realm is at the host that the client asked for.
    :param autoredirectpath: the realm's path then.
    :param clock: seconds that only go forward.
    :raises ConfigError: for options that cannot work, and files that cannot be read.
    """

    def __init__(
        self,
        *,
        realm: str,
        service: str,
        issuer: str,
        rootcertbundle: str | os.PathLike[str] | None = None,
        jwks: str | os.PathLike[str] | None = None,
        signingalgorithms: Collection[str] = ALGORITHMS,
        autoredirect: bool = False,
        autoredirectpath: str = TokenOptions.autoredirectpath,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._realm = check_parameter(realm, "realm")
        self._service = check_parameter(service, "service")
        self._issuer = issuer
        self._algorithms = frozenset(signingalgorithms)
        for algorithm in signingalgorithms:
            if algorithm not in ALGORITHMS:
                raise ConfigError(f"signingalgorithms: {algorithm!r} is none of {', '.join(ALGORITHMS)}")
        self._redirect = check_parameter(autoredirectpath, "autoredirectpath") if autoredirect else ""
        self._roots = self._jwks = None
        if rootcertbundle is not None:
            self._roots = WatchedFiles(
                [rootcertbundle],
                lambda text: parse_bundle(text, os.fspath(rootcertbundle)),
                log=_log,
                clock=clock,
            )
        if jwks is not None:
            self._jwks = WatchedFiles(
                [jwks], lambda text: parse_jwks(text, os.fspath(jwks)), log=_log, clock=clock
            )
        if self._roots is None and self._jwks is None:
            raise ConfigError("rootcertbundle: this option or 'jwks' is required: tokens are checked with it")

    def authorize(self, request: Request) -> Grant:
        """Return what a token's claims allow, which includes what the request needs."""
        header = request.header("Authorization")
        token = parse_bearer(header)
        if token is None:
            raise self._challenge(request, "a token is required")
        try:
            grant = _grant(self._claims(token))
        except _Refused as refusal:
            _log.info("a token is refused: %s", refusal)
            raise self._challenge(request, "the token is invalid", "invalid_token") from None
        if not all(map(grant.allows, needed(request.route, request.method))):
            raise self._challenge(request, "the token does not allow this", "insufficient_scope")
        return grant

    def _claims(self, token: str) -> Mapping[str, Any]:
        """Return what a token says, all of it verified (RFC 7519, 7.2)."""
        if not _JWT.fullmatch(token):
            raise _Refused("it is not a JSON Web Token")
        try:
            header = jwt.get_unverified_header(token)
        except _NO_TOKEN:
            raise _Refused("its header cannot be read") from None
        if "crit" in header:
            raise _Refused("its header has extensions that must be understood")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise _Refused("its algorithm is none of the signingalgorithms")
        key = self._key(header)
        if algorithm not in key.algorithms:
            raise _Refused("its algorithm is not for its key")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],
                audience=self._service,
                issuer=self._issuer,
                leeway=LEEWAY,
                # A subject that is not a text is not a name, but no reason to refuse the token.
                options={"require": ["exp", "iss", "aud"], "verify_sub": False, "verify_jti": False},
            )
        except _NO_TOKEN as error:
            raise _Refused(_reason(error)) from None
        return claims

    def _key(self, header: Mapping[str, Any]) -> TrustedKey:
        """Return the trusted key that a token's header names, by its chain of certificates or by its id."""
        chain, kid = header.get("x5c"), header.get("kid")
        if chain and self._roots is not None:
            if not isinstance(chain, list):
                raise _Refused("its x5c is not a list")
            try:
                return self._roots.current().key_of(chain)
            except ChainError as error:
                raise _Refused(str(error)) from None
        if not isinstance(kid, str):
            raise _Refused("it names no key")
        key = self._jwks.current().get(kid) if self._jwks is not None else None
        if key is None and self._roots is not None:
            key = self._roots.current().keys.get(kid)
        if key is None:
            raise _Refused("its key is not known")
        return key

    def _challenge(self, request: Request, message: str, error: str = "") -> RegistryError:
        access = wanted(request)
        parameters = {"realm": self._realm_for(request), "service": self._service}
        if access:
            parameters["scope"] = " ".join(map(str, access))
        if error:
            parameters["error"] = error
        return unauthorized("Bearer", parameters, message, access)

    def _realm_for(self, request: Request) -> str:
        if not self._redirect:
            return self._realm
        if request.host is not None:
            return request.host + self._redirect
        scheme, host = request.header("X-Forwarded-Proto") or "https", request.header("Host")
        if scheme not in ("http", "https") or not HOST.fullmatch(host):
            return self._realm
        return f"{scheme}://{host}{self._redirect}"


def _grant(claims: Mapping[str, Any]) -> Grant:
    """Return what the claims ``sub`` and ``access`` say; a token without ``access`` allows ``/v2/`` only."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for entry in _list(claims.get("access")):
        if not isinstance(entry, dict):
            raise _Refused("its access is not a list of objects")
        kind, name, actions = entry.get("type"), entry.get("name"), _list(entry.get("actions"))
        if not (isinstance(kind, str) and isinstance(name, str) and all(isinstance(a, str) for a in actions)):
            raise _Refused("its access has something other than texts")
        found[kind, name] = found.get((kind, name), frozenset()) | frozenset(actions)
    subject = claims.get("sub")
    return Grant(subject if isinstance(subject, str) else "", found)


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Refused("its access is not a list")
    return value


_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidIssuerError: "another issuer made it",
    jwt.InvalidAudienceError: "it is for another service",
    jwt.MissingRequiredClaimError: "it lacks exp, iss or aud",
    jwt.InvalidSignatureError: "its signature is wrong",
}


def _reason(error: BaseException) -> str:
    """Return why a token is refused, in our own words, because a decoder's may repeat parts of the token."""
    return next((text for kind, text in _REASONS.items() if isinstance(error, kind)), "it cannot be read")
