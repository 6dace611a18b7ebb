"""Delivery: order, pauses, dead letters, and one process at a time."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from lab.clock import Clock

from cfmiddleware.notifications import delivery
from cfmiddleware.notifications.delivery import Delivery, Line, pause
from cfmiddleware.notifications.endpoint import Endpoint, Outcome, _headers, _judged, _reason
from cfmiddleware.notifications.entries import Entry, SpoolError
from cfmiddleware.notifications.envelope import envelope
from cfmiddleware.notifications.spool import Spool
from cfmiddleware.process.childcall import ChildFailed

ENDPOINT = Endpoint("a", "http://user:pass@listener.example.com/x?token=s3cr3t", threshold=3)
TAKEN = Outcome(200)
FAILED = Outcome(500, "it answered 500")
REFUSED = Outcome(400, "it answered 400", refused=True)


class FakeSender:
    """Answers as a test says, by the event's number."""

    def __init__(self, outcomes: dict[int, list[Outcome]] | None = None) -> None:
        self.outcomes = outcomes or {}
        self.sent: list[int] = []

    def post(self, body: bytes) -> Outcome:
        number = json.loads(body)["events"][0]["n"]
        self.sent.append(number)
        planned = self.outcomes.get(number)
        return planned.pop(0) if planned else TAKEN

    def close(self) -> None:
        """There is no connection."""


class Rig:
    """One line, driven step by step."""

    def __init__(self, path: Path, endpoint: Endpoint = ENDPOINT, **outcomes: list[Outcome]) -> None:
        self.spool = Spool(path)
        self.clock = Clock()
        self.sender = FakeSender({int(name[1:]): planned for name, planned in outcomes.items()})
        self.line = Line(self.spool, endpoint, threading.Event(), self.clock)
        self.line._ended.wait = self.pass_time  # type: ignore[method-assign]
        self.line.awake.wait = self.pass_time  # type: ignore[method-assign]

    def pass_time(self, seconds: float | None = None) -> bool:
        self.clock.now += seconds or 0
        return False

    def add(self, *numbers: int, repository: str = "app") -> None:
        self.spool.add([Entry("a", repository, "push", f'{{"n":{number}}}') for number in numbers])

    def run(self, steps: int = 50) -> list[int]:
        for _ in range(steps):
            self.line._send_what_waits(self.sender)  # type: ignore[arg-type]
        return self.sender.sent


def test_an_event_that_was_taken_is_not_sent_again_while_the_spool_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rig = Rig(tmp_path)
    rig.add(1, 2)
    delivered, failures = rig.spool.delivered, iter([SpoolError("disk I/O error")] * 3)

    def failing(seq: int) -> None:
        for error in failures:
            raise error
        delivered(seq)

    monkeypatch.setattr(rig.spool, "delivered", failing)
    for _ in range(3):
        with pytest.raises(SpoolError):
            rig.run()
    assert rig.sender.sent == [1]
    assert rig.run() == [1, 2]
    assert rig.spool.counts() == {}


def test_events_are_sent_in_their_order_and_removed(tmp_path: Path):
    rig = Rig(tmp_path)
    rig.add(1, 2, 3)
    assert rig.run(1) == [1, 2, 3]
    assert rig.spool.counts() == {}


class Post:
    """An endpoint that takes what it gets."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def post(self, body: bytes) -> Outcome:
        self.bodies.append(body)
        return TAKEN

    def close(self) -> None:
        """There is no connection."""


@pytest.mark.parametrize("fails", [False, True])
def test_a_large_event_is_made_in_a_process_of_its_own_where_there_can_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool
):
    made: list[int] = []
    others = delivery.call_in_child

    def call(seconds: float, function: Any, events: list[str]) -> bytes:
        made.append(len(events[0]))
        if fails:
            raise ChildFailed("no process can be started")
        return others(seconds, function, events)

    monkeypatch.setattr(delivery, "call_in_child", call)
    spool, post = Spool(tmp_path), Post()
    texts = [json.dumps({"n": number, "references": ["x" * size]}) for number, size in ((1, 9), (2, 200_000))]
    spool.add([Entry("a", "app", "push", text) for text in texts])
    line = Line(spool, ENDPOINT, threading.Event())
    line._send_what_waits(post)  # type: ignore[arg-type]
    assert post.bodies == [envelope([text]) for text in texts]
    assert made == [len(texts[1])]
    assert ("made where it keeps others waiting: no process can be started" in caplog.text) == fails


def test_an_event_that_fails_holds_up_its_repository_and_no_other(tmp_path: Path):
    rig = Rig(tmp_path, n1=[FAILED])
    rig.add(1, 2, repository="x")
    rig.add(3, 4, repository="y")
    assert rig.run() == [1, 3, 4, 1, 2]


def test_what_waits_behind_an_event_that_failed_is_not_read_again_and_again(tmp_path: Path):
    rig = Rig(tmp_path, n0=[FAILED] * 2)
    rig.add(*range(300))
    looks: list[int] = []
    waiting = rig.spool.waiting

    def look(endpoint: str, held=(), limit=100, after=0):
        looks.append(after)
        return waiting(endpoint, held, limit, after)

    rig.spool.waiting = look  # type: ignore[method-assign]
    rig.pass_time = lambda seconds=None: False  # type: ignore[method-assign]
    rig.line._ended.wait = rig.pass_time  # type: ignore[method-assign]
    rig.run(4)
    assert rig.sender.sent == [0]
    assert looks == [0, 0, 300, 300]
    rig.add(300)
    rig.add(301, repository="other")
    assert rig.run(1) == [0, 301]
    rig.clock.now += 1
    assert rig.run(1)[2] == 0


def test_an_endpoint_that_fails_again_and_again_is_left_alone(tmp_path: Path):
    rig = Rig(tmp_path, **{f"n{number}": [FAILED] * 50 for number in range(20)})
    for number in range(20):
        rig.add(number, repository=f"r{number}")
    rig.run(1)
    assert rig.sender.sent == [0, 1, 2]
    assert 0.75 <= rig.line._pause - rig.clock.now <= 1.25


def test_pauses_grow_to_five_minutes_or_to_what_the_operator_says():
    endpoint = Endpoint("a", "http://x/", threshold=4, backoff=10)
    expected = {1: 0.1, 2: 0.2, 3: 0.4, 4: 10, 5: 20, 6: 40, 9: 300, 10_000: 300}
    for failures, seconds in expected.items():
        assert 0.75 * seconds <= pause(endpoint, failures) <= 1.25 * seconds
    assert pause(Endpoint("a", "http://x/", threshold=1, backoff=3600), 50) >= 2700
    assert len({pause(endpoint, 4) for _ in range(20)}) > 10


def test_an_event_that_is_refused_becomes_a_dead_letter_and_the_next_one_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    rig = Rig(tmp_path, n1=[REFUSED] * 9)
    rig.add(1, 2)
    assert rig.run() == [1, 1, 1, 2]
    ((dead,), waiting) = list(rig.spool.all()), rig.spool.waiting("a")
    assert (dead.is_dead, dead.attempts, dead.error, waiting) == (True, 3, "it answered 400", [])
    assert "dead letter" in caplog.text


def test_an_event_that_fails_for_too_long_becomes_a_dead_letter(tmp_path: Path, monkeypatch):
    rig = Rig(tmp_path, n1=[FAILED] * 9)
    rig.add(1, 2)
    rig.run(5)
    assert set(rig.sender.sent) == {1}
    later = time.time() + 25 * 3600
    monkeypatch.setattr(delivery.time, "time", lambda: later)
    rig.run()
    assert rig.sender.sent[-1] == 2
    assert rig.spool.counts() == {"a": (0, 1)}


def test_one_delivers_at_a_time_and_the_next_one_goes_on(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.check()
    first, second = Delivery(spool, []), Delivery(spool, [])
    held = first._turn()
    assert held is not None
    assert second._turn() is None
    held.give_up()
    taken = second._turn()
    assert taken is not None
    taken.give_up()


def test_what_waits_for_an_endpoint_that_is_gone_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    spool = Spool(tmp_path)
    spool.add([Entry("gone", "app", "push", "{}")])
    Delivery(spool, []).run()
    assert "1 events are kept for the endpoint 'gone'" in caplog.text


def test_who_delivers_tells_of_its_endpoints_alone_and_for_as_long_as_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("prometheus_client")
    from cfmiddleware import metrics
    from cfmiddleware.metrics.cells import STATE, VARIABLE
    from cfmiddleware.metrics.exposition import registry
    from cfmiddleware.metrics.names import NOTIFICATIONS_PENDING

    def pending(endpoint: str) -> float | None:
        name = "registry_notifications_pending_total"
        found: float | None = registry().get_sample_value(name, {"endpoint": endpoint})
        return found

    monkeypatch.setenv(VARIABLE, str(tmp_path / "counts"))
    metrics.turn_on()
    STATE.begin()
    try:
        for name in ("told", "killed before it gave up"):
            NOTIFICATIONS_PENDING.of(name).set(7)
        NOTIFICATIONS_PENDING.claim("told")
        spool = Spool(tmp_path / "spool")
        spool.check()
        spool.add([Entry("told", "app", "push", "{}")] * 2)
        seen = []
        work = Delivery(spool, [Endpoint("told", "http://127.0.0.1:9/")])

        class Stopping(FakeSender):
            def post(self, body: bytes) -> Outcome:
                seen.append((pending("told"), pending("killed before it gave up")))
                work.stop()
                return FAILED

        monkeypatch.setattr(delivery, "Sender", lambda endpoint: Stopping())
        work.run()
        assert seen == [(2, None)]
        assert pending("told") is None
    finally:
        STATE.forget()
        STATE.directory = None


@pytest.mark.parametrize(
    ("status", "taken", "refused"),
    [(200, True, False), (202, True, False), (304, False, False), (307, False, False), (400, False, True)]
    + [(status, False, False) for status in (401, 404, 429, 500, 503)],
)
def test_which_answers_take_an_event(status: int, taken: bool, refused: bool):
    outcome = _judged(status)
    assert (not outcome.reason, outcome.refused) == (taken, refused)


def test_nothing_that_is_said_of_an_endpoint_has_its_secrets():
    endpoint = Endpoint("a", ENDPOINT.url, (("Authorization", "Bearer s3cr3t"),))
    assert "s3cr3t" not in repr(endpoint)
    assert "pass" not in repr(endpoint)
    for error in (
        ValueError(ENDPOINT.url),
        OSError(5, "Input/output error", ENDPOINT.url),
        TimeoutError(ENDPOINT.url),
    ):
        assert "s3cr3t" not in _reason(error)


def test_the_user_of_a_url_is_a_credential_and_several_values_are_a_list():
    headers = _headers(Endpoint("a", "", (("x-a", "1"), ("X-A", "2"))), "us%40er", "p%3Aw")
    assert headers["X-A"] == "1, 2"
    assert headers["Authorization"] == "Basic dXNAZXI6cDp3"
    assert headers["Content-Type"] == "application/vnd.docker.distribution.events.v1+json"


def test_the_log_of_failures_is_short(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    rig = Rig(tmp_path, n1=[FAILED] * 40)
    rig.add(1)
    with caplog.at_level(logging.WARNING):
        rig.run(30)
    assert len(caplog.records) == 1


def test_delivery_goes_on_after_whatever_goes_wrong(tmp_path: Path, monkeypatch, caplog):
    rig = Rig(tmp_path)
    rig.add(1)
    troubles: list[Exception] = [RuntimeError("out of the blue"), SpoolError("locked"), OSError("no more")]

    def made(endpoint: Endpoint) -> FakeSender:
        if troubles:
            raise troubles.pop(0)
        return rig.sender

    def post(body: bytes) -> Outcome:
        rig.line._ended.set()
        return TAKEN

    rig.sender.post = post  # type: ignore[method-assign]
    monkeypatch.setattr(delivery, "Sender", made)
    turn = rig.spool.turn([])
    assert turn is not None
    rig.line.run(turn)
    turn.give_up()
    assert rig.spool.counts() == {}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
