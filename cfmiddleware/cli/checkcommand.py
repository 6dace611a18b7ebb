"""``cfmiddleware check``: proves CloudFront, step by step."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfmiddleware import logs
from cfmiddleware.cloudfront.asking import NotAnswered, host_and_port
from cfmiddleware.cloudfront.check import STEPS, Request, check
from cfmiddleware.config import Config
from cfmiddleware.config.address import DEFAULT_ADDRESS, DEFAULT_EDGE
from cfmiddleware.config.embedded import default_directory, embedded
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError, cannot_be_read
from cfmiddleware.reference import is_name

from .findinglines import print_json, print_lines
from .sigterm import sigterm_as_ctrl_c

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="prove that CloudFront serves what the registry signs, and nothing else",
        description="Check CloudFront, the bucket and the registry, each in a line with a tick, a cross or a "
        "question mark, and say for each cross what mends it. A small object is written below the registry's "
        "root and removed in the end; nothing else is changed. The first step needs no permission of AWS; "
        "the second reads what AWS is told, as far as the credentials of this shell may; the third is the "
        "registry's own side.",
        epilog="Exit status: 0 without a cross, 1 with one, 2 where the configuration cannot be used.",
    )
    parser.add_argument("config", metavar="CONFIG", nargs="?", help="the configuration file (config.yml)")
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help=f"without CONFIG: the directory of 'cfmiddleware serve' (default: {default_directory()})",
    )
    parser.add_argument(
        "--edge-addr",
        metavar="HOST:PORT",
        help=f"without CONFIG: where that edge listens (default: {DEFAULT_EDGE})",
    )
    parser.add_argument(
        "--digest", metavar="sha256:...", help="ask for this blob, which is there; then nothing is written"
    )
    parser.add_argument("--repository", metavar="NAME", default="", help="the repository of that blob")
    parser.add_argument("--url", default="", help="the URL of the registry that runs: follow its redirect")
    parser.add_argument(
        "--login", metavar="FILE", help="a file whose only line is USER:PASSWORD, for that registry"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Check, and return 1 where there is a cross."""
    request = Request(
        configuration(arguments),
        url=_url(arguments.url),
        login=_login(arguments.login),
        digest=_digest(arguments),
        repository=arguments.repository,
    )
    source = request.config.source
    with (
        logs.left_out("cfmiddleware.storage"),
        sigterm_as_ctrl_c(),
        contextlib.closing(check(request)) as found,
    ):
        if arguments.json:
            return print_json(source, found)
        return print_lines(source, STEPS, found)


def configuration(arguments: Any) -> Config:
    """Return the configuration that the arguments name, or that of ``cfmiddleware serve`` without a file."""
    if arguments.config is not None:
        return Config.load(arguments.config)
    edge = arguments.edge_addr or str(DEFAULT_EDGE)
    return embedded(arguments.data or default_directory(), str(DEFAULT_ADDRESS), edge, create=False)


def _url(url: str) -> str:
    if not url:
        return ""
    if "@" in url.rpartition("://")[2].partition("/")[0]:
        raise ConfigError("--url: must have no user in it; use --login FILE")
    if "?" in url or "#" in url:
        raise ConfigError("--url: ends with the registry's host and port, or with its prefix")
    try:
        host_and_port(url)
    except NotAnswered:
        raise ConfigError(
            f"--url: {url!r} is not a URL; write it like https://registry.example.com"
        ) from None
    return url


def _login(file: str | None) -> str:
    if file is None:
        return ""
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--login: {file}: {cannot_be_read(error)}") from None
    if ":" not in text or "\n" in text:
        raise ConfigError(f"--login: {file}: must hold one line, USER:PASSWORD")
    return text


def _digest(arguments: Any) -> Digest | None:
    if arguments.repository and not is_name(arguments.repository):
        raise ConfigError(f"--repository: {arguments.repository!r} is not a repository's name")
    if arguments.digest is None:
        return None
    try:
        return Digest.parse(arguments.digest)
    except ValueError as error:
        raise ConfigError(f"--digest: {arguments.digest!r} is not a digest: {error}") from None
