"""Writing an object of any size to S3 with a few parts of it in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cfmiddleware.storage.writing import SingleUseWriter

from .multipart import MultipartUpload
from .options import LARGEST_PART

# Parts that are being sent while the next one fills.
_IN_FLIGHT = 2

# Parts double in size after each thousand, so that 10,000 of them hold the largest object there is.
_PARTS_OF_A_SIZE = 1000


class S3Writer(SingleUseWriter):
    """An object that fits one part is sent with ``commit``; a larger one part by part as they fill.

    :param chunksize: the size of a part, in bytes.
    :param put: sends an object whole.
    :param begin: begins a multipart upload.
    """

    def __init__(
        self, chunksize: int, put: Callable[[bytes | bytearray], None], begin: Callable[[], MultipartUpload]
    ) -> None:
        super().__init__()
        self._chunksize = chunksize
        self._put = put
        self._begin = begin
        self._buffer = bytearray()
        self._number = 1
        self._upload: MultipartUpload | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._sending: deque[Future[None]] = deque()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            # Only with more to come, so that an object of exactly one part is no multipart upload.
            if len(self._buffer) >= self._part_size():
                try:
                    self._send_buffer()
                except BaseException:
                    self.abort()
                    raise
            taken = view[: self._part_size() - len(self._buffer)]
            self._buffer += taken
            view = view[len(taken) :]

    def _commit(self) -> None:
        if self._upload is None:
            self._put(self._buffer)
            self._buffer = bytearray()
            return
        try:
            self._send_buffer()
            while self._sending:
                self._sending.popleft().result()
            self._upload.complete(self.size)
        except BaseException:
            self._abort()
            raise
        self._end_pool()

    def _abort(self) -> None:
        self._buffer = bytearray()
        self._end_pool()
        if self._upload is not None:
            self._upload.abort()

    def _part_size(self) -> int:
        return min(LARGEST_PART, self._chunksize << (self._number - 1) // _PARTS_OF_A_SIZE)

    def _send_buffer(self) -> None:
        if self._upload is None:
            self._upload = self._begin()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="s3-upload")
        while len(self._sending) >= _IN_FLIGHT:
            self._sending.popleft().result()
        self._sending.append(self._pool.submit(self._upload.send, self._number, self._buffer))
        self._buffer = bytearray()
        self._number += 1

    def _end_pool(self) -> None:
        # Parts that are still on their way when an upload is aborted would stay in S3 unseen.
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._sending.clear()
