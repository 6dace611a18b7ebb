"""``cfmiddleware notifications``: what waits is shown, and dead letters are sent again or removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cfmiddleware.cli import main
from cfmiddleware.notifications.entries import Entry
from cfmiddleware.notifications.envelope import Requester, Source, Target, event
from cfmiddleware.notifications.spool import FILE, Spool

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    (tmp_path / "config.yml").write_text(
        "version: 0.1\n"
        "storage: {inmemory: }\n"
        "notifications:\n"
        "  endpoints: [{name: a, url: 'http://listener.example.com/'}]\n"
        "  spool: {directory: spool}\n"
    )
    return Spool(tmp_path / "spool")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, list[str]]:
        status = main(["notifications", str(tmp_path / "config.yml"), *arguments])
        captured = capsys.readouterr()
        return status, (captured.out + captured.err).splitlines()

    return call


def add(spool: Spool, *endpoints: str) -> None:
    spool.check()
    requester, source = Requester("r", "", "", "PUT", ""), Source("h", "i").text()
    for endpoint in endpoints:
        body = event("push", Target("team/app", tag="v1"), requester, "", source)
        spool.add([Entry(endpoint, "team/app", "push", body)])


def test_a_spool_that_is_not_there_is_not_made(spool: Spool, run: Run):
    assert run() == (0, [f"no events are kept in {spool.directory}"])
    assert run("list", "--json") == (0, [])
    assert run("list", "7", "--json") == (1, [])
    assert run("resend", "7") == (1, [f"no events are kept in {spool.directory}"])
    assert not spool.directory.exists()


def test_an_empty_spool_says_so(spool: Spool, run: Run):
    spool.check()
    assert run() == (0, ["no events are waiting, and there are no dead letters"])


def test_what_waits_and_what_is_dead_is_shown(spool: Spool, run: Run):
    add(spool, "a", "a", "b")
    spool.bury(1, "it answered 400")
    status, lines = run()
    assert status == 0
    assert [line.split()[:3] for line in lines[:3]] == [
        ["1", "dead", "a"],
        ["2", "waiting", "a"],
        ["3", "waiting", "b"],
    ]
    assert lines[0].endswith("push team/app v1, 1 attempts: it answered 400")
    assert lines[3:] == ["a: 1 waiting, 1 dead", "b: 1 waiting, 0 dead"]
    assert run("list", "--endpoint", "b")[1][-1] == "b: 1 waiting, 0 dead"
    assert len(run("--dead")[1]) == 3
    (line,) = run("--json", "--dead")[1]
    assert json.loads(line)["body"]["target"] == {"repository": "team/app", "tag": "v1"}


def test_of_many_that_wait_some_are_shown(spool: Spool, run: Run):
    add(spool, *["a"] * 25)
    assert run()[1][-1] == "a: 25 waiting, of which 5 are not shown (--all), 0 dead"
    assert len(run()[1]) == 21
    assert len(run("--all")[1]) == 26


def test_dead_letters_are_sent_again(spool: Spool, run: Run):
    add(spool, "a", "a", "b")
    for seq in (1, 2, 3):
        spool.bury(seq, "it answered 400")
    assert run("resend", "1") == (0, ["1 sent again"])
    assert run("resend", "1", "7") == (1, ["0 sent again", "not dead letters: 1, 7"])
    assert run("resend", "--endpoint", "b") == (0, ["1 sent again"])
    assert run("resend", "--all") == (0, ["1 sent again"])
    assert [each.seq for each in spool.waiting("a")] == [1, 2]
    assert spool.counts() == {"a": (2, 0), "b": (1, 0)}


def test_events_are_removed(spool: Spool, run: Run):
    add(spool, "a", "a", "b", "b")
    spool.bury(3, "it answered 400")
    assert run("drop", "--dead") == (0, ["1 removed"])
    assert run("drop", "1", "3") == (1, ["1 removed", "not there: 3"])
    assert run("drop", "--endpoint", "b") == (0, ["1 removed"])
    assert [each.seq for each in spool.all()] == [2]


def test_an_event_that_is_not_there_is_named(spool: Spool, run: Run):
    add(spool, "a")
    status, lines = run("list", "1", "77")
    assert (status, lines[0].split()[0], lines[1]) == (1, "1", "not there: 77")
    assert run("list", "77", "--json") == (1, [])
    assert run("drop", "77") == (1, ["0 removed", "not there: 77"])


@pytest.mark.parametrize("action", ["list", "resend", "drop"])
def test_an_endpoint_whose_name_is_not_text_has_no_events(spool: Spool, run: Run, action: str):
    add(spool, "a")
    status, lines = run(action, "--endpoint", "\udcff")
    assert (status, lines) == (
        0,
        [] if action == "list" else [f"0 {'removed' if action == 'drop' else 'sent again'}"],
    )


@pytest.mark.parametrize("action", ["resend", "drop"])
def test_nothing_is_done_unless_it_is_said_to_what(spool: Spool, run: Run, action: str):
    add(spool, "a")
    assert run(action) == (
        2,
        [f"cfmiddleware: notifications {action}: name events, or an --endpoint, --dead or --all"],
    )


def test_a_spool_that_cannot_be_read_is_one_line(spool: Spool, run: Run):
    spool.directory.mkdir()
    (spool.directory / FILE).write_bytes(b"this is no database" * 100)
    status, (line,) = run()
    assert status == 2
    assert line.startswith(f"cfmiddleware: {spool.directory}: the events cannot be read: ")
