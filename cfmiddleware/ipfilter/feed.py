"""AWS's address ranges, kept up to date in the background, so that no request waits for them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from cfmiddleware.errors import ConfigError, shown_path
from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import ADDRESS_FETCHES, ADDRESS_RANGES
from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.throttle import Throttle
from cfmiddleware.process.watchedfile import ChangingFile

from .awsranges import Ranges
from .fetch import LIMITS, Fetched, FetchError, Limits, fetch
from .networks import Networks

_log = logging.getLogger("cfmiddleware.ranges")

# How much of a pause is left to chance, so that machines that started together do not ask together.
_JITTER = 0.1


class RangeFeed:
    """Answers which networks are AWS's: from a file, from the web, or from the newer of both.

    It may be built before a fork: only the first question in each process starts a thread. No question waits
    for the web, the disk or another thread. The last good document stays in force until there is a newer one.

    :param read: reads a document, or raises ValueError with the reason of one line.
    :param url: where the document is fetched from; None for nowhere.
    :param file: the path of a snapshot; None for no file. It is read at once.
    :param interval: seconds between two fetches, give or take a tenth.
    :param retry: seconds before another try after a failure; they double with each further one, up to
        *interval*.
    :param look_interval: seconds between two looks at the file.
    :param limits: what a fetch may take.
    :raises ConfigError: for a file that cannot be read or is not such a document.
    """

    def __init__(
        self,
        read: Callable[[bytes], Ranges],
        *,
        url: str | None = None,
        file: str | None = None,
        interval: float = 12 * 3600,
        retry: float = 10,
        look_interval: float = 10,
        limits: Limits = LIMITS,
    ) -> None:
        self._read = read
        self._url = url
        self._interval = interval
        self._retry = retry
        self._look_interval = look_interval
        self._limits = limits
        #: Whether a document is in force yet.
        self.ready = False
        self._published = 0
        STATE.tell(self._tell)
        self._networks = Networks()
        self._from_file: Ranges | None = None
        self._from_web: Ranges | None = None
        self._known: Fetched | None = None
        self._last_refusal = ""
        self._work = PerProcess(self._start)
        self._file = file
        self._throttle = Throttle()
        if file is not None:
            try:
                self._look_at(ChangingFile(file))
            except (OSError, ValueError) as error:
                raise ConfigError(f"{shown_path(file)}: cannot be used: {_reason(error)}") from None

    def current(self) -> Networks:
        """Return the networks in force; none before the first good document."""
        if self._work.made() is None:
            self._begin()
        return self._networks

    def close(self) -> None:
        """End the thread of this process; the networks in force stay."""
        work = self._work.made()
        if work is not None:
            work.stop.set()
            work.thread.join()

    def _begin(self) -> None:
        """Start the thread of this process."""
        try:
            self._work()
        except RuntimeError as error:  # too many threads: the next question tries again
            if self._throttle.allows():
                _log.error("AWS's address ranges are not looked after: %s; %s", error, self._what_stays())

    def _start(self) -> _Work:
        work = _Work(self._run)
        work.thread.start()
        return work

    def _run(self, stop: threading.Event) -> None:
        # This process's own: at the fork, the parent's may have been in the middle of a look.
        file = ChangingFile(self._file) if self._file is not None else None
        due, failures = time.monotonic(), 0
        while True:
            now = time.monotonic()
            if file is not None:
                self._look_again(file)
            if self._url is not None and now >= due:
                failures = 0 if self._fetch(self._url) else failures + 1
                due = time.monotonic() + pause(self._interval, self._retry, failures)
            waits = [self._look_interval] if file is not None else []
            waits += [due - time.monotonic()] if self._url is not None else []
            if stop.wait(max(0, min(waits, default=self._interval))):
                return

    def _fetch(self, url: str) -> bool:
        """Take the document at *url* if it has changed and is good. Return False if something went wrong."""
        try:
            fetched = fetch(url, self._known, self._limits)
            if fetched is None:
                ADDRESS_FETCHES.inc("ok")
                return True
            ranges = self._read(fetched.content)
        except Exception as error:  # noqa: BLE001 (whatever it is, the next try may succeed)
            _log.error("%s: not taken: %s; %s", _without_query(url), _reason(error), self._what_stays())
            ADDRESS_FETCHES.inc("failed")
            return False
        ADDRESS_FETCHES.inc("ok")
        self._from_web = ranges
        self._choose(_without_query(url), ranges)
        # Last, so that a process that is forked meanwhile fetches the document again instead of missing it.
        # The bytes are not read again, and are not kept.
        self._known = fetched._replace(content=b"")
        return True

    def _look_again(self, file: ChangingFile) -> None:
        try:
            self._look_at(file)
        except Exception as error:  # noqa: BLE001 (whatever it is, the file may be mended)
            if _reason(error) != self._last_refusal:
                self._last_refusal = _reason(error)
                _log.error("%s: not taken: %s; %s", file.path, self._last_refusal, self._what_stays())
        else:
            self._last_refusal = ""

    def _look_at(self, file: ChangingFile) -> None:
        content = file.read_if_changed()
        if content is None:
            return
        ranges = self._from_file = self._read(content)
        self._choose(file.path, ranges)

    def _choose(self, source: str, ranges: Ranges) -> None:
        """Put the newer document in force; the one from the web if both are of the same age."""
        known_documents = [known for known in (self._from_web, self._from_file) if known is not None]
        newest = max(known_documents, key=lambda known: known.published)
        self._networks = newest.networks
        self._published = newest.published
        self.ready = True
        self._tell()
        if ranges.missing:
            _log.warning("%s: there are no ranges of %s", source, ", ".join(ranges.missing))
        _log.info(
            "%s: %d networks%s",
            source,
            len(ranges.networks),
            "" if ranges is newest else ", older than those in force",
        )

    def _tell(self) -> None:
        """Tell Prometheus how old the ranges are, or that another process may know."""
        ADDRESS_RANGES.claim()
        if self._published:
            ADDRESS_RANGES.of().set(self._published)

    def _what_stays(self) -> str:
        if self.ready:
            return "the ranges known before stay in force"
        return "until there are ranges, every client is sent to CloudFront"


class _Work:
    """The thread of one process, and how to end it."""

    def __init__(self, run: Callable[[threading.Event], None]) -> None:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=run, args=(self.stop,), name="cfmiddleware-ranges", daemon=True)


def pause(interval: float, retry: float, failures: int) -> float:
    """Return how many seconds to wait before the next fetch.

    :param failures: how many fetches failed in a row.
    """
    wait = min(interval, retry * 2.0 ** min(failures - 1, 60)) if failures else interval
    return wait * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 (nothing depends on guessing it)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, FetchError | ValueError):
        return str(error)
    return type(error).__name__


def _without_query(url: str) -> str:
    """Return a URL as a log may show it."""
    return url.partition("?")[0]
