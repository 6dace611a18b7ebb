"""The command ``cfmiddleware``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

# Those that serve; nothing that waits is imported before it is known how it is to wait.
_SERVING = ("serve", "edge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2, with one line on stderr, for what the user can mend, and
    75 for a storage that cannot be reached.

    :param arguments: by default those of this process, which then serves in greenlets.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        if arguments[:1] and arguments[0] in _SERVING:
            from cfmiddleware.serving.patching import wait_in_greenlets

            with contextlib.suppress(ImportError):  # which the command says in its own words
                wait_in_greenlets()
    from .commands import run

    return run(arguments)
