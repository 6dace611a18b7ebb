"""The options of the ways to authenticate (Distribution, "auth")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

from .challenge import check_parameter
from .credentials import ALGORITHMS


def _header_text(value: object, name: str) -> str:
    return check_parameter(parse.text(value, name), name)


def _path(value: object, name: str) -> Path:
    return Path(parse.text(value, name))


def _algorithms(value: object, name: str) -> tuple[str, ...]:
    algorithms = parse.words(value, name)
    if not algorithms:
        raise ConfigError(f"{name}: must be a list such as [RS256, ES256]")
    for algorithm in algorithms:
        if algorithm not in ALGORITHMS:
            raise ConfigError(f"{name}: {algorithm!r} is none of {', '.join(ALGORITHMS)}")
    return algorithms


@dataclass(frozen=True)
class HtpasswdOptions:
    """Users and passwords.

    :param realm: what clients show to their users.
    :param path: the file of users, with lines of ``user:hash``.
    """

    realm: str = field(metadata={"form": "text"})
    path: Path

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"realm": _header_text, "path": _path}


@dataclass(frozen=True)
class TokenOptions:
    """Tokens of a token server.

    :param realm: the token server's URL.
    :param service: what this registry is called there. A token's ``aud``, a text or a list, must have it.
    :param issuer: what the token server calls itself: a token's ``iss``.
    :param rootcertbundle: a file of certificates in PEM. A token may be signed with the key of one of them
        (``kid``), or of one that they vouch for through the token's ``x5c``. This file or *jwks* is required.
    :param jwks: a file with a JSON Web Key Set: keys by ``kid``.
    :param signingalgorithms: those that are taken.
    :param autoredirect: whether the realm is at the host that the client asked for, below *autoredirectpath*.
        *realm* is then for requests without a usable host.
    :param autoredirectpath: its path there.
    """

    realm: str
    service: str
    issuer: str
    rootcertbundle: Path | None = None
    jwks: Path | None = None
    signingalgorithms: tuple[str, ...] = ALGORITHMS
    autoredirect: bool = False
    autoredirectpath: str = "/auth/token"

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "realm": _header_text,
        "service": _header_text,
        "issuer": parse.text,
        "rootcertbundle": _path,
        "jwks": _path,
        "signingalgorithms": _algorithms,
        "autoredirect": parse.boolean,
        "autoredirectpath": _header_text,
    }

    def __post_init__(self) -> None:
        if self.rootcertbundle is None and self.jwks is None:
            raise ConfigError("rootcertbundle: this option or 'jwks' is required: tokens are checked with it")
