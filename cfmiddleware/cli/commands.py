"""The commands of ``cfmiddleware``, and what becomes of their errors.

Built on argparse: its commands are few, its help is enough, and the package's dependencies stay few.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cfmiddleware.errors import ConfigError, StorageNotReached
from cfmiddleware.version import __version__

from . import (
    addreferrers,
    applyretention,
    checkcommand,
    collectgarbage,
    explaincommand,
    keygen,
    managekeys,
    notificationscommand,
    printtemplate,
    serve,
    sign,
    verifystorage,
)

# EX_TEMPFAIL of sysexits.h, which supervisors know: the same command may succeed later.
_LATER = 75


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status: 2, with one line on stderr, for what the user can mend, and
    75 for a storage that cannot be reached.
    """
    parser = argparse.ArgumentParser(
        prog="cfmiddleware",
        description="Serve container images through CloudFront: a registry whose pulls are redirected to "
        "CloudFront-signed URLs, and an edge for machines without an AWS account.",
    )
    parser.add_argument("--version", action="version", version=f"cfmiddleware {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
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
        applyretention.add_parser,
        verifystorage.add_parser,
    ):
        add_parser(commands)
    options = parser.parse_args(arguments)
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
