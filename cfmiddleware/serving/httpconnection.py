"""One client's connection: requests come in, answers go out, and no wait lasts for ever."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import socket
import ssl
import time
from time import perf_counter
from typing import TYPE_CHECKING, Any

import gevent
import gevent.socket
from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.unreader import SocketUnreader

from cfmiddleware.metrics.httpcount import begin, end

from . import refusals
from .answer import Answer
from .pace import Pace
from .parsedhead import ParsedRequest, environ_of
from .patience import Wait
from .plainhead import read_plain
from .unread import unread

if TYPE_CHECKING:
    from collections.abc import Callable

    from .worker import Worker

_log = logging.getLogger("cfmiddleware")

_RECEIVED = 1 << 16

# What gevent's event loop calls "can be read".
_READ = 1

_SENT = 1 << 18

# So many requests of one connection at most are answered before others are looked at.
_IN_A_ROW = 8

# What is longer may keep others waiting.
_LITTLE = 1 << 14

# Besides its longest field, a head may have so many bytes in all others.
_OTHER_FIELDS = 1 << 16

# A client may send for so many seconds, and so many bytes, until its connection is cut. Many clients read the
# answer only after they have sent their body. So a refused chunk of three times the 5 MiB of
# ``OCI-Chunk-Min-Length`` is read: without it, the client would not see the 416 that says where the upload
# stands.
_LINGER = 2.0
_MAX_LINGERED = 16 << 20

# Who reads fewer bytes a second than these, while the server can send nothing, reads nothing.
_LEAST_READ = 256

_END = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# What a client that has gone leaves behind, or the network on the way to it.
_GONE = frozenset(
    (
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ENOTCONN,
        errno.EBADF,
        errno.ETIMEDOUT,
        errno.ESHUTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
    )
)


class ClientGone(OSError):
    """The connection with the client has broken. A class of its own, because the app may fail with any other
    OSError: a storage's connection breaks, too.
    """


class ClientTooSlow(ClientGone, TimeoutError):
    """A client sent or read nothing for too long. To apps it is the TimeoutError of a socket."""


class HTTPConnection:
    """A connection of one client, served by one greenlet.

    :param worker: whose connection it is.
    :param sock: the connection; TLS has not begun.
    :param address: the client's address.
    :param base: what each environ has; it is not changed.
    """

    __slots__ = (
        "_address",
        "_base",
        "_buffer",
        "_client_sends",
        "_continue",
        "_limits",
        "_pace",
        "_readable",
        "_sock",
        "_unread",
        "_worker",
        "expired",
        "expires",
        "requests",
        "since",
        "wait",
    )

    def __init__(self, worker: Worker, sock: Any, address: Any, base: dict[str, Any]) -> None:
        self._worker = worker
        self._limits = worker.options
        self._sock = sock
        self._address = address
        self._base = base
        self._buffer = b""
        self._continue = False
        self._pace: Pace | None = None
        self._readable: Any = None  # what waits for the next request, once there was one
        self._client_sends = True  # until its end has been seen
        # Of which wait for the client to read, and how many bytes of the answer were on their way then.
        self._unread = (0.0, 0)
        self.wait: Wait | None = Wait.IDLE
        self.since = time.monotonic()
        self.expires = self.since + self._limits.idletimeout
        self.expired = False
        self.requests = 0

    def serve(self) -> None:
        """Answer requests until one side ends the connection."""
        try:
            if not self._is_secured():
                return
            while self._answer_next():
                self.requests += 1
                # A client whose next request is always there never has its greenlet wait, and others would.
                if self._buffer or self.requests % _IN_A_ROW == 0:
                    gevent.sleep(0)
        except ssl.SSLError as error:
            _log.debug("TLS with %s failed: %s", self._address, error)
            self._client_sends = False
        except ClientGone:
            self._client_sends = False
        except OSError as error:
            if error.errno not in _GONE:
                _log.warning("a connection with %s broke: %s", self._address, error)
            self._client_sends = False
        finally:
            self._end()

    # What the patience of the worker needs

    def expire(self) -> None:
        """End the wait of another greenlet, which then finds ``expired`` set."""
        self.expired = True
        # The class, because TLS has a shutdown of its own that forgets the session. It wakes the greenlet.
        how = socket.SHUT_RD if self.wait in (Wait.HEAD, Wait.BODY, Wait.PLACE) else socket.SHUT_RDWR
        with contextlib.suppress(OSError):
            gevent.socket.socket.shutdown(self._sock, how)

    def is_in_the_way(self, now: float) -> bool:
        """Return whether it is slow in sending a body, and keeps others from sending theirs."""
        if self._pace is None or self.wait is not Wait.BODY:
            return False
        return self._pace.is_too_slow(now - self.since)

    def goes_on(self, now: float) -> bool:
        """Return whether a client whose time is over goes on, and gets more of it.

        One that reads slowly may make room for the next piece only after minutes. What tells it from one that
        reads nothing is how much of the answer is still on its way.
        """
        if self.wait is not Wait.ANSWER:
            return False
        seconds = self._limits.answertimeout / 2
        since, before = self._unread
        left = unread(self._sock)
        self._unread = self.since, left
        # The first half of the time has no beginning to compare with.
        if since == self.since and before - left < _LEAST_READ * seconds:
            return False
        self.expires = now + seconds
        return True

    def hurry(self, is_wanted: Callable[[], bool] | None) -> None:
        """Have the client send its body at a least rate for as long as *is_wanted* says that others wait for
        what it holds, or, with None, let it take its time again.

        Apps find this in the environ as ``cfmiddleware.hurry``.
        """
        rate = self._limits.bodyrate
        self._pace = Pace(rate, is_wanted) if is_wanted is not None and rate else None

    def _begin(self, wait: Wait, seconds: float) -> None:
        self.wait = wait
        self.since = time.monotonic()
        self.expires = self.since + seconds

    def _hurry_to_stop(self) -> None:
        """Wait no longer for a client that has no request under way than a worker that is to stop does."""
        if self._worker.stopping:
            self.expires = min(self.expires, self._worker.stopping)

    def _done(self) -> None:
        self.wait = None
        self.expires = math.inf

    # Requests

    def _is_secured(self) -> bool:
        """Begin TLS, if it is spoken here, and return whether requests may come."""
        try:
            self._secure()
        except _Refused as refused:
            self._done()
            self._refuse(refused.refusal)
            return False
        return True

    def _secure(self) -> None:
        """Begin TLS, if it is spoken here.

        :raises _Refused: if the client sends a request without TLS.
        """
        certificates = self._worker.certificates
        if certificates is None:
            return
        self._begin(Wait.HANDSHAKE, self._limits.handshaketimeout)
        self._hurry_to_stop()
        # Nothing is made for a connection that sends nothing.
        gevent.socket.wait_read(self._sock.fileno())
        if self.expired:
            raise ClientTooSlow
        self._sock = certificates.context().wrap_socket(
            self._sock, server_side=True, do_handshake_on_connect=False
        )
        try:
            self._sock.do_handshake()
        except ssl.SSLError as error:
            if error.reason != "HTTP_REQUEST":
                raise
            # OpenSSL has taken the first bytes and sent nothing.
            self._sock = _below_tls(self._sock)
            raise _Refused(refusals.TLS_IS_SPOKEN) from None
        self._begin(Wait.IDLE, self._limits.idletimeout)

    def _answer_next(self) -> bool:
        """Answer the next request, and return whether another one may come."""
        try:
            head = self._read_head()
            if not head:
                return False
            plain = read_plain(head, self._base)
            if plain is None:
                return self._answer_parsed(head)
            request, environ = plain
            return self._run_app(environ, Answer(request, self, self._worker.cfg))
        except _Refused as refused:
            self._done()
            self._refuse(refused.refusal)
            return False

    def _answer_parsed(self, head: bytes) -> bool:
        """Answer a request that gunicorn's parser reads."""
        unreader = SocketUnreader(self, _RECEIVED)
        unreader.unread(head + self._buffer)
        self._buffer = b""
        try:
            request = ParsedRequest(self._worker.cfg, unreader, self._address, self.requests + 1)
            answer, created = wsgi.create(
                request, self, self._address, self._base["cfmiddleware.server"], self._worker.cfg, Answer
            )
        except (NoMoreData, StopIteration):  # the client went away within a head
            return False
        except ParseException as error:
            raise _Refused(refusals.refusal_of(error, self._limits.headersize, head)) from None
        environ = environ_of(created, self._base)
        environ["cfmiddleware.hurry"] = self.hurry
        if not self._run_app(environ, answer) or request.body.failed:
            return False
        while request.body.read(_RECEIVED):  # what is left is here already: see body_is_unread
            pass
        self._buffer = unreader.take_buffered()
        return True

    def _read_head(self) -> bytes:
        """Return the next head with the empty line at its end, or what came of it that gunicorn is to refuse.

        It is empty at the end of the connection.
        """
        data = self._buffer
        self._buffer = b""
        if not data:
            self._begin(Wait.IDLE, self._limits.idletimeout)
            self._hurry_to_stop()
            if self.requests:
                self._wait_for_next()
            data = self._sock.recv(_RECEIVED)
            if not data:
                self._client_sends = False
                return b""
        if data[:2] == b"\r\n":  # one empty line may come first (RFC 9112, 2.2)
            data = data[2:]
        end = data.find(_END)
        if end < 0 or (end > self._limits.requestline and self._is_too_large(data, end)):
            data, end = self._read_rest_of_head(data)
            if end < 0:
                return data
        self._done()
        end += len(_END)
        self._buffer = data[end:]
        return data[:end]

    def _wait_for_next(self) -> None:
        """Wait for what the client sends next.

        It has had its answer just now. To read before it can have sent anything costs a call of the system,
        and an exception.
        """
        if self._worker.certificates is not None:  # of which OpenSSL may hold a part already
            return
        if self._readable is None:
            self._readable = gevent.get_hub().loop.io(self._sock.fileno(), _READ)
        gevent.socket.wait(self._readable)

    def _read_rest_of_head(self, data: bytes) -> tuple[bytes, int]:
        """Return the head and where its end is, or a negative number if gunicorn is to refuse it."""
        self._begin(Wait.HEAD, self._limits.headtimeout)
        end = data.find(_END)
        while end < 0:
            # A line that ends without CR never ends here (RFC 9112, 2.2).
            if self._is_too_large(data, -1) or data.count(b"\n") != data.count(b"\r\n"):
                break
            searched = max(0, len(data) - 3)
            more = self._receive()
            if not more:
                self._client_sends = False
                break
            data += more
            if data[:2] == b"\r\n" and searched < 2:
                data, searched = data[2:], 0
            end = data.find(_END, searched)
        self._done()
        if self._is_too_large(data, end):
            line = data.find(b"\r\n")
            if not 0 <= line <= self._limits.requestline:
                raise _Refused(refusals.request_line_too_long(self._limits.requestline))
            raise _Refused(refusals.header_too_large(self._limits.headersize))
        return data, end

    def _is_too_large(self, data: bytes, end: int) -> bool:
        limits = self._limits
        size = len(data) if end < 0 else end
        return size > limits.requestline and (
            size > limits.requestline + limits.headersize + _OTHER_FIELDS
            or not 0 <= data.find(b"\r\n") <= limits.requestline
        )

    def _receive(self) -> bytes:
        """Return what the client sent, or nothing at its end.

        :raises _Refused: if a head did not come to its end in time.
        """
        try:
            data: bytes = self._sock.recv(_RECEIVED)
        except OSError:
            if not self.expired:
                raise
            data = b""
        if not data and self.expired:
            raise _Refused(refusals.HEAD_TOO_SLOW)
        return data

    def _run_app(self, environ: dict[str, Any], answer: Answer) -> bool:
        """Have the app answer, and return whether the connection stays."""
        if not self._worker.counts:
            return self._answer_by_app(environ, answer)
        began = perf_counter()
        handler = begin(environ)
        try:
            return self._answer_by_app(environ, answer)
        finally:
            code = answer.status[:3] if answer.status else "500"
            end(handler, environ["REQUEST_METHOD"], code, perf_counter() - began, answer.sent)

    def _answer_by_app(self, environ: dict[str, Any], answer: Answer) -> bool:
        result: Any = None
        try:
            try:
                result = self._worker.wsgi(environ, answer.start_response)
                for piece in result:
                    if piece != b"":  # nothing is to be sent for it, and the head leaves at the end
                        answer.write(piece)
                answer.close()
            finally:
                if hasattr(result, "close"):
                    result.close()
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001 (whatever it is, the client gets an answer and the log the trace)
            return self._app_failed(environ, answer)
        return not (answer.should_close() or answer.is_short())

    def _app_failed(self, environ: dict[str, Any], answer: Answer) -> bool:
        _log.exception("%s %r failed", environ["REQUEST_METHOD"], environ.get("PATH_INFO"))
        if not answer.headers_sent:
            self._refuse(refusals.APP_FAILED, has_body=environ["REQUEST_METHOD"] != "HEAD")
        return False

    def _refuse(self, refusal: refusals.Refusal, has_body: bool = True) -> None:
        """Answer with an error of the server's own; the connection then ends."""
        self._worker.refused(refusal)
        self.expired = False
        self.sendall(refusal.response(has_body))

    # What gunicorn's parser and response use as their socket

    def recv(self, size: int) -> bytes:
        """Return up to *size* bytes of a body, or nothing at its end.

        :raises ClientTooSlow: if nothing came in time.
        :raises ClientGone: if the connection has broken.
        """
        if self._continue:
            self._continue = False
            self.sendall(_CONTINUE)
        self._begin(Wait.BODY, self._limits.bodytimeout)
        try:
            data: bytes = self._sock.recv(size)
        except OSError as error:
            if not self.expired:
                raise ClientGone(*error.args) from error
            data = b""
        if self._pace is not None:
            self._pace.received(len(data), time.monotonic() - self.since)
        self._done()
        if not data:
            self._client_sends = False
            if self.expired:
                raise ClientTooSlow
        if len(data) > _LITTLE:
            self._let_others_go_on()
        return data

    def send(self, data: bytes) -> int:
        """Keep ``100 Continue``, all that gunicorn sends in this way, until the body is asked for."""
        self._continue = True
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send all of *data*, of which the client has to take some from time to time.

        :raises ClientTooSlow: if it did not.
        :raises ClientGone: if the connection has broken.
        """
        self._continue = False  # what follows is no part of the body any more, or the answer has begun
        view = data if len(data) <= _LITTLE else memoryview(data)
        while True:
            self._begin(Wait.ANSWER, self._limits.answertimeout / 2)  # see goes_on
            try:
                sent = self._sock.send(view[:_SENT])  # of what is short, all of it, and no copy
            except OSError as error:
                if self.expired:
                    raise ClientTooSlow from None
                raise ClientGone(*error.args) from error
            view = view[sent:]
            if sent > _LITTLE:
                self._let_others_go_on()
            if not view:
                break
        self._done()

    def _let_others_go_on(self) -> None:
        """Let whatever is ready go on, and all but one of those that move much.

        A client that is as fast as the server never has it wait, and thousands that come at once would all
        have their first piece before anybody else is looked at.
        """
        self._done()
        with self._worker.bulk:
            gevent.sleep(0)

    def is_stopping(self) -> bool:
        """Return whether an answer should say that the connection ends."""
        return bool(self._worker.stopping)

    def body_is_unread(self, request: Any) -> bool:
        """Return whether a part of the request's body is still to come."""
        body = request.body
        if body is None:
            return False
        reader = body.reader
        left = getattr(reader, "length", None)
        if left is None:  # chunked: the parser is dropped at the end of the body
            return getattr(reader, "parser", None) is not None
        return bool(left > len(reader.unreader.buf.getbuffer()))

    # The end

    def _end(self) -> None:
        """End the connection so that the client reads the answer.

        A connection that is closed with bytes unread is reset, and a client that is still sending may then
        lose the answer (RFC 9112, section 9.6).
        """
        self._done()
        sock = self._sock
        if self._readable is not None:
            self._readable.close()
        try:
            if isinstance(sock, ssl.SSLSocket):
                sock = self._without_tls(sock)
            if self._client_sends and not self.expired:
                sock.shutdown(socket.SHUT_WR)
                self._linger(sock)
        except OSError:
            pass
        finally:
            sock.close()

    def _without_tls(self, sock: Any) -> Any:
        """End TLS and return the connection below it.

        Without a close_notify a client cannot tell the end of an answer from a cut connection (RFC 8446,
        section 6.1).
        """
        sock.settimeout(0)
        with contextlib.suppress(OSError, ValueError):  # it would wait for the client's as well
            sock.unwrap()
        return _below_tls(sock)

    def _linger(self, sock: Any) -> None:
        """Read what the client still sends, for a while."""
        end = time.monotonic() + _LINGER
        left = _MAX_LINGERED
        while left > 0:
            seconds = end - time.monotonic()
            if seconds <= 0:
                break
            sock.settimeout(seconds)
            data = sock.recv(min(_RECEIVED, left))
            if not data:
                break
            left -= len(data)


def _below_tls(sock: Any) -> Any:
    """Return the connection on which *sock* speaks TLS; *sock* is not used any more."""
    return gevent.socket.socket(sock.family, sock.type, fileno=sock.detach())


class _Refused(Exception):
    """The server answers with an error of its own.

    :param refusal: the answer.
    """

    def __init__(self, refusal: refusals.Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
