"""The commands of ``cfmiddleware``, and what becomes of their errors.

Built on argparse: its commands are few, its help is enough, and the package's dependencies stay few.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cfmiddleware.errors import ConfigError, StorageNotReached

from . import (
    addreferrers,
    applyretention,
    checkcommand,
    collectgarbage,
    completion,
    configcommand,
    explaincommand,
    keygen,
    managekeys,
    notificationscommand,
    printtemplate,
    serve,
    sign,
    verifystorage,
)
from .commandparser import CommandParser
from .firststeps import FIRST_STEPS
from .versions import versions

# EX_TEMPFAIL of sysexits.h, which supervisors know: the same command may succeed later.
_LATER = 75


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status: 2, with one line on stderr, for what the user can mend, and
    75 for a storage that cannot be reached.
    """
    if not arguments:
        print(FIRST_STEPS, end="")
        return 0
    options = command_line().parse_args(arguments)
    try:
        status: int = options.run(options)
    except StorageNotReached as error:
        print(f"cfmiddleware: {error}", file=sys.stderr)
        return _LATER
    except ConfigError as error:
        print(f"cfmiddleware: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `cfmiddleware sign ... | head`
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def command_line() -> CommandParser:
    """Return the parser of the whole command line. Its text is the only source of help and completion."""
    parser = CommandParser(
        prog="cfmiddleware",
        description="Serve container images through CloudFront: a registry whose pulls are redirected to "
        "CloudFront-signed URLs, and an edge for machines without an AWS account.",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the versions of this program and its libraries"
    )
    commands: argparse._SubParsersAction[argparse.ArgumentParser] = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command", parser_class=CommandParser
    )
    for add_parser in (
        serve.add_parser,
        serve.add_edge_parser,
        sign.add_parser,
        keygen.add_parser,
        printtemplate.add_parser,
        checkcommand.add_parser,
        explaincommand.add_parser,
        managekeys.add_parser,
        notificationscommand.add_parser,
        addreferrers.add_parser,
        collectgarbage.add_parser,
        verifystorage.add_parser,
        configcommand.add_parser,
        completion.add_parser,
        applyretention.add_parser,
    ):
        add_parser(commands)
    return parser


class _Version(argparse.Action):
    """Tells the versions, which takes a look at what is installed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        """Print them, and end."""
        print(versions())
        parser.exit()
