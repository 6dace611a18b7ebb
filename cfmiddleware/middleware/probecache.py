"""Remembering for a short while that the wrapped app said yes, for apps that are slow to answer.

A yes answers one request: everything that the server, and what stands outside of the wrapper, put into the
environ. It is remembered under a keyed hash of all of that, less :data:`LEFT_OUT`. A request that differs in
anything that an app could authorise by has another hash, and is put to the app. So is a request of which this
cannot be said for certain.

It must not be used with an app that decides by anything in :data:`LEFT_OUT`, or by what is not in the environ
and may change sooner than the option allows.
"""

from __future__ import annotations

import hashlib
import logging
import marshal
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cfmiddleware.process.cache import Cache
from cfmiddleware.process.throttle import Throttle
from cfmiddleware.wsgi.accessrecord import ACCESS

from .probe import PROBE

_log = logging.getLogger("cfmiddleware")

#: What cannot authorise, and is therefore left out of the hash: what a client prefers and calls itself, which
#: any client may choose, and what is new in each request to tell requests apart.
LEFT_OUT = frozenset(
    (
        "HTTP_ACCEPT",
        "HTTP_ACCEPT_CHARSET",
        "HTTP_ACCEPT_ENCODING",
        "HTTP_ACCEPT_LANGUAGE",
        "HTTP_B3",
        "HTTP_RANGE",
        "HTTP_TRACEPARENT",
        "HTTP_TRACESTATE",
        "HTTP_UBER_TRACE_ID",
        "HTTP_USER_AGENT",
        "HTTP_X_AMZN_TRACE_ID",
        *(f"HTTP_X_B3_{name}" for name in ("FLAGS", "PARENTSPANID", "SAMPLED", "SPANID", "TRACEID")),
        "HTTP_X_CLOUD_TRACE_CONTEXT",
        "HTTP_X_REQUEST_ID",
        "REMOTE_PORT",
    )
)

# What servers and this package put into the environ of every request: new objects each time, which say
# nothing of the client.
_TOOLS = frozenset(
    (
        "wsgi.early_hints",
        "wsgi.errors",
        "wsgi.file_wrapper",
        "wsgi.input",
        "waitress.client_disconnected",
        ACCESS,
        PROBE,
    )
)
_SOCKETS = frozenset(("gunicorn.socket", "werkzeug.socket"))

# With these the answer may be a 304 or a 412, which only the app can give, or depends on a body, which can be
# read only once.
_ALWAYS_ASKED = frozenset(
    (
        "HTTP_CONTENT_LENGTH",
        "HTTP_IF_MATCH",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_IF_NONE_MATCH",
        "HTTP_IF_UNMODIFIED_SINCE",
        "HTTP_TRANSFER_ENCODING",
    )
)

# All that is not simply hashed.
_APART = LEFT_OUT | _TOOLS | _ALWAYS_ASKED

# In later versions of HTTP a request may have a body without a field that says so.
_PROTOCOLS = ("HTTP/1.1", "HTTP/1.0")

# The attributes that Python itself keeps on a connection with TLS.
_USUAL = frozenset(
    (
        *("_context", "_session", "_sslobj", "_connected", "_closed", "server_side", "server_hostname"),
        *("do_handshake_on_connect", "suppress_ragged_eofs"),
    )
)

_PLAIN = frozenset((str, bytes, int, float, bool, type(None)))

# Values nested deeper than this in lists and the like are not compared.
_DEEPEST = 5

_SIZE = 10_000

# Goes on while the machine sleeps, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic() -> float:
    """Return seconds that never go backwards and never stand still."""
    return time.clock_gettime(_CLOCK)


class Approval(NamedTuple):
    """What an app's yes comes to.

    :param key: the object's whole key in the bucket. That the blob is not too small has been seen to, and the
        option has not changed since.
    :param user: the user that the app took the client for, for the access log.
    :param too_large: the object's size in bytes if that is above ``maximumsize``, else 0.
    :param kept: the headers of the app that each redirect has.
    :param pulled: what the app has called for each redirect of which it is not asked.
    """

    key: str
    user: str = ""
    too_large: int = 0
    kept: tuple[tuple[str, str], ...] = ()
    pulled: Callable[[Mapping[str, Any]], None] | None = None


class Lookup(NamedTuple):
    """A request that the app may have said yes to before.

    :param hash: stands for all that the app could decide by.
    :param asked: when the request came.
    :param approval: the app's earlier yes to it, if that still counts.
    """

    hash: bytes
    asked: float
    approval: Approval | None


class ProbeCache:
    """Remembers an app's yes, never a no.

    Safe to share between threads. A forked process begins with an empty memory, because the lock might be
    held by a thread that it does not have. No credential is kept: a request is known by a hash whose key
    never leaves this object.

    :param seconds: how long a yes counts, from when the app was asked.
    :param size: answers to remember; the least recently used is forgotten first.
    :param clock: seconds that never go backwards.
    """

    def __init__(self, seconds: float, *, size: int = _SIZE, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._secret = os.urandom(32)
        self._answers: Cache[bytes, tuple[float, Approval]] = Cache(size)
        self._throttle = Throttle()

    def look_up(self, environ: Mapping[str, Any]) -> Lookup | None:
        """Return what is known of a request, or None if it must be put to the app and not be remembered.

        :param environ: the request, as the app would get it; it is only read.
        """
        hashed = self._hash(environ)
        if hashed is None:
            return None
        now = self._clock()
        found = self._answers.get(hashed)
        if found is None:
            return Lookup(hashed, now, None)
        if now - found[0] >= self._seconds:
            self._answers.forget(hashed)
            return Lookup(hashed, now, None)
        return Lookup(hashed, now, found[1])

    def remember(self, lookup: Lookup, approval: Approval) -> None:
        """Keep the app's yes to a request that was put to it."""
        self._answers.put(lookup.hash, (lookup.asked, approval))

    def _hash(self, environ: Mapping[str, Any]) -> bytes | None:
        """Return a hash that two requests share only if they differ in nothing but what is left out.

        Format 2 of :mod:`marshal` gives every value its type and length, and depends on nothing else, such as
        whether a string is interned; so two lists are the same bytes only if they are the same.
        """
        if environ.get("SERVER_PROTOCOL") not in _PROTOCOLS or environ.get("CONTENT_LENGTH", "") not in (
            "",
            "0",
        ):
            return None
        facts: list[tuple[Any, ...]] = []
        for name, value in environ.items():
            if name in _APART:
                if name in _ALWAYS_ASKED:
                    return None
                continue
            if type(name) is str and (type(value) is str or _is_plain(value)):
                facts.append((name, value))
            elif name in _SOCKETS and type(value) in (ssl.SSLSocket, socket.socket):
                peer = _peer(value)
                if peer is None:
                    return None
                facts.append((name, "socket", peer))
            else:
                self._warn_of(name, value)
                return None
        facts.sort()  # by the names, which are all different
        return hashlib.blake2b(marshal.dumps(facts, 2), key=self._secret, digest_size=32).digest()

    def _warn_of(self, name: object, value: object) -> None:
        """Tell the operator why the option has no effect."""
        if self._throttle.allows():
            _log.warning(
                "probecache: the app is asked each time where the environ holds an object that cannot be "
                "compared, such as the %s at %r",
                type(value).__name__,
                name,
            )


def _is_plain(value: object, deepest: int = _DEEPEST) -> bool:
    """Return whether a value can be compared as a whole. A subclass may know more than it shows."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if deepest == 0:
        return False
    if kind is tuple or kind is list:
        return all(_is_plain(part, deepest - 1) for part in value)  # type: ignore[attr-defined]
    if kind is dict:
        return all(
            type(name) in _PLAIN and _is_plain(part, deepest - 1)
            for name, part in value.items()  # type: ignore[attr-defined]
        )
    return False


def _peer(connection: object) -> tuple[Any, ...] | None:
    """Return all that an app could learn of the client from a connection, but for its port, or None."""
    try:
        if type(connection) is ssl.SSLSocket:
            if not vars(connection).keys() <= _USUAL:
                return None  # something, such as a callback for the name asked for (SNI), has left a mark
            secured = (connection.getpeercert(binary_form=True), connection.version(), connection.cipher())
            return (*_ends(connection), *secured, connection.selected_alpn_protocol())
        if type(connection) is socket.socket:
            return _ends(connection)
    except (OSError, ValueError):  # it is closed, or its handshake is not done
        pass
    return None


def _ends(connection: socket.socket) -> tuple[Any, ...]:
    """Return the addresses of a connection's two ends, and of a local one the client's process.

    :raises OSError: where they cannot be found out.
    """
    ours, peer = connection.getsockname(), connection.getpeername()
    if isinstance(peer, tuple):
        return (ours, peer[0], peer[2:])
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        raise OSError("there are no peer credentials on this platform")
    return (ours, peer, connection.getsockopt(socket.SOL_SOCKET, option, 12))
