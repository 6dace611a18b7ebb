"""An endpoint, and one POST to it. No message has its URL or its headers: they may be secret."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from cfmiddleware.version import __version__

from .envelope import MEDIA_TYPE
from .keptconnection import KeptConnection

#: Statuses below 500 that say nothing of the event itself: the endpoint, or what is in front of it, is not
#: in order, or asks to wait.
_NOT_OF_THE_EVENT = (401, 403, 404, 407, 408, 421, 425, 429)


@dataclass(frozen=True)
class Endpoint:
    """Where events are sent to.

    :param name: what it is called in logs, metrics and the spool.
    :param url: the URL, which may have a user and a password.
    :param headers: further headers of each request.
    :param timeout: seconds that a request may take.
    :param threshold: after how many failures in a row it is left alone for a while.
    :param backoff: for how many seconds at first.
    :param retryfor: for how many seconds an event is tried.
    :param mediatypes: media types of whose blobs and manifests it gets no events.
    :param actions: actions of which it gets no events.
    """

    name: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: float = 1.0
    threshold: int = 10
    backoff: float = 1.0
    retryfor: float = 86_400.0
    mediatypes: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()

    def wants(self, action: str, media_type: str) -> bool:
        """Return whether it gets an event."""
        return action not in self.actions and media_type not in self.mediatypes


class Outcome(NamedTuple):
    """What became of a POST.

    :param status: the status of the answer, or None without one.
    :param reason: why the endpoint has not taken the event; empty if it has.
    :param refused: whether it has refused this event, rather than failed.
    """

    status: int | None
    reason: str = ""
    refused: bool = False


class Sender:
    """Sends envelopes to one endpoint, on the same connection for as long as the endpoint keeps it open.

    Made and used in one thread.

    :param endpoint: the endpoint.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self._timeout = endpoint.timeout
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        self._headers = _headers(endpoint, parts.username, parts.password)
        self._connection = KeptConnection(url, endpoint.timeout)

    def post(self, body: bytes) -> Outcome:
        """Send an envelope, and return what became of it; never raises for what the endpoint does."""
        deadline = _Deadline(self._connection)
        timer = threading.Timer(self._timeout, deadline.expire)
        timer.daemon = True
        timer.start()
        try:
            return _judged(self._connection.post(body, self._headers))
        except Exception as error:  # noqa: BLE001 (of any library below, for whatever the endpoint does)
            return Outcome(None, _reason(TimeoutError() if deadline.has_expired else error))
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close the connection. The next envelope makes a new one."""
        self._connection.close()


class _Deadline:
    """When one request ends at the latest."""

    def __init__(self, connection: KeptConnection) -> None:
        self._connection = connection
        self.has_expired = False

    def expire(self) -> None:
        """End the request."""
        self.has_expired = True
        self._connection.cut()


def _headers(endpoint: Endpoint, user: str | None, password: str | None) -> dict[str, str]:
    """Return the headers of each request. Several values of one name are a list, as HTTP has it."""
    found: dict[str, str] = {"User-Agent": f"cfmiddleware/{__version__}"}
    if user is not None:
        login = f"{unquote(user)}:{unquote(password or '')}".encode()
        found["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    given: dict[str, list[str]] = {}
    for name, value in endpoint.headers:
        given.setdefault(name.title(), []).append(value)
    found.update({name: ", ".join(values) for name, values in given.items()})
    found["Content-Type"] = MEDIA_TYPE
    return found


def _judged(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status)
    if 300 <= status < 400:
        return Outcome(status, f"it answered {status}, and redirects are not followed")
    refused = 400 <= status < 500 and status not in _NOT_OF_THE_EVENT
    return Outcome(status, f"it answered {status}", refused)


def _reason(error: Exception) -> str:
    """Return why there was no answer. Texts of errors may repeat a URL, so only some are shown."""
    inner = getattr(error, "reason", None)
    if isinstance(inner, Exception):
        error = inner
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "its host's name is not known"
    if isinstance(error, OSError) and error.strerror:
        return f"no answer: {error.strerror}"
    return f"no answer: {type(error).__name__}"
