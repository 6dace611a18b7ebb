"""Requests as Prometheus sees them, whatever app answers them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from .cells import STATE
from .kinds import OTHER, Buckets, Cell
from .names import HANDLERS, IN_FLIGHT, METHODS, PULL_BYTES, PULLS, REQUEST_SECONDS, REQUESTS

_METHOD = {method.upper(): method for method in METHODS if method != OTHER}
# More than these are made by clients and apps that invent methods and codes.
_MOST = 2000

_SERVED = ("200", "206")


_FLIGHTS = {handler: IN_FLIGHT.of(handler) for handler in HANDLERS}
_BY_APP, _BYTES_BY_APP = PULLS.of("app"), PULL_BYTES.of("app")

# Whether it is a pull that the app served comes last.
_Ends = tuple[Cell, Cell, Buckets, bool]

# What the end of a request is counted in, by handler, method and code.
_ends: dict[tuple[str, str, str], _Ends] = {}


class Counted:
    """Wrap a WSGI app so that its requests are counted, once metrics are on.

    :param app: the app, and whatever wraps it.
    """

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        if STATE.directory is None:
            answer: Iterable[bytes] = self.app(environ, start_response)
            return answer
        if not STATE.has_begun:
            STATE.begin()
        began = perf_counter()
        handler, method = begin(environ), environ["REQUEST_METHOD"]
        status, written = "500", 0

        def start(code: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., Any]:
            nonlocal status
            write: Callable[..., Any] = start_response(code, headers, exc_info)
            status = code

            def count(data: bytes) -> None:
                nonlocal written
                write(data)
                written += len(data)

            return count

        try:
            body = self.app(environ, start)
        except BaseException:
            end(handler, method, status[:3], perf_counter() - began, written)
            raise
        if type(body) is list or type(body) is tuple:
            # All of it is here, as with every redirect: nothing has to be looked after.
            end(handler, method, status[:3], perf_counter() - began, written + sum(map(len, body)))
            return body
        return _Body(
            body, lambda size: end(handler, method, status[:3], perf_counter() - began, written + size)
        )


class _Body:
    """The body of an answer, whose end ends the request.

    :param end: is told how many bytes there were.
    """

    __slots__ = ("_body", "_chunks", "_end", "_size")

    def __init__(self, body: Any, end: Callable[[int], None]) -> None:
        self._body = body
        self._chunks = iter(body)
        self._end: Callable[[int], None] | None = end
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk: bytes = next(self._chunks)
        self._size += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the app's response, and count the request."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            end, self._end = self._end, None
            if end is not None:
                end(self._size)


def begin(environ: dict[str, Any]) -> str:
    """Count a request that begins, and return its handler."""
    handler = handler_of(environ.get("PATH_INFO", ""))
    _FLIGHTS[handler].inc()
    return handler


def end(handler: str, method: str, code: str, seconds: float, size: int) -> None:
    """Count a request that is over.

    :param method: as HTTP has it.
    :param code: the status.
    :param seconds: how long it took.
    :param size: the bytes of the body that was sent.
    """
    # In place, because every request comes through here: six calls fewer.
    flight, request, times, is_pull = _ends.get((handler, method, code)) or _cells(handler, method, code)
    flight.values[flight.at] -= 1.0
    request.values[request.at] += 1.0
    values = times.values
    values[times.cells[bisect_left(times.bounds, seconds)]] += 1.0
    values[times.total] += seconds
    if is_pull:
        _BY_APP.inc()
        _BYTES_BY_APP.add(size)


def _cells(handler: str, method: str, code: str) -> _Ends:
    """Return what the end of such a request is counted in."""
    known = _METHOD.get(method, OTHER)
    found = (
        IN_FLIGHT.of(handler),
        REQUESTS.of(handler, known, code),
        REQUEST_SECONDS.of(handler, known),
        handler == "blob" and method == "GET" and code in _SERVED,
    )
    if len(_ends) < _MOST:
        _ends[handler, method, code] = found
    return found


_KINDS = {"manifests": "manifest", "referrers": "referrers"}


def handler_of(path: str) -> str:
    """Return Distribution's name of the resource that a path names, wherever the registry is mounted."""
    head, _, last = path.rpartition("/")
    if head.endswith("/blobs"):
        return "blob_upload" if last == "uploads" else "blob"
    front, _, kind = head.rpartition("/")
    if kind == "uploads" and front.endswith("/blobs"):
        return "blob_upload_chunk" if last else "blob_upload"
    if kind in _KINDS and last:
        return _KINDS[kind]
    if kind == "tags" and last == "list":
        return "tags"
    if kind == "v2" and last in ("", "_catalog"):
        return "catalog" if last else "base"
    return "base" if last == "v2" else OTHER
