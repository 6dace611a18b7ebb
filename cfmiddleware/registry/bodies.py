"""Reading a request's body, which may end before its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from . import errors

# Large enough that hashing and writing outweigh the calls, and small in memory.
_CHUNK = 1 << 18


class BodyBroken(Exception):
    """The body ended, or could not be read, before its end; most often the client went away."""


def content_length(environ: dict[str, Any]) -> int | None:
    """Return the length that the client announced in bytes, or None if it announced none.

    :raises BodyBroken: if it is not a length.
    """
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BodyBroken("the Content-Length is not a number of bytes")
    return int(text)


def has_body(environ: dict[str, Any]) -> bool:
    """Return whether the request has a body, by its headers.

    :raises BodyBroken: if its length is not a length.
    :raises RegistryError: ``SIZE_INVALID`` (411) for a body that the server does not hand over.
    """
    length = content_length(environ)
    return length > 0 if length is not None else _is_chunked(environ)


def _is_chunked(environ: dict[str, Any]) -> bool:
    """Return whether a request without a length has a body, which the server must hand over decoded.

    A server that does so says ``wsgi.input_terminated``. Others give no bytes at all (uWSGI), or those that
    came, without a sign whether these are all. Such a body must not be taken as a whole one.
    """
    if "HTTP_TRANSFER_ENCODING" not in environ:
        return False
    if not environ.get("wsgi.input_terminated"):
        raise errors.length_required()
    return True


def read_body(environ: dict[str, Any]) -> Iterator[bytes]:
    """Yield the request's body in chunks, and nothing that follows it.

    :raises BodyBroken: if less came than was announced, or if the server could not read on.
    :raises RegistryError: ``SIZE_INVALID`` (411) for a body that the server does not hand over, and
        ``REQUEST_TIMEOUT`` (408) if it waited too long for more.
    """
    left = content_length(environ)
    if left is None and not _is_chunked(environ):
        return
    while left is None or left > 0:
        chunk = _read(environ, _CHUNK if left is None else min(_CHUNK, left))
        if not chunk:
            if left is not None:
                raise BodyBroken(f"the request's body ended {left} bytes early")
            return
        if left is not None:
            left -= len(chunk)
        yield chunk


def begin_body(environ: dict[str, Any], most: int) -> tuple[dict[str, Any], bool]:
    """Read the first *most* bytes of the request's body, or all of a shorter one.

    One that breaks off within them is refused here, before it has cost anything else: thousands of clients
    that go away would be as many requests to the storage.

    :return: a copy of the environ from which the whole body is read, and whether all of it is in memory.
    :raises BodyBroken: as :func:`read_body` does.
    :raises RegistryError: as :func:`read_body` does.
    """
    length = content_length(environ)
    head = bytearray()
    for chunk in _read_up_to(environ, most if length is None else min(most, length)):
        head += chunk
    complete = len(head) < most or length == most
    if length is not None and len(head) < min(most, length):
        raise BodyBroken(f"the request's body ended {length - len(head)} bytes early")
    begun = _Begun(bytes(head), environ["wsgi.input"].read)
    return {**environ, "wsgi.input": begun}, complete


def _read_up_to(environ: dict[str, Any], size: int) -> Iterator[bytes]:
    """Yield so many bytes of the body, or what there is of it."""
    while size > 0 and (chunk := _read(environ, min(size, _CHUNK))):
        size -= len(chunk)
        yield chunk


def _read(environ: dict[str, Any], size: int) -> bytes:
    try:
        data: bytes = environ["wsgi.input"].read(size)
    except TimeoutError as error:
        raise errors.body_too_slow() from error
    except Exception as error:  # each server has its own exception for a client that went away
        raise BodyBroken("the request's body could not be read to its end") from error
    return data


class _Begun:
    """A body of which the first bytes are in memory.

    :param head: the first bytes.
    :param read: returns what follows them.
    """

    def __init__(self, head: bytes, read: Callable[[int], bytes]) -> None:
        self._head = head
        self._read = read

    def read(self, size: int) -> bytes:
        """Return the next bytes, as ``wsgi.input`` does."""
        if self._head:
            chunk, self._head = self._head[:size], self._head[size:]
            return chunk
        return self._read(size)
