"""Which process collects, so that others can see that it has ended.

A process is known to have ended only where its number means the same: in the same start of the same machine,
and in the same namespace of processes. Elsewhere only time tells.
"""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache
from pathlib import Path

_FORM = re.compile(r"process (?P<pid>[1-9][0-9]{0,6}) on \S+ \((?P<place>[^()]+)\)")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> str:
    """Return what names this process for people, and for :func:`has_ended`."""
    return f"process {os.getpid()} on {socket.gethostname() or 'a machine'} ({_place()})"


def has_ended(owner: str) -> bool:
    """Return whether the process with that name has certainly ended."""
    form = _FORM.fullmatch(owner)
    if form is None or form["place"] != _place() or form["place"] == _NOWHERE:
        return False
    try:
        os.kill(int(form["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it belongs to another user
        return False
    return False


_NOWHERE = "unknown place"


@lru_cache(maxsize=1)
def _place() -> str:
    """Return what tells one space of process numbers from all others (Linux)."""
    try:
        return f"{_BOOT.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return _NOWHERE
