"""The standard streams of a command: closed ones are opened, and a full disk is told in one line."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

# EX_IOERR of sysexits.h.
_NOT_WRITTEN = 74

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def open_closed_streams() -> None:
    """Open those of 0, 1 and 2 that are closed (``>&-``). Otherwise the next file that is opened, such as one
    of the storage, gets the number, and Python has None in the place of the stream.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


@contextlib.contextmanager
def all_written() -> Iterator[None]:
    """See that what was printed is written. If it cannot be, the process ends: with status 1 where nobody
    reads it (``cfmiddleware sign ... | head``), else with a line and status 74.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _give_up()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        _give_up()
        with contextlib.suppress(OSError):
            print(f"cfmiddleware: cannot write what it has to say: {error.strerror}", file=sys.stderr)
        sys.exit(_NOT_WRITTEN)


def _give_up() -> None:
    """Let Python write what is left to nowhere when it ends, or it would say that it cannot."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
