"""The commands of ``cfmiddleware``, and what becomes of their errors.

Built on argparse: its commands are few, its help is enough, and the package's dependencies stay few.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module

from cfmiddleware.errors import ConfigError, StorageNotReached

from .commandparser import CommandParser
from .firststeps import FIRST_STEPS

# Where each command is added to the parser, in the order of the help: serve, set up CloudFront, clean up, the
# rest. Only the file of the command that is asked for is imported: all of them together take half a second of
# the processor.
_COMMANDS = {
    "serve": "serve.add_parser",
    "edge": "serve.add_edge_parser",
    "config": "configcommand.add_parser",
    "keygen": "keygen.add_parser",
    "template": "printtemplate.add_parser",
    "check": "checkcommand.add_parser",
    "keys": "managekeys.add_parser",
    "explain": "explaincommand.add_parser",
    "sign": "sign.add_parser",
    "retention": "applyretention.add_parser",
    "delete": "deletecommand.add_parser",
    "gc": "collectgarbage.add_parser",
    "purge": "purgeuploads.add_parser",
    "verify": "verifystorage.add_parser",
    "referrers": "addreferrers.add_parser",
    "notifications": "notificationscommand.add_parser",
    "completion": "completion.add_parser",
}

# EX_TEMPFAIL of sysexits.h, which supervisors know: the same command may succeed later.
_LATER = 75


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status: 2, with one line on stderr, for what the user can mend, and
    75 for a storage that cannot be reached.
    """
    if not arguments:
        print(FIRST_STEPS, end="")
        return 0
    gc.disable()  # what is imported stays
    try:
        options = command_line(arguments[0]).parse_args(arguments)
    finally:
        gc.enable()
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


def command_line(first: str = "") -> CommandParser:
    """Return the parser of the whole command line. Its text is the only source of help and completion.

    :param first: a command that is all that is wanted, or anything else.
    """
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
    wanted = (_COMMANDS[first],) if first in _COMMANDS else _COMMANDS.values()
    # Which ends before it comes to a command.
    for place in () if first == "--version" else wanted:
        module, _, function = place.partition(".")
        getattr(import_module(f".{module}", __package__), function)(commands)
    return parser


class _Version(argparse.Action):
    """Tells the versions, which takes a look at what is installed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        """Print them, and end."""
        from .versions import versions  # which needs what reads mail

        print(versions())
        parser.exit()
