"""An endpoint, and one POST to it. No message has its URL or its headers: they may be secret."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from cfmiddleware.process.offload import offload
from cfmiddleware.version import __version__

from .envelope import MEDIA_TYPE

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
    """Sends envelopes to one endpoint, each on a connection of its own, as Distribution does.

    Made and used in one thread.

    :param endpoint: the endpoint.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self._timeout = endpoint.timeout
        self._url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        self._headers = _headers(endpoint, parts.username, parts.password)
        self._exchange: _Exchange | None = None
        self._opener = urllib.request.OpenerDirector()
        if not _is_local(parts.hostname or ""):
            self._opener.add_handler(urllib.request.ProxyHandler())
        self._opener.add_handler(_HTTPS(self) if parts.scheme == "https" else _HTTP(self))

    def post(self, body: bytes) -> Outcome:
        """Send an envelope, and return what became of it; never raises for what the endpoint does."""
        request = urllib.request.Request(self._url, body, self._headers, method="POST")  # noqa: S310
        exchange = self._exchange = _Exchange()
        timer = threading.Timer(self._timeout, exchange.expire)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.closing(self._opener.open(request, timeout=self._timeout)) as answer:
                return _judged(answer.status)
        except Exception as error:  # noqa: BLE001 (of any library below, for whatever the endpoint does)
            return Outcome(None, _reason(TimeoutError() if exchange.has_expired else error))
        finally:
            timer.cancel()

    def connection(self, kind: type[http.client.HTTPConnection], *arguments: Any, **keywords: Any) -> Any:
        """Return a connection, which the deadline of the request under way ends."""
        connection = kind(*arguments, **keywords)
        if self._exchange is not None:
            self._exchange.connection = connection
        return connection


class _Exchange:
    """One request that has a deadline."""

    def __init__(self) -> None:
        self.connection: http.client.HTTPConnection | None = None
        self.has_expired = False

    def expire(self) -> None:
        """End the connection: whoever waits for it goes on."""
        self.has_expired = True
        sock = self.connection.sock if self.connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _HTTP(urllib.request.HTTPHandler):
    """Opens connections that the sender knows."""

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self._connect = partial(sender.connection, http.client.HTTPConnection)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send the request."""
        return self.do_open(self._connect, req)


class _HTTPS(urllib.request.HTTPSHandler):
    """Opens connections with TLS that the sender knows."""

    def __init__(self, sender: Sender) -> None:
        self._own = offload(ssl.create_default_context)  # which reads and parses all authorities
        super().__init__(context=self._own)
        self._connect = partial(sender.connection, http.client.HTTPSConnection)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send the request."""
        return self.do_open(self._connect, req, context=self._own)


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


def _is_local(host: str) -> bool:
    """Return whether a host is this machine, which no proxy reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
