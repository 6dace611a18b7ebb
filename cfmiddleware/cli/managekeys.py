"""``cfmiddleware keys``: the keys that sign URLs, and a new one in the place of the old."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from cfmiddleware import logs, parse
from cfmiddleware.cloudfront.asking import Asker
from cfmiddleware.cloudfront.keygroups import CannotAsk, KeyGroups
from cfmiddleware.cloudfront.keylist import held, listing, wrong
from cfmiddleware.cloudfront.rotation import Choices, Pace, Rotation, Tools
from cfmiddleware.cloudfront.sample import blob_sample, own_sample
from cfmiddleware.cloudfront.wanted import Wanted, wanted
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError, StorageError
from cfmiddleware.signing.keyfiles import id_of

from .progress import Progress
from .sigterm import sigterm_as_ctrl_c

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "keys",
        help="list the keys that sign URLs, or rotate them",
        description="List the keys of a configuration: which one signs, how old they are, and which of them "
        "CloudFront's key group holds. 'rotate' puts a new key in the place of the one that signs: it makes "
        "a pair, adds it to CloudFront or says what to deploy, waits until a URL that is signed with it is "
        "served, and only then puts it where the registry finds it, without a restart. It goes on where the "
        "last run was stopped. Exit status 1: the key that signs is not in the key group, or the rotation "
        "needs something first. CloudFront is asked with the user's own AWS credentials.",
    )
    parser.add_argument(
        "action", nargs="?", choices=("list", "rotate"), default="list", help="default: %(default)s"
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument(
        "--template",
        action="store_true",
        help="rotate: the key group belongs to a CloudFormation template (what 'cfmiddleware template' "
        "printed is noticed without this): change nothing in CloudFront, and say what to deploy",
    )
    parser.add_argument(
        "--id", metavar="ID", help="rotate: the new key's id, where CloudFront's API cannot be asked for it"
    )
    parser.add_argument(
        "--digest", metavar="DIGEST", help="rotate: prove the new key with this blob, and write nothing"
    )
    parser.add_argument(
        "--repository", metavar="NAME", default="", help="rotate: the blob's, for layouts that need its name"
    )
    parser.add_argument(
        "--wait",
        metavar="TIME",
        default="30m",
        help="rotate: how long CloudFront may take (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """List the keys, or rotate them."""
    if arguments.id is not None and id_of(f"pk-{arguments.id}.pem") != arguments.id:
        raise ConfigError(f"--id: {arguments.id!r} is not an id of CloudFront's, such as K2JCJMDEHXQW5F")
    config = Config.load(arguments.config)
    found = wanted(config)
    try:
        groups = KeyGroups.connected(found.region)
    except CannotAsk as error:
        raise ConfigError(f"CloudFront cannot be asked: {error}") from None
    if arguments.action == "list":
        return _list(found, groups)
    choices = Choices(
        by_template=arguments.template,
        id=arguments.id,
        pace=Pace(longest=parse.seconds(arguments.wait, "--wait")),
    )
    sample = own_sample(config, found)
    if arguments.digest is not None:
        try:
            digest = Digest.parse(arguments.digest)
        except ValueError as error:
            raise ConfigError(f"--digest: {arguments.digest!r}: {error}") from None
        try:
            sample = blob_sample(config, found, digest, arguments.repository)
        except StorageError as error:
            raise ConfigError(f"--digest: {digest} cannot be read: {error}") from None
    with logs.left_out("cfmiddleware.storage"), sigterm_as_ctrl_c(), Progress() as progress:
        tools = Tools(groups, Asker(), sample, say=progress.clearing(print), waits=progress)
        done = Rotation(found, tools, choices).run()
    return 0 if done else 1


def _list(found: Wanted, groups: KeyGroups) -> int:
    if not found.keys:
        raise ConfigError(f"{found.source}: {found.place}privatekey: is missing; nothing signs")
    state = held(found, groups)
    print("\n".join(listing(found, state, time.time())))
    return 1 if wrong(found, state) else 0
