"""What systemd and this program tell each other: sockets that listen already, and how the start went.

Both are variables of the environment (``sd_listen_fds(3)``, ``sd_notify(3)``). No other process of the
program may take them for its own.
"""

from __future__ import annotations

import os
import socket

from cfmiddleware.errors import ConfigError
from cfmiddleware.process.waiting import original

# The first descriptor that is handed over.
_FIRST = 3

_LISTENERS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_NOTIFY = "NOTIFY_SOCKET"


def listener(name: str) -> socket.socket | None:
    """Return the socket that was handed over for a service, or None where there is none.

    :param name: ``registry``, ``edge`` or ``debug``: what the unit calls it with ``FileDescriptorName=``. One
        socket alone is the registry's, whatever it is called.
    :raises ConfigError: for what is no socket that listens.
    """
    names = _names()
    if len(names) == 1 and names[0] not in ("edge", "debug"):
        names = ["registry"]
    if name not in names:
        return None
    descriptor = _FIRST + names.index(name)
    try:
        found = socket.socket(fileno=descriptor)
        listens = found.type == socket.SOCK_STREAM and found.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        )
    except OSError as error:
        raise ConfigError(f"LISTEN_FDS: descriptor {descriptor} is no socket: {error.strerror}") from None
    if not listens:
        found.detach()
        raise ConfigError(f"LISTEN_FDS: descriptor {descriptor} is no stream socket that listens")
    found.set_inheritable(False)
    return found


def check_names() -> None:
    """See that each socket that was handed over is one that the program has a use for.

    :raises ConfigError: for another one, or one that is there twice.
    """
    names = _names()
    known = ("registry", "edge", "debug")
    for name in names if len(names) > 1 else ():
        if name not in known or names.count(name) > 1:
            raise ConfigError(
                f"LISTEN_FDNAMES: {name!r} is none of {', '.join(known)}, or is there twice; see "
                "FileDescriptorName= of the socket's unit"
            )


def _names() -> list[str]:
    """Return the names of the sockets that were handed over to this process, in their order."""
    try:
        if int(os.environ.get("LISTEN_PID", "")) != os.getpid():
            return []
        number = int(os.environ.get("LISTEN_FDS", ""))
    except ValueError:
        return []
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    return [names[index] if index < len(names) and names[index] else "unknown" for index in range(number)]


class Notifier:
    """Tells systemd how it stands, if systemd wants to know. Made before the program forks: its children have
    nothing to tell.
    """

    def __init__(self) -> None:
        self._path = os.environ.pop(_NOTIFY, "")
        for variable in _LISTENERS:
            os.environ.pop(variable, None)

    def tell(self, state: str) -> None:
        """Tell it, such as ``READY=1`` or ``STOPPING=1``. That nobody listens is no error."""
        if not self._path:
            return
        path = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            # In a handler of a signal nothing may wait for greenlets.
            plain = original("socket", "socket")
            with plain(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as teller:
                teller.settimeout(1)
                teller.sendto(state.encode(), path)
        except OSError:
            pass
