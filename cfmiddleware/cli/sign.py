"""``cfmiddleware sign``: a signed URL by hand."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfmiddleware import parse
from cfmiddleware.config import Config
from cfmiddleware.config.embedded import default_directory, embedded
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.options import WrapperOptions
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.reference import is_name
from cfmiddleware.signing.url import SIGNING_PARAMETERS
from cfmiddleware.wsgi.client import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

#: Those of the wrapper's options that make a difference to a URL; they take the place of the configuration's.
_OPTIONS = (
    "baseurl",
    "privatekey",
    "keypairid",
    "duration",
    "hash",
    "layout",
    "rootdirectory",
    "originpath",
)


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "sign",
        help="print a signed URL",
        description="Print the CloudFront-signed URL of a blob, as a pull of it would be redirected to, or "
        "sign any URL of the distribution. It does not matter whether the blob is there. The key and all "
        "else come from a configuration file, from the data directory of 'cfmiddleware serve', or from "
        "options, which take the place of the configuration's.",
    )
    parser.add_argument("what", metavar="URL-or-digest", help="https://... or sha256:...")
    parser.add_argument("--config", metavar="FILE", help="the configuration file (config.yml)")
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help=f"without --config: the directory of 'cfmiddleware serve' (default: {default_directory()})",
    )
    parser.add_argument("--repository", metavar="NAME", default="", help="for layouts that need its name")
    parser.add_argument("--address", metavar="IP", help="bind the URL to a client's IPv4 address")
    help = parse.documented(WrapperOptions)
    for name in _OPTIONS:
        # argparse formats the text with %.
        parser.add_argument(f"--{name}", help=_plain(help[name]).replace("%", "%%"))
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Print the URL."""
    given = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    address = None
    if arguments.address is not None:
        client = parse_address(arguments.address)
        if client is None or client.version != 4:
            raise ConfigError(f"--address: {arguments.address!r} is not an IPv4 address")
        address = str(client)
    is_url = "://" in arguments.what
    if is_url:
        given.setdefault("baseurl", "https://unused.invalid")
    if arguments.repository and not is_name(arguments.repository):
        raise ConfigError(f"--repository: {arguments.repository!r} is not a repository's name")
    wrapper = _wrapper(arguments, given)
    if is_url:
        print(wrapper.signed(_url(arguments.what), address))
        return 0
    try:
        digest = Digest.parse(arguments.what)
    except ValueError as error:
        raise ConfigError(f"{arguments.what!r} is neither a URL nor a digest: {error}") from None
    print(wrapper.signed_blob(arguments.repository, digest, address))
    return 0


def _wrapper(arguments: Any, given: dict[str, Any]) -> CloudFrontMiddleware:
    """Return a wrapper with the options that apply. It wraps no app, because none is asked."""
    if arguments.config is not None:
        return Config.load(arguments.config).wrap(_nothing, given)
    if "privatekey" in given:
        return CloudFrontMiddleware(_nothing, WrapperOptions.read(given))
    return embedded(arguments.data or default_directory(), create=False).wrap(_nothing, given)


def _plain(text: str) -> str:
    """Return the first sentence of an option's documentation, without the marks of reStructuredText."""
    return re.sub(r"``|\*", "", text.partition(". ")[0].removesuffix("."))


def _url(text: str) -> str:
    """Return *text* if it is a URL that can be signed: it goes as it is into a policy and to a client."""
    if not text.isascii() or any(character in text for character in ' "\\#<>*') or not text.isprintable():
        raise ConfigError(
            f"{text!r} is not a URL that can be signed: encode it first, and leave out any fragment"
        )
    _, _, query = text.partition("?")
    for name in (part.partition("=")[0] for part in query.split("&")):
        if name in SIGNING_PARAMETERS:
            # Not the URL itself: it may be signed, and so open what others may not read.
            raise ConfigError(f"the URL has a parameter {name!r}, which is CloudFront's own; leave it out")
    return text


def _nothing(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Be the app that this command does not need."""
    raise NotImplementedError
