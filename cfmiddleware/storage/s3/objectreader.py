"""Reading an object of S3 to its end, also when connections break."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.storage.driver import CHUNK, LARGEST_CHUNK

from .errors import broken_off, status_of, storage_error
from .openbodies import OpenBodies

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)


# How many bytes the first answer has at the most, the same where many are read, and how much longer each
# further one may be. A client that does not read on has cost little, and one that does costs few requests.
_FIRST_ANSWER = 1 << 20
_FIRST_OF_MANY = 1 << 18
_GROWTH = 8
_LARGEST_ANSWER = 1 << 26

# A client that has taken so much takes more: each chunk costs steps, and larger ones are fewer.
_LARGE_AFTER = 1 << 22

# Attempts in a row that bring nothing. boto3 retries what fails before the first byte by itself.
_FRUITLESS = 4


def first_answer(bodies: OpenBodies | None) -> int | None:
    """Return how many bytes to ask for first, at the most; None for all.

    :param bodies: the answers that are open; None for one that is read at once.
    """
    if bodies is None:
        return None
    return _FIRST_ANSWER if bodies.are_few() else _FIRST_OF_MANY


class S3Reader:
    """The body of a GetObject, which is asked for again from where it broke off.

    :param body: the body of the first answer, which may end before *end*.
    :param etag: what the object must still be when it is asked for again; empty where the server says none.
    :param start: the offset of the first byte, in bytes.
    :param end: the offset after the last byte.
    :param first: how many bytes the first answer has at the most; None if it has all.
    :param bodies: the answers that are open, this one among them; None for one that is read at once.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        key: str,
        path: str,
        body: StreamingBody | None,
        etag: str,
        start: int,
        end: int,
        first: int | None = None,
        bodies: OpenBodies | None = None,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._path = path
        self._body = body
        self._etag = etag
        self._start = self._position = start
        self._end = end
        self._bodies = bodies
        # Where the answer that is read now ends, and how long the next one may be.
        self._answered = end if first is None else min(end, start + first)
        self._window = end - start if first is None else first * _GROWTH
        self._is_closed = body is None
        self.size = end - start

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._is_closed:
            raise StopIteration
        if self._position >= self._end:
            self.close()
            raise StopIteration
        if self._bodies is None:
            return self._next()
        if not self._bodies.begin(self):  # it was closed, because nobody had read it for a while
            self._bodies.make_room()
            # Whoever has not read for a while may not read on either.
            self._window = first_answer(self._bodies) or self._window
            try:
                self._ask_again()
            except BaseException:
                self._bodies.failed()
                raise
            self._bodies.opened(self)
            self._bodies.begin(self)
        try:
            return self._next()
        finally:
            self._bodies.end(self)

    def _next(self) -> bytes:
        failures = 0
        if self._position >= self._answered:
            self._ask_again()
        while True:
            try:
                left = min(self._chunk_size(), self._answered - self._position)
                chunk = self._body.read(left) if self._body else b""
                if not chunk:
                    raise EOFError
            except Exception as error:
                if not isinstance(error, (*broken_off(), EOFError)):
                    raise
                failures += 1
                if failures > _FRUITLESS:
                    self.close()
                    raise StorageUnavailable(
                        f"S3 broke off {self._path} at byte {self._position}: {type(error).__name__}"
                    ) from error
                _log.info("S3 broke off %s at byte %d; asking again", self._path, self._position)
                # At once the first time, then with longer and longer pauses.
                time.sleep(0.1 * (2 ** (failures - 1) - 1))
                self._ask_again()
            else:
                self._position += len(chunk)
                return bytes(chunk)

    def _chunk_size(self) -> int:
        """Return how large the next chunk may be: whoever stops reading holds the last one."""
        bodies = self._bodies
        if bodies is None or (self._position - self._start >= _LARGE_AFTER and bodies.are_few()):
            return LARGEST_CHUNK
        return CHUNK

    def pause(self) -> None:
        """Close the answer; the next chunk is asked for anew."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def close(self) -> None:
        """Close the connection, or give it back when everything was read."""
        self._is_closed = True
        if self._bodies is not None:
            self._bodies.gone(self)
        self.pause()

    def _ask_again(self) -> None:
        if self._body is not None:
            self._body.close()
        unchanged: dict[str, Any] = {"IfMatch": self._etag} if self._etag else {}
        end = min(self._end, self._position + self._window)
        try:
            self._body = self._client.get_object(
                Bucket=self._bucket,
                Key=self._key,
                Range=f"bytes={self._position}-{end - 1}",
                **unchanged,
            )["Body"]
        except ClientError as error:
            self._body = None
            if status_of(error) in (404, 412, 416):
                raise StorageUnavailable(f"{self._path} was changed while it was read") from error
            raise storage_error(error, self._path) from error
        except (BotoCoreError, OSError) as error:
            self._body = None
            raise storage_error(error, self._path) from error
        self._answered = end
        self._window = min(self._window * _GROWTH, _LARGEST_ANSWER)


def read_all(reader: S3Reader) -> bytes:
    """Return what *reader* has, and close it."""
    try:
        return b"".join(reader)
    finally:
        reader.close()
