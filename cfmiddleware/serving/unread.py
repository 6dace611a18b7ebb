"""How much of what was sent a client's machine has not taken yet."""

from __future__ import annotations

import fcntl
import sys
import termios
from typing import Any

_SIZE = 4


def unread(sock: Any) -> int:
    """Return how many bytes in the system's buffer the other side has not acknowledged (tcp(7), SIOCOUTQ).

    :return: 0 where the system does not tell.
    """
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_SIZE)), sys.byteorder)
    except OSError:
        return 0
