"""How many bytes left through the edge: a redirect does not say how large its blob is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import PULL_BYTES, PULLS, PULLS_OF_UNKNOWN_SIZE, REPOSITORY_PULLS
from cfmiddleware.process.cache import PerProcess

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.reference import BlobPath
    from cfmiddleware.wsgi.types import ExcInfo, Headers, StartResponse, Write

#: Returns the size of a blob in bytes, from wherever it lies.
SizeOf = Callable[["Digest"], int]

# Sizes that a process remembers, and blobs whose size it still has to ask for.
_REMEMBERED = 50_000
_WAITING = 10_000

_SERVED = ("200", "206")

_WAYS = {sent: (PULLS.of(sent), PULL_BYTES.of(sent)) for sent in ("edge", "s3")}


class BlobSizes:
    """Counts redirects and the bytes of their blobs.

    The size of a digest never changes. One that the app did not say is asked for in the background, once, and
    what was redirected until it is known is counted then.

    Safe to share between threads and to carry over a fork.

    :param size_of: asks for the size of a blob; None where nobody can be asked.
    """

    def __init__(self, size_of: SizeOf | None = None) -> None:
        self._size_of = size_of
        # By the hex form; a negative one is that of a blob whose size cannot be had.
        self._sizes: dict[str, int] = {}
        self._state = PerProcess(_State)

    def count(
        self, blob: BlobPath, sent: str, size: int | None, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Count a redirect.

        :param sent: where it leads: ``edge`` or ``s3``.
        :param size: how many bytes the blob has; None if that is not known.
        :param headers: those of the app's answer, which may say it.
        """
        if not STATE.has_begun:
            if STATE.directory is None:
                return
            STATE.begin()
        # In place, because every redirect comes through here: two calls fewer.
        pulls, octets = _WAYS[sent]
        pulls.values[pulls.at] += 1.0
        if STATE.is_named is not None and STATE.is_named(blob.repository):
            REPOSITORY_PULLS.inc(blob.repository, sent)
        if size is None:
            size = self._sizes.get(blob.digest.hex)
            if size is None:
                size = content_length(headers)
                if size < 0:
                    self._ask(blob.digest, sent)
                    return
        if size < 0:
            PULLS_OF_UNKNOWN_SIZE.inc(sent)
        else:
            octets.values[octets.at] += size

    def count_part(self, blob: BlobPath, sent: str) -> None:
        """Count a redirect whose client asks for a part of the blob."""
        self.count(blob, sent, -1)

    def _ask(self, digest: Digest, sent: str) -> None:
        state = self._state()
        with state.lock:
            if self._size_of is None or len(state.waiting) >= _WAITING:
                PULLS_OF_UNKNOWN_SIZE.inc(sent)
                return
            state.waiting[digest, sent] += 1
            if state.is_asking:
                return
            state.is_asking = True
        try:
            threading.Thread(target=self._answer, args=(state,), name="blobsizes", daemon=True).start()
        except RuntimeError:  # too many threads: the next pull tries again
            state.is_asking = False

    def _answer(self, state: _State) -> None:
        """Ask for the sizes of all blobs that wait for it."""
        while True:
            with state.lock:
                if not state.waiting:
                    state.is_asking = False
                    return
                digest, sent = next(iter(state.waiting))
            size = self._sizes.get(digest.hex)
            if size is None:
                try:
                    size = self._size_of(digest) if self._size_of is not None else -1
                except Exception:  # noqa: BLE001 (nothing but a count depends on it)
                    size = -1  # it is not asked for again either
            with state.lock:
                times = state.waiting.pop((digest, sent))
                if len(self._sizes) >= _REMEMBERED:
                    self._sizes.clear()
                self._sizes[digest.hex] = size
            if size < 0:
                PULLS_OF_UNKNOWN_SIZE.of(sent).add(times)
            else:
                _WAYS[sent][1].add(times * size)


class _State:
    """The blobs of one process whose size is asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: Counter[tuple[Digest, str]] = Counter()
        self.is_asking = False


def content_length(headers: Sequence[tuple[str, str]]) -> int:
    """Return the Content-Length of an answer, or a negative number if it has none."""
    for name, value in headers:
        if len(name) == 14 and name.lower() == "content-length" and value.isdecimal():
            return int(value)
    return -1


def counting_by_name(repository: str, start_response: StartResponse) -> StartResponse:
    """Return a ``start_response`` that counts a pull of *repository* by its name, if the app serves it."""

    def start(status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        if status[:3] in _SERVED:
            REPOSITORY_PULLS.inc(repository, "app")
        return start_response(status, headers, exc_info)

    return start
