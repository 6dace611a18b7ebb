"""A connection to the server of one URL, which stays open between two POSTs."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import select
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from cfmiddleware.process.offload import offload
from cfmiddleware.process.waiting import original

# Bytes of an answer that are read so that its connection can be used again, and seconds that these are
# waited for. With a longer answer, or a slower one, the connection is closed.
_ANSWER = 1 << 16
_REST = 0.2

# Seconds without a request after which a new connection is made: a router between may have forgotten an old
# one, and nobody would say so.
_IDLE = 30.0

#: How a connection ends that the other side has closed.
_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class KeptConnection:
    """POSTs to one URL, on one connection for as long as the server leaves it open. A redirect is an answer
    like any other.

    Made and used in one thread, except for :meth:`cut`.

    :param url: the URL, without a user, a password and a fragment.
    :param timeout: seconds that the connection may take to be made, and each of its steps.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0
        self._is_cut = False
        parts = urlsplit(url)
        proxy = _proxy(parts)
        # Reads and parses all authorities.
        context = offload(ssl.create_default_context) if parts.scheme == "https" else None
        self._target, self._more, self._connect = _way(url, parts, proxy, context, timeout)

    def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Return the status of the answer.

        The request is sent a second time, on a new connection, where the server has closed the one that was
        kept: as a rule it has not seen the request.

        :raises Exception: without an answer, whatever the libraries below raise.
        """
        self._is_cut = False
        if self._connection is not None and self._is_over(self._connection):
            self.close()
        was_kept = self._connection is not None
        try:
            return self._ask(body, headers)
        except _CLOSED:
            if not was_kept or self._is_cut:
                raise
        return self._ask(body, headers)

    def cut(self) -> None:
        """End the request under way, from another thread: whoever waits for it goes on."""
        self._is_cut = True
        sock = self._connection.sock if self._connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. The next request makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> int:
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        try:
            connection.request("POST", self._target, body, {**headers, **self._more})
            answer = connection.getresponse()
        except BaseException:
            self.close()
            raise
        if not self._has_ended(connection, answer):
            answer.close()
            self.close()
        self._used = time.monotonic()
        return answer.status

    def _has_ended(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> bool:
        """Return whether nothing of an answer is left, so that the connection can be used again."""
        if answer.will_close or (answer.length or 0) > _ANSWER:
            return False
        if answer.isclosed():  # it had no body
            return True
        try:
            connection.sock.settimeout(min(_REST, self._timeout))
            answer.read(_ANSWER)
            connection.sock.settimeout(self._timeout)
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            return False
        return answer.isclosed()

    def _is_over(self, connection: http.client.HTTPConnection) -> bool:
        """Return whether a connection is closed by the server, or too old to be trusted."""
        if connection.sock is None or time.monotonic() - self._used > _IDLE:
            return True
        poll = original("select", "poll")()
        poll.register(connection.sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))  # nothing was asked, so that there is nothing to read but its end


#: What a request is sent to, further headers, and what makes a connection.
_Way = tuple[str, Mapping[str, str], Callable[[], http.client.HTTPConnection]]


def _way(
    url: str, parts: SplitResult, proxy: SplitResult | None, context: ssl.SSLContext | None, timeout: float
) -> _Way:
    host, port = parts.hostname or "", parts.port
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))

    def connection(host: str, port: int | None, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
        if context is None:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)

    if proxy is None:
        return path, {}, lambda: connection(host, port, context)
    near, login = (proxy.hostname or "", proxy.port), _login(proxy)
    if context is None:
        own = offload(ssl.create_default_context) if proxy.scheme == "https" else None
        return url, login, lambda: connection(*near, own)

    def through() -> http.client.HTTPConnection:
        made = connection(*near, context)
        made.set_tunnel(host, port, login)
        return made

    return path, {}, through


def _proxy(parts: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for a URL; None for none."""
    if _is_local(parts.hostname or "") or urllib.request.proxy_bypass(parts.netloc):
        return None
    named = urllib.request.getproxies().get(parts.scheme)
    if not named:
        return None
    return urlsplit(named if "://" in named else f"{parts.scheme}://{named}")


def _login(parts: SplitResult) -> dict[str, str]:
    """Return the header that has a proxy's user and password."""
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"}


def _is_local(host: str) -> bool:
    """Return whether a host is this machine, which no proxy reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
