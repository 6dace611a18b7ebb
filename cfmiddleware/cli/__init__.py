"""The command ``cfmiddleware``."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence

from .standardstreams import all_written, open_closed_streams

# Those that serve; nothing that waits is imported before it is known how it is to wait.
_SERVING = ("serve", "edge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2, with one line on stderr, for what the user can mend, and
    75 for a storage that cannot be reached.

    :param arguments: by default those of this process, which then serves in greenlets.
    """
    if arguments is not None:
        from .commands import run

        return run(arguments)
    arguments = sys.argv[1:]
    open_closed_streams()
    with _ended_at_once():
        if arguments[:1] and arguments[0] in _SERVING:
            from cfmiddleware.serving.patching import wait_in_greenlets

            with contextlib.suppress(ImportError):  # which the command says in its own words
                wait_in_greenlets()
        from .commands import run
    try:
        with all_written():
            return run(arguments)
    except KeyboardInterrupt:  # between the two
        return 130


@contextlib.contextmanager
def _ended_at_once() -> Iterator[None]:
    """Let a Ctrl-C end the process without a word, as it would print where in an import it came."""
    python = signal.getsignal(signal.SIGINT)
    if python is signal.default_int_handler:  # and not ignored, as in the background of a shell
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, python)
