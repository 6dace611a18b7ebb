"""What can be checked: a file, a port, and whatever a function can tell (Distribution, "health")."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import NamedTuple

from cfmiddleware.parse import host_and_port
from cfmiddleware.process.offload import offload


class CheckFailed(Exception):
    """A check that failed; the text says why."""


class Check(NamedTuple):
    """One thing that is looked at from time to time.

    :param name: what it is called where its failure is told.
    :param look: looks, and raises whatever says that it fails.
    :param interval: seconds between two looks.
    :param threshold: how many looks in a row must fail.
    :param timeout: after how many seconds without a result a look counts as failed.
    """

    name: str
    look: Callable[[], None]
    interval: float = 10
    threshold: int = 1
    timeout: float = 5


def absent_file(path: str) -> Callable[[], None]:
    """Return a look that fails while there is a file at *path*, as an operator makes one to take the registry
    out of service.
    """

    def look() -> None:
        try:
            offload(os.stat, path)  # a file system of another machine may not answer
        except FileNotFoundError:
            return
        except OSError as error:
            raise CheckFailed(error.strerror or "it cannot be looked at") from None
        raise CheckFailed("file exists")

    return look


def open_port(address: str, timeout: float) -> Callable[[], None]:
    """Return a look that fails where no TCP connection to *address* can be made."""
    found = host_and_port(address)
    host, port = found or ("", 0)

    def look() -> None:
        try:
            socket.create_connection((host or "localhost", port), timeout=timeout).close()
        except (OSError, UnicodeError) as error:
            raise CheckFailed(f"connection failed: {said(error)}") from None

    return look


def said(error: BaseException) -> str:
    """Return what an error of the network or of a file says, in a few words."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, OSError):
        error = reason
    if isinstance(error, TimeoutError):
        return "timed out"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
