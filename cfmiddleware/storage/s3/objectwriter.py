"""Writing an object of any size to S3 with a few parts of it in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

from cfmiddleware.storage.driver import Bytes
from cfmiddleware.storage.writer import SingleUseWriter

from .multipart import MultipartUpload
from .partbudget import Share


class S3Writer(SingleUseWriter):
    """An object that fits one part is sent with ``commit``; a larger one part by part as they fill.

    :param chunksize: the size of a part, in bytes.
    :param most_parts: how many parts S3 takes.
    :param in_flight: how many parts are on their way at the most, while the next one fills.
    :param share: the buffers that the upload may have.
    :param put: sends an object whole.
    :param begin: begins a multipart upload.
    """

    def __init__(
        self,
        chunksize: int,
        most_parts: int,
        in_flight: int,
        share: Share,
        put: Callable[[bytearray], None],
        begin: Callable[[], MultipartUpload],
    ) -> None:
        super().__init__()
        self._chunksize = chunksize
        self._most_parts = most_parts
        self._in_flight = in_flight
        self._share = share
        self._put = put
        self._begin = begin
        self._buffer: bytearray | None = None
        self._number = 1
        self._upload: MultipartUpload | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._sending: deque[Future[None]] = deque()

    def _write(self, data: Bytes) -> None:
        try:
            self._fill(memoryview(data))
        except BaseException:
            self.abort()
            raise

    def _fill(self, data: memoryview) -> None:
        while data:
            # Only if more follows, so that an object of exactly one part is not a multipart upload.
            if self._buffer is not None and len(self._buffer) >= self._chunksize:
                self._send_buffer()
            if self._buffer is None:
                self._buffer = self._free_buffer()
            taken = data[: self._chunksize - len(self._buffer)]
            self._buffer += taken
            data = data[len(taken) :]

    def _commit(self) -> None:
        try:
            if self._upload is None:
                self._put(self._buffer if self._buffer is not None else bytearray())
            else:
                self._send_buffer()
                while self._sending:
                    self._sending.popleft().result()
                self._upload.complete(self.size)
        except BaseException:
            self._abort()
            raise
        self._end()

    def _abort(self) -> None:
        self._end()
        if self._upload is not None:
            self._upload.abort()

    def _free_buffer(self) -> bytearray:
        """Return an empty buffer, if need be after a part was sent whose buffer it replaces."""
        while not self._share.take():
            self._sending.popleft().result()
        return bytearray()

    def _send_buffer(self) -> None:
        if self._buffer is None:
            return
        if self._number > self._most_parts:
            raise ValueError("S3 takes no object of more parts; the driver says how much one writer takes")
        if self._upload is None:
            self._upload = self._begin()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._in_flight, thread_name_prefix="s3-upload")
        # Those that are done are looked at as well, so that a failure is noticed with the next part.
        while self._sending and (len(self._sending) >= self._in_flight or self._sending[0].done()):
            self._sending.popleft().result()
        # Only the thread that sends it refers to the buffer any more: it is gone as soon as it is sent.
        self._sending.append(
            self._pool.submit(copy_context().run, self._send_part, self._upload, self._number, self._buffer)
        )
        self._buffer = None
        self._number += 1

    def _send_part(self, upload: MultipartUpload, number: int, buffer: bytearray) -> None:
        try:
            upload.send(number, buffer)
        finally:
            # Here, because the client may take its time until the upload goes on.
            self._share.give_back()

    def _end(self) -> None:
        # Parts that are still on their way when an upload is aborted would stay in S3 unseen.
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for sending in self._sending:
            if sending.cancelled():
                self._share.give_back()
        self._sending.clear()
        if self._buffer is not None:
            self._buffer = None
            self._share.give_back()
