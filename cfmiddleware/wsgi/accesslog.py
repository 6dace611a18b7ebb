"""A line in the log for each request, whatever server runs the app.

    app = AccessLog(app)

The line is logged by ``cfmiddleware.access`` at level INFO when the server closes the response, as text or,
by :class:`cfmiddleware.logs.Json`, as an object. It has no query, no header and no credential.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from cfmiddleware.logs import Event, log_event, redacted, word

from .accessrecord import ACCESS, AccessRecord
from .client import client_text, parse_address
from .repeatedheaders import Repeating, start_repeated

if TYPE_CHECKING:
    from cfmiddleware.wsgi.repeatedheaders import Repeated
    from cfmiddleware.wsgi.types import App, ExcInfo, Headers, StartResponse, Write

_log = logging.getLogger("cfmiddleware.access")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: What is not escaped in a path: nothing that would end a word of the line.
_LITERAL = "/:@=,+~*!$()"
_LONGEST = 2000

# A path that is longer is not remembered. No address is as long.
_SHORT = 400

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class AccessLog:
    """Wrap a WSGI app so that each request is a line of the log.

    The environ gets an :class:`~cfmiddleware.accessrecord.AccessRecord`, into which the app may write; what
    else is in it stays as it is.

    :param app: the app, and whatever wraps it.
    :param name: the first word of each line.
    :param trustedproxies: how many proxies in front append to ``X-Forwarded-For``.
    """

    def __init__(self, app: App, *, name: str = "registry", trustedproxies: int = 0) -> None:
        self.app = app
        self._name = name
        self._proxies = trustedproxies

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        record = environ[ACCESS] = AccessRecord(_id(environ))
        client = _client(client_text(environ, self._proxies)[:_SHORT])
        path = _path(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
        line = Line(self._name, environ["REQUEST_METHOD"], path, client, record)
        return LoggedResponse(line, start_response).begin(self.app, environ)


class Line(Event):
    """What is logged of one request."""

    __slots__ = ("_began", "_client", "_method", "_name", "_path", "_record", "bytes", "ms", "status")

    def __init__(self, name: str, method: str, path: str, client: str, record: AccessRecord) -> None:
        self._name = name
        self._method = method if method in _METHODS else quote(method, safe="")
        self._path = path
        self._client = client
        self._record = record
        self._began = time.monotonic()
        #: The response's status, the bytes of its body, and how long it took in milliseconds.
        self.status, self.bytes, self.ms = 500, 0, 0.0

    def log(self) -> None:
        """Log it; the request is over."""
        self.ms = round((time.monotonic() - self._began) * 1000, 3)
        log_event(_log, self)

    def _sent(self) -> str:
        """Return where a pull was sent; a refused one was not sent anywhere."""
        return self._record.sent if self.status < 400 else ""

    def has_trace(self) -> bool:
        """Return whether it names its trace itself."""
        return bool(self._record.trace)

    def members(self) -> dict[str, object]:
        """Return the members of the JSON line."""
        record = self._record
        told = {
            "repository": record.repository,
            "user": record.user,
            "sent": self._sent(),
            "trace_id": record.trace,
        }
        return {
            "name": self._name,
            "method": self._method,
            "path": self._path,
            "status": self.status,
            "bytes": self.bytes,
            "client": self._client,
            "ms": self.ms,
            "id": record.id,
            **{name: value for name, value in told.items() if value},
        }

    def __str__(self) -> str:
        record = self._record
        line = (
            f"{self._name} {self._method} {self._path} {self.status} {self.bytes} {self._client}"
            f" {self.ms:.3f}ms id={word(record.id)}"
        )
        if record.repository:
            line += f" repository={word(record.repository)}"
        if record.user:
            line += f" user={word(record.user)}"
        if sent := self._sent():
            line += f" sent={word(sent)}"
        if record.trace:
            line += f" trace_id={word(record.trace)}"
        return line


class Loggable(Protocol):
    """What :class:`LoggedResponse` fills in and logs: the status, and the bytes of the body."""

    status: int
    bytes: int

    def log(self) -> None:
        """Log it; the request is over."""


class LoggedResponse(Repeating):
    """A response on its way from an app to the server. Its bytes are counted, and its end is logged.

    :param line: what is filled in and logged.
    :param start_response: the server's.
    """

    __slots__ = ("_body", "_chunks", "_line", "_start_response")

    def __init__(self, line: Loggable, start_response: StartResponse) -> None:
        self._line: Loggable | None = line
        self._start_response = start_response

    def begin(self, app: App, environ: dict[str, Any]) -> Iterable[bytes]:
        """Run the app and return its response."""
        try:
            body = self._body = app(environ, self.start)
            if type(body) is list and len(body) == 1 and self._line is not None:
                self._line.bytes += len(body[0])
                return _Whole(body, self)
            self._chunks = iter(body)
        except BaseException:
            self._end()
            raise
        return self

    def start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Be the ``start_response`` that the app sees."""
        write = self._start_response(status, headers, exc_info)
        self._begun(status)
        return lambda data: self._written(write, data)

    def start_again(self, status: str, repeated: Repeated) -> None:
        """Begin an answer whose headers are sent many times."""
        start_repeated(self._start_response, status, repeated)
        self._begun(status)

    def _begun(self, status: str) -> None:
        if self._line is not None and status[:3].isdecimal():
            self._line.status = int(status[:3])

    def _written(self, write: Write, data: bytes) -> None:
        write(data)
        self._count(data)

    def _count(self, data: bytes) -> None:
        if self._line is not None:
            self._line.bytes += len(data)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._count(chunk)
        return chunk

    def close(self) -> None:
        """Close the app's response, and log the request."""
        try:
            end = getattr(self._body, "close", None)
            if end is not None:
                end()
        finally:
            self._end()

    def _end(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.log()


class _Whole(list[bytes]):
    """A response's body that is there in one piece: a list, which servers go through faster.

    :param body: the app's list.
    :param response: what is closed after it.
    """

    __slots__ = ("close",)

    def __init__(self, body: list[bytes], response: LoggedResponse) -> None:
        super().__init__(body)
        self.close = response.close


def _id(environ: Mapping[str, Any]) -> str:
    """Return the id that a proxy, or the client, gave the request, or a new one. It is only a label."""
    given: str = environ.get("HTTP_X_REQUEST_ID", "")
    if given and _ID.fullmatch(given):
        return given
    return f"{random.getrandbits(64):016x}"


def _path(path: str) -> str:
    """Return the path as one word, as a client would have to send it."""
    return _short_path(path) if len(path) <= _SHORT else _shown(path)


def _shown(path: str) -> str:
    return quote(redacted(path)[:_LONGEST], safe=_LITERAL, encoding="latin-1", errors="replace") or "-"


# A few paths and clients come over and over.
_short_path = lru_cache(maxsize=4096)(_shown)


@lru_cache(maxsize=4096)
def _client(text: str) -> str:
    """Return the address of a client as it is written, or a dash if the text is not one."""
    return str(parse_address(text) or "-")
