"""Checks in the background: when they fail, when they are well again, and who looks."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from lab.clock import Clock
from lab.servers import eventually

from cfmiddleware.health.board import Board
from cfmiddleware.health.checks import Check, CheckFailed
from cfmiddleware.health.watch import Health, _Look


class Thing:
    """What is checked: it fails with a reason, or hangs, as a test says."""

    def __init__(self) -> None:
        self.reason = ""
        self.looks = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def look(self) -> None:
        self.looks += 1
        self.go_on.wait(10)
        if self.reason:
            raise CheckFailed(self.reason)


def stepped(thing: Thing, **more: Any) -> tuple[_Look, Clock, Any]:
    """Return a look, its clock, and a function that lets seconds pass and the look go on."""
    clock = Clock(0)
    look = _Look(Check("a", thing.look, **{"interval": 10, "timeout": 5, **more}), clock)

    def after(seconds: float) -> None:
        clock.now += seconds
        look.go_on()
        if thing.go_on.is_set():
            assert eventually(lambda: look.go_on() is None and look._began is None)

    return look, clock, after


def test_a_check_fails_when_as_many_looks_in_a_row_failed_as_must_and_is_well_with_one(
    caplog: pytest.LogCaptureFixture,
):
    thing = Thing()
    thing.reason = "no"
    look, _, after = stepped(thing, threshold=3)

    states = []
    for _ in range(4):
        after(10)
        states.append(look.is_failing)
    thing.reason = ""
    after(10)

    assert states == [False, False, True, True]
    assert not look.is_failing
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "health: a fails: no"
    ]


def test_a_look_that_hangs_fails_once_in_each_interval_and_no_other_one_is_begun_beside_it():
    thing = Thing()
    thing.go_on.clear()
    look, _, after = stepped(thing, threshold=2)

    after(0)
    states = [(look.failures, thing.looks)]
    for seconds in (4, 1, 5, 5):
        after(seconds)
        states.append((look.failures, thing.looks))

    assert states == [(0, 1), (0, 1), (1, 1), (1, 1), (2, 1)]
    assert look.reason == "no answer within 5 s"
    thing.go_on.set()
    after(0)
    # What it found is too old to count.
    assert look.is_failing
    after(10)
    assert not look.is_failing


def test_a_check_that_has_not_succeeded_yet_is_looked_at_again_soon_and_fails_once_in_each_interval():
    thing = Thing()
    thing.reason = "not there yet"
    look, _, after = stepped(thing, threshold=3)

    counted = []
    for seconds in (0, 0.1, 0.1, 0.4, 0.8, 8.6, 10):
        after(seconds)
        counted.append((thing.looks, look.failures))
    assert counted == [(1, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 3)]
    assert look.is_failing
    thing.reason = ""
    after(10)
    assert (look.has_passed, look.is_failing) == (True, False)
    # From now on once in each interval.
    for seconds in (5, 4.9, 0.1):
        after(seconds)
        counted.append((thing.looks, look.failures))
    assert counted[-3:] == [(7, 0), (7, 0), (8, 0)]


def test_a_first_look_that_hung_is_followed_by_another_one_soon():
    thing = Thing()
    thing.go_on.clear()
    look, _, after = stepped(thing)
    after(0)
    after(5)
    assert (thing.looks, look.failures) == (1, 1)
    thing.go_on.set()
    after(0.1)
    after(0.3)
    assert (thing.looks, look.is_failing) == (2, False)


def test_what_comes_a_moment_after_the_start_does_not_have_to_wait_for_the_next_interval():
    thing = Thing()
    thing.reason = "not there yet"
    health = Health([Check("a", thing.look, interval=100)])
    assert health.report().failing == {"a": "not there yet"}
    thing.reason = ""
    assert eventually(lambda: health.report().failing == {})
    assert health.is_healthy
    health.stop()


def test_the_first_report_of_a_process_waits_for_the_first_look_at_each_check(
    monkeypatch: pytest.MonkeyPatch,
):
    thing, hanging = Thing(), Thing()
    health = Health([Check("a", thing.look)])
    assert (health.report().waiting, thing.looks) == ([], 1)
    health.stop()

    hanging.go_on.clear()
    monkeypatch.setattr("cfmiddleware.health.watch._FIRST", 0.1)
    health = Health([Check("a", hanging.look)])
    assert health.report().waiting == ["a"]
    hanging.go_on.set()
    health.stop()


def test_a_check_that_raises_anything_fails_with_one_line():
    def look() -> None:
        raise ValueError("one\ntwo")

    board = Board()
    health = Health([Check("a", look, interval=0.1)], board)
    health.start()

    assert eventually(lambda: not health.is_healthy)
    assert board.read().failing == {"a": "one two"}
    health.stop()


def test_nothing_is_ready_before_each_check_has_succeeded():
    one, other = Thing(), Thing()
    other.reason = "no"
    board = Board()
    checks = [Check("a", one.look, interval=0.1), Check("b", other.look, interval=0.1, threshold=1000)]
    health = Health(checks, board)
    health.start()

    assert eventually(lambda: board.read().waiting == ["b"])
    assert health.is_healthy
    other.reason = ""
    assert eventually(lambda: board.read().waiting == [])
    health.stop()


def test_one_process_checks_and_another_one_takes_over_what_it_knows():
    board = Board()
    first = os.fork()
    if first == 0:
        thing = Thing()
        thing.reason = "of the first"
        Health([Check("a", thing.look, interval=0.1)], board).start()
        threading.Event().wait(30)
        os._exit(0)
    try:
        assert eventually(lambda: board.read().failing == {"a": "of the first"})
        hanging = Thing()
        hanging.go_on.clear()
        second = Health([Check("a", hanging.look, interval=0.1, timeout=100)], board)
        second.start()
        assert not eventually(lambda: hanging.looks > 0, 1.5)
    finally:
        os.kill(first, 9)
        os.waitpid(first, 0)
    assert eventually(lambda: hanging.looks == 1)
    # Nothing new is known yet.
    assert board.read().failing == {"a": "of the first"}
    assert not second.is_healthy
    second.stop()
    hanging.go_on.set()


def test_whoever_stops_lets_another_one_check():
    thing, board = Thing(), Board()
    health = Health([Check("a", thing.look, interval=0.1)], board)
    health.start()
    assert eventually(lambda: thing.looks > 1)

    def another_one_can() -> bool:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if board.take() else 1)
        return os.waitpid(pid, 0)[1] == 0

    assert not another_one_can()
    health.stop()
    assert eventually(another_one_can)


def test_a_request_only_reads_a_byte():
    thing = Thing()
    thing.go_on.clear()
    health = Health([Check("a", thing.look)], Board())

    assert all(health.is_healthy for _ in range(1000))
    assert thing.looks <= 1
    health.stop()
    thing.go_on.set()


def test_reasons_that_are_too_long_are_cut():
    board = Board()
    board.write({f"check {number}": "x" * 10_000 for number in range(50)}, [])
    assert all(len(reason) == 400 for reason in board.read().failing.values())
    board.write({f"{number:0100}"[::-1]: "x" * 10_000 for number in range(5000)}, [])
    assert len(board.read().failing) == 100
    assert not board.is_healthy


def test_without_a_thread_to_spare_a_look_fails_and_the_next_ones_are_begun(monkeypatch: pytest.MonkeyPatch):
    """Whoever looks at the checks must not end of it, and no request may fail."""
    thing = Thing()
    look, _, after = stepped(thing)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    health = Health([Check("a", thing.look)], Board())
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        look.go_on()
        assert health.is_healthy
        assert health.report().seconds is None
    look.go_on()
    assert (look.is_failing, look.reason) == (True, "no thread could be started for it")
    after(10)
    after(0)
    assert (thing.looks, look.is_failing) == (1, False)
    health.start()
    assert eventually(lambda: health.report().seconds is not None)
    health.stop()


def test_a_check_that_is_not_configured_any_more_is_in_no_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("prometheus_client")
    from cfmiddleware import metrics
    from cfmiddleware.metrics.cells import STATE, VARIABLE
    from cfmiddleware.metrics.exposition import registry

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    metrics.turn_on(tmp_path)
    STATE.begin()
    try:

        def value(check: str) -> float | None:
            found: float | None = registry().get_sample_value(
                "cfmiddleware_health_check_failing", {"check": check}
            )
            return found

        failing = Thing()
        failing.reason = "it is gone"
        board = Board()
        for name in ("removed", "kept"):
            health = Health([Check(name, failing.look)], board)
            health.start()
            assert eventually(lambda name=name: value(name) == 1)  # type: ignore[misc]
            assert value("removed" if name == "kept" else "kept") is None
            health.stop()
            assert eventually(board.take)
            board.release()
    finally:
        STATE.forget()
        STATE.directory = None
