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
    :raises RegistryError: ``SIZE_INVALID`` (411) for a body that the server does not hand over.
    """
    left = content_length(environ)
    if left is None and not _is_chunked(environ):
        return
    read = environ["wsgi.input"].read
    while left is None or left > 0:
        try:
            chunk: bytes = read(_CHUNK if left is None else min(_CHUNK, left))
        except Exception as error:  # each server has its own exception for a client that went away
            raise BodyBroken("the request's body could not be read to its end") from error
        if not chunk:
            if left is not None:
                raise BodyBroken(f"the request's body ended {left} bytes early")
            return
        if left is not None:
            left -= len(chunk)
        yield chunk


def begin_body(environ: dict[str, Any], most: int) -> tuple[dict[str, Any], bool]:
    """Read the first *most* bytes of the request's body, or all of a shorter one.

    A body that breaks off within them is no error here: it is one for those who read it from the environ that
    is returned.

    :return: a copy of the environ from which the whole body is read, and whether all of it is in memory.
    :raises BodyBroken: if the announced length is not one.
    """
    length = content_length(environ)
    begun = _Begun(environ["wsgi.input"].read)
    complete = begun.read_ahead(most if length is None else min(most, length))
    return {**environ, "wsgi.input": begun}, complete or (length is not None and length <= most)


class _Begun:
    """A body of which the first bytes are in memory."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._head = b""
        self._failure: Exception | None = None

    def read_ahead(self, size: int) -> bool:
        """Read as many bytes, and return whether the body ended before them."""
        head = bytearray()
        try:
            while len(head) < size:
                chunk = self._read(size - len(head))
                if not chunk:
                    return True
                head += chunk
        except Exception as error:  # noqa: BLE001 (it is raised when the body is read)
            self._failure = error
            return True
        finally:
            self._head = bytes(head)
        return False

    def read(self, size: int) -> bytes:
        """Return the next bytes, as ``wsgi.input`` does."""
        if self._head:
            chunk, self._head = self._head[:size], self._head[size:]
            return chunk
        if self._failure is not None:
            raise self._failure
        return self._read(size)
