"""The checks, looked at in the background of one of the processes that serve."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import CHECKS_FAILING
from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.processid import process_id

from .board import Board, Report
from .checks import Check, CheckFailed

_log = logging.getLogger("cfmiddleware")

# Seconds between two looks at the clock, by the process that checks and by those that would follow it.
_TICK = 0.2
_WAIT = 1.0

# Seconds between two looks at the clock while a check is looked at that has not succeeded yet, and until such
# a check is looked at again, which double up to its interval: at a start, what it needs may be about to come.
_FIRST_TICK = 0.02
_AGAIN = 0.2

# Seconds that who asks for a report waits for the first look at each check.
_FIRST = 1.0


class Health:
    """Whether the registry can do its work.

    Each process that serves has a thread for it, of which one at a time looks at the checks: the others take
    over when its process ends. Nothing of it is on the path of a request, which reads one byte.

    Safe to share between threads and to carry over a fork.

    :param checks: what is looked at.
    :param board: where processes read what was found; one that they share was made before they were forked.
    :param redirects: whether pulls go on while it is unhealthy if no storage is needed for them.
    """

    def __init__(
        self, checks: Sequence[Check], board: Board | None = None, *, redirects: bool = True
    ) -> None:
        self._checks = tuple(checks)
        self.board = board or Board()
        self.redirects = redirects
        STATE.tell(self._claim)
        self._process = 0
        self._watch = PerProcess(self._begin)

    def start(self) -> None:
        """Begin to check in this process, unless it has begun."""
        try:
            self._watch()
        except RuntimeError:  # the system has no thread to spare; whoever asks next tries again
            return
        self._process = process_id()

    def stop(self) -> None:
        """Let another process check; this one is about to end."""
        watch = self._watch.made()
        if watch is not None:
            watch.stop()

    @property
    def is_healthy(self) -> bool:
        """Whether no check fails."""
        if self._process != process_id():
            self.start()
        return self.board.is_healthy

    def report(self) -> Report:
        """Return what the checks found. The first time in a process it waits for a moment until they have
        been looked at once.
        """
        self.start()
        watch = self._watch.made()
        if watch is not None:
            watch.begun.wait(_FIRST)
        return self.board.read()

    def _claim(self) -> None:
        """Say that what the process that checks tells is to stay."""
        for check in self._checks:
            CHECKS_FAILING.claim(check.name)

    def _begin(self) -> _Watch:
        watch = _Watch(self._checks, self.board)
        threading.Thread(target=watch.run, name="health", daemon=True).start()
        return watch


class _Watch:
    """The checks of one process."""

    def __init__(self, checks: Sequence[Check], board: Board) -> None:
        self._board = board
        self._looks = [_Look(check) for check in checks]
        self._ended = threading.Event()
        #: Set when each check was looked at once, or when another process looks at them.
        self.begun = threading.Event()

    def run(self) -> None:
        """Look at the checks whenever they are due, as soon as no other process does."""
        while not self._board.take():
            self.begun.set()
            if self._ended.wait(_WAIT):
                return
        self._inherit(self._board.read())
        self._tell_all()
        said: tuple[dict[str, str], list[str]] | None = None
        while not self._ended.is_set():
            for look in self._looks:
                look.go_on()
            found = (
                {look.check.name: look.reason for look in self._looks if look.is_failing},
                [look.check.name for look in self._looks if not look.has_passed],
            )
            if found != said:
                said = found
                self._board.write(*found)
            else:
                self._board.beat()
            if not self.begun.is_set() and all(look.was_had for look in self._looks):
                self.begun.set()
            is_first = any(look.is_first for look in self._looks)
            self._ended.wait(_FIRST_TICK if is_first else _TICK)
        self._board.release()

    def stop(self) -> None:
        """End :meth:`run`."""
        self._ended.set()

    def _tell_all(self) -> None:
        """Tell Prometheus of all checks. Those of an earlier configuration are gone."""
        since = time.time()
        for look in self._looks:
            look.tell()
        CHECKS_FAILING.clear(since)

    def _inherit(self, report: Report) -> None:
        """Take over from a process that has ended: what it found is true until another look was had."""
        if report.seconds is None:
            return
        for look in self._looks:
            name = look.check.name
            look.has_passed = name not in report.waiting
            if name in report.failing:
                look.reason, look.failures = report.failing[name], look.check.threshold


class _Look:
    """One check over time."""

    def __init__(self, check: Check, clock: Callable[[], float] = time.monotonic) -> None:
        self.check = check
        self._clock = clock
        self._due = 0.0
        self._began: float | None = None
        self._looked = 0.0  # when the last look was begun
        self._result: list[str] = []
        self._is_late, self._late_at = False, 0.0
        self._again = _AGAIN
        self._counts_at = 0.0  # from when on a further failure counts
        #: Whether a look has ended, or is late.
        self.was_had = False
        #: Why the last look failed, and how many in a row did.
        self.reason, self.failures = "", 0
        self.has_passed = False

    @property
    def is_failing(self) -> bool:
        """Whether as many looks in a row have failed as must."""
        return self.failures >= max(1, self.check.threshold)

    @property
    def is_first(self) -> bool:
        """Whether it is being looked at, in time, and has not succeeded yet."""
        return self._began is not None and not self._is_late and not self.has_passed

    def tell(self) -> None:
        """Tell Prometheus whether the check fails."""
        CHECKS_FAILING.of(self.check.name).set(float(self.is_failing))

    def go_on(self) -> None:
        """Begin a look that is due, and take its result."""
        now = self._clock()
        if self._began is None:
            if now >= self._due:
                self._begin(now)
            return
        if self._result:
            self._began = None
            reason = self._result.pop()
            if not self._is_late:
                self._tell(reason)
            if not self.has_passed:
                self._due, self._again = min(self._due, now + self._again), 2 * self._again
        elif now >= self._late_at:
            # It goes on, and no other look is begun beside it. For as long as it does, it fails once in each
            # interval; what it finds after that is too old.
            self._is_late, self._late_at = True, now + self.check.interval
            self._tell(f"no answer within {self.check.timeout:g} s")

    def _begin(self, now: float) -> None:
        self._began, self._looked, self._due = now, now, now + self.check.interval
        self._is_late, self._late_at = False, now + self.check.timeout
        result = self._result = []

        def look() -> None:
            reason = ""
            try:
                self.check.look()
            except CheckFailed as failed:
                reason = str(failed)
            except Exception as error:  # noqa: BLE001 (whatever it is, the check fails)
                reason = str(error) or type(error).__name__
            result.append(reason)

        try:
            threading.Thread(target=look, name=f"health {self.check.name}", daemon=True).start()
        except RuntimeError:  # the system has none to spare; the next interval tries again
            result.append("no thread could be started for it")

    def _tell(self, reason: str) -> None:
        """Take what a look found: nothing, or why it failed. Say so when that changes the health.

        One that has not succeeded yet is looked at again sooner. It fails once in each interval all the same.
        """
        before, now = self.is_failing, self._clock()
        self.was_had = True
        if not reason:
            self.reason, self.failures, self.has_passed = "", 0, True
        else:
            self.reason = " ".join(reason.split())
            begun = now if self._is_late else self._looked
            if self.has_passed or begun >= self._counts_at:
                self.failures, self._counts_at = self.failures + 1, begun + self.check.interval
        self.tell()
        if self.is_failing and not before:
            _log.warning("health: %s fails: %s", self.check.name, self.reason)
        elif before and not self.is_failing:
            _log.info("health: %s is well again", self.check.name)
