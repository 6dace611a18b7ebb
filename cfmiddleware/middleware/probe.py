"""Asking a WSGI app whether it would serve a request, and keeping its answer whole if it is to be sent.

PEP 3333 lets an app replace its status until the first byte of its body: its answer is final with the first
``write()``, the first chunk that is not empty or the end of the iterable, and no earlier. What is final is
judged once; then the app is stopped, or its response goes to the client as the app made it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import App, ExcInfo, Headers, StartResponse, Write

    Judge = Callable[[str, Headers], bool]

_log = logging.getLogger("cfmiddleware")

#: Where an app finds its :class:`Probe` in the environ. No client can set it: names of header fields begin
#: with ``HTTP_``.
PROBE = "cfmiddleware.probe"


class Probe:
    """What an app that knows of the probe may say while it answers a blob's GET.

    An app finds it as ``environ.get("cfmiddleware.probe")`` and need not import this class.
    """

    __slots__ = ("_ready", "declined", "final", "key", "needs_size", "path", "pulled", "size")

    def __init__(self, needs_size: bool = True, ready: Callable[[], bool] | None = None) -> None:
        #: Whether the blob's size decides on the redirect (``minimumsize``).
        self.needs_size = needs_size
        self._ready = ready
        self.key: str | None = None
        self.path: str | None = None
        self.size: int | None = None
        self.final = False
        self.declined = False
        #: What an app that counts its pulls has called, with the environ of a redirect of which it was not
        #: asked by a GET: after its yes to a HEAD, and where ``probecache`` remembers its yes.
        self.pulled: Callable[[Mapping[str, Any]], None] | None = None

    def located(self, key: str, size: int | None = None) -> None:
        """Name the object that the blob is, and say that the status is final (see :meth:`settled`).

        :param key: the object's whole key in the bucket.
        :param size: its size in bytes, where it is known.
        """
        self.key = key
        self.size = size
        self.final = True

    def placed(self, path: str, size: int | None = None) -> None:
        """Name the object as :meth:`located` does, by its path below the wrapper's root directory.

        For an app that does not know the bucket behind CloudFront, such as one on a file system.
        """
        self.key, self.path = None, path
        self.size = size
        self.final = True

    def redirects(self) -> bool:
        """Return whether the client is redirected to the object that was named, if the answer is a yes.

        The redirect is signed by then. So an app whose answer is a yes need not find out what only a
        response that is sent must have, such as the blob's size.
        """
        return not self.declined and self._ready is not None and self._ready()

    def settled(self) -> None:
        """Say that the status given to ``start_response`` will not change.

        The body then need not be begun before the request is redirected.
        """
        self.final = True

    def decline(self) -> None:
        """Ask for no redirect: the app's own response is the one to send."""
        self.declined = True

    def release(self) -> None:
        """Let go of the wrapper, which holds the probe: neither then waits for the garbage collector."""
        self._ready = None


class _Stop(BaseException):
    """Unwinds an app out of ``write()``, past its own handlers of errors."""


def respond_or_redirect(
    app: App,
    environ: dict[str, Any],
    start_response: StartResponse,
    probe: Probe,
    may_redirect: Judge,
    redirect: Callable[[], bool],
) -> Iterable[bytes] | None:
    """Run *app* once and send its response, or return None where *redirect* took the request over.

    :param app: the app, which runs exactly once.
    :param environ: the request, handed to the app as it is but for the probe, which is put into it.
    :param start_response: the server's; called with the app's status and headers, or not at all.
    :param probe: a new probe, for the app to speak to.
    :param may_redirect: whether a status and headers could be redirected, judged cheaply; asked once for
        each status that the app gives at the most, and of the final one last.
    :param redirect: asked once, for the final status and only after *may_redirect* said yes to it, before
        the app's response is closed; whether the caller has all it needs to answer in the app's stead.
    :returns: what to return to the server, or None after the app's response has been closed unread.
    """
    environ[PROBE] = probe
    exchange = _Exchange(start_response, may_redirect, redirect)
    try:
        response = app(environ, exchange.start_response)
        return exchange.finish(response, probe)
    except _Stop:
        return None
    except Exception as error:
        if exchange.redirected:
            _log_overtaken(error)
            return None
        raise
    finally:
        probe.release()


class _Exchange:
    """One request's conversation between the app and the server."""

    __slots__ = (
        "_exc_info",
        "_handed_on",
        "_headers",
        "_may_redirect",
        "_possible",
        "_redirect",
        "_server_start",
        "_server_write",
        "_status",
        "redirected",
    )

    def __init__(
        self, start_response: StartResponse, may_redirect: Judge, redirect: Callable[[], bool]
    ) -> None:
        self._server_start = start_response
        self._may_redirect = may_redirect
        self._redirect = redirect
        self._status: str | None = None
        self._headers: Headers = []
        self._exc_info: ExcInfo | None = None
        self._possible: bool | None = None
        self._server_write: Write | None = None
        self._handed_on = False
        self.redirected = False

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Be the ``start_response`` that the app sees."""
        if self._handed_on:
            self._server_write = self._server_start(status, headers, exc_info)
            return self._write
        if self.redirected:
            raise _Stop
        if self._status is not None and not exc_info:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        self._status, self._headers, self._exc_info = status, headers, exc_info
        self._possible = None
        return self._write

    def finish(self, response: Iterable[bytes], probe: Probe) -> Iterable[bytes] | None:
        """Decide on what the app returned, unless ``write()`` decided before."""
        handed_on = response
        try:
            if not self._handed_on and not self.redirected:
                if self._status is not None and not self._could_redirect(self._status):
                    # A no is handed on at once. An app that replaces it later does so at the server itself.
                    self._hand_on()
                elif self._status is not None and (probe.final or type(response) in (list, tuple)):
                    # Nothing runs any more that could replace the status: the body need not be begun.
                    self._judge()
                else:
                    handed_on = self._wait(response)
        except BaseException as error:
            close(response)
            if not self.redirected or not isinstance(error, _Stop | Exception):
                raise
            if not isinstance(error, _Stop):
                _log_overtaken(error)
            return None
        if self.redirected:
            close(response)
            return None
        return handed_on

    def _wait(self, response: Iterable[bytes]) -> Iterable[bytes]:
        """Take the body up to its first chunk that is not empty, then judge."""
        first = b""  # some servers send nothing, not even the status, where there is no chunk at all
        chunks = iter(response)
        for first in chunks:
            if first:
                break
        if not self._handed_on and not self.redirected:
            self._judge()
        return _Resumed(first, chunks, response)

    def _write(self, data: bytes) -> None:
        """Be the ``write`` that the app sees."""
        if not self._handed_on and not self.redirected:
            self._judge()
        if self.redirected:
            raise _Stop
        if self._server_write is not None:
            self._server_write(data)

    def _judge(self) -> None:
        """Take the status as final: redirect, or hand the response on."""
        if self._status is None:
            raise AssertionError("the wrapped app sent a body before it called start_response (PEP 3333)")
        if self._could_redirect(self._status) and self._redirect():
            self.redirected = True
        else:
            self._hand_on()

    def _could_redirect(self, status: str) -> bool:
        if self._possible is None:
            self._possible = self._may_redirect(status, self._headers)
        return self._possible

    def _hand_on(self) -> None:
        """Give the server the app's status and headers."""
        self._handed_on = True
        if self._exc_info:
            self._server_write = self._server_start(self._status, self._headers, self._exc_info)
            self._exc_info = None  # a traceback holds frames, and with them whatever they hold
        else:
            self._server_write = self._server_start(self._status, self._headers)


class _Resumed:
    """A response whose first chunk has been taken: that chunk, and then the others as the app yields them."""

    __slots__ = ("_chunks", "_first", "_response")

    def __init__(self, first: bytes, chunks: Iterator[bytes], response: Iterable[bytes]) -> None:
        self._first: bytes | None = first
        self._chunks = chunks
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        first, self._first = self._first, None
        return next(self._chunks) if first is None else first

    def close(self) -> None:
        close = getattr(self._response, "close", None)
        if close is not None:
            close()


def close(response: Iterable[bytes]) -> None:
    """Close a response of the app's unread; an error that this raises is only logged."""
    end = getattr(response, "close", None)
    if end is not None:
        try:
            end()
        except _Stop:
            pass  # it tried to write more, to a request that has been answered
        except Exception:  # noqa: BLE001 (an app's close() may raise anything; the client has its answer)
            _log.warning("the wrapped app's response could not be closed", exc_info=True)


def _log_overtaken(error: Exception) -> None:
    """Log the error of an app that was stopped. Its request has been answered, so nothing has failed."""
    _log.warning("the wrapped app failed after its write() was ended by a redirect: %s", error)
