"""What is said once by a server, however many processes it has."""

from __future__ import annotations

import errno
import os
import socket


def once_in_tree(name: str) -> bool:
    """Return whether no process of this group has asked for *name* yet, as far as can be told.

    The workers of a server are in the process group of the one that started them; a service, a container and
    a job of a shell have a group each. The one that asks first binds a Unix socket in Linux' abstract
    namespace, which leaves no file. It is held until the process and those that it has forked have ended.
    Elsewhere every process is the first.

    :param name: what is said.
    """
    try:
        tree = f"{os.stat('/proc/self/ns/pid').st_ino}-{os.getuid()}-{os.getpgrp()}"
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    except OSError:
        return True
    try:
        claim.bind(f"\0cfmiddleware-{name}-{tree}")
    except OSError as error:
        claim.close()
        return error.errno != errno.EADDRINUSE
    claim.detach()
    return True
