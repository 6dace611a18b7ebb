"""The spool: nothing is lost in it, it is bounded, and a batch is one transaction."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from cfmiddleware.errors import ConfigError
from cfmiddleware.notifications.batches import Batches
from cfmiddleware.notifications.entries import Entry, SpoolError
from cfmiddleware.notifications.spool import FILE, Spool


def entry(number: int, action: str = "push", repository: str = "app", body: str = "") -> Entry:
    return Entry("a", repository, action, body or f'{{"n":{number}}}')


def bodies(spool: Spool) -> list[str]:
    return [each.body for each in spool.waiting("a", limit=10_000)]


def test_events_wait_in_their_order_until_they_are_delivered(tmp_path: Path):
    spool = Spool(tmp_path / "new" / "spool")
    spool.check()
    for number in range(3):
        assert spool.add([entry(number)]) == []
    first, *_ = spool.waiting("a")
    spool.delivered(first.seq)
    assert bodies(Spool(tmp_path / "new" / "spool")) == ['{"n":1}', '{"n":2}']
    assert spool.counts() == {"a": (2, 0)}
    assert (tmp_path / "new" / "spool").stat().st_mode & 0o077 == 0


def test_events_of_repositories_that_are_held_up_are_passed_over(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.add([entry(1, repository="x"), entry(2, repository="y"), entry(3, repository="x")])
    assert [each.repository for each in spool.waiting("a", held=["x"])] == ["y"]


def test_large_events_are_read_a_few_at_a_time_and_in_their_order(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.add([entry(number, body=str(number) * (1 << 20)) for number in range(7)])
    read = []
    while found := spool.waiting("a"):
        read.append("".join(each.body[0] for each in found))
        for each in found:
            spool.delivered(each.seq)
    assert read == ["0123", "456"]


def test_an_operator_sees_all_large_events(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.add([entry(number, body=str(number) * (3 << 20)) for number in range(5)])
    assert [each.body[0] for each in spool.all()] == list("01234")


def test_a_full_spool_keeps_the_last_tenth_for_what_changes_something(tmp_path: Path):
    spool = Spool(tmp_path, maxbytes=20_000)
    pulls = [entry(number, "pull", body="x" * 744) for number in range(30)]
    refused = spool.add(pulls)
    assert 30 - len(refused) == 18
    assert all(each.action == "pull" for each in refused)
    assert spool.add([entry(31, body="y" * 744)]) == []
    assert not spool.is_full()
    assert len(spool.add([entry(32, body="z" * 744)] * 3)) == 3

    for each in spool.waiting("a", limit=10):
        spool.delivered(each.seq)
    assert spool.add([entry(33, "pull")]) == []


def test_dead_letters_take_half_of_the_room_at_most(tmp_path: Path):
    spool = Spool(tmp_path, maxbytes=10_000)
    spool.add([entry(number, body=str(number) * 744) for number in range(8)])
    removed = [spool.bury(each.seq, "it answered 400") for each in spool.waiting("a")]
    assert removed == [0, 0, 0, 0, 0, 1, 1, 1]
    assert [each.body[0] for each in spool.all()] == ["3", "4", "5", "6", "7"]
    assert spool.counts() == {"a": (0, 5)}
    (last,) = [each for each in spool.all() if each.body[0] == "7"]
    assert spool.resend(last.seq)
    assert not spool.resend(last.seq)
    assert [(each.attempts, each.is_dead) for each in spool.waiting("a")] == [(0, False)]


def test_what_many_add_at_a_time_is_written_in_one_step(tmp_path: Path):
    written: list[list[int]] = []
    first = threading.Event()
    go_on = threading.Event()

    def write(items):
        written.append(list(items))
        first.set()
        go_on.wait(10)
        return []

    batches: Batches[int] = Batches(write)
    threads = [threading.Thread(target=batches.add, args=([0],))]
    threads[0].start()
    first.wait(10)
    for number in range(1, 6):
        threads.append(threading.Thread(target=batches.add, args=([number],)))
        threads[-1].start()
    while len(batches._open.items) < 5:
        pass
    go_on.set()
    for thread in threads:
        thread.join()
    assert [sorted(each) for each in written] == [[0], [1, 2, 3, 4, 5]]


def test_who_was_in_a_batch_is_in_the_next_one_as_well():
    """Callers that come again and again share batches: none waits for a turn that it no longer needs."""
    sizes: list[int] = []

    def write(items):
        sizes.append(len(items))
        time.sleep(0.002)
        return []

    batches: Batches[int] = Batches(write)

    def work() -> None:
        for number in range(20):
            batches.add([number])

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sizes) == 200
    assert len(sizes) < 100


def test_a_batch_whose_writer_is_stopped_is_written_by_those_who_wait_for_it():
    written: list[list[int]] = []
    ready = threading.Event()

    class Stopped(BaseException):
        """What ends a greenlet."""

    def write(items):
        if not written:
            written.append([])
            assert ready.wait(10)
            raise Stopped
        written.append(sorted(items))
        return []

    batches: Batches[int] = Batches(write)
    ended: list[int] = []

    def work(number: int) -> None:
        with contextlib.suppress(Stopped):
            batches.add([number])
            ended.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    threads[0].start()
    while not written:
        pass
    for thread in threads[1:]:
        thread.start()
    while len(batches._open.items) < 3:
        pass
    ready.set()
    for thread in threads:
        thread.join(10)
    assert sorted(ended) == [1, 2, 3]
    assert written == [[], [1, 2, 3]]


def test_each_who_added_is_told_of_a_batch_that_failed(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(SpoolError, match="not a database"):
        Spool(tmp_path).add([entry(1)])


@pytest.mark.parametrize("fault", ["file", "database", "format", "read-only"])
def test_a_directory_that_cannot_be_used_is_one_clear_line(tmp_path: Path, fault: str, monkeypatch):
    directory = tmp_path / "spool"
    if fault == "file":
        directory.write_text("")
    else:
        directory.mkdir()
    if fault == "database":
        (directory / FILE).write_bytes(b"this is no database" * 100)
    if fault == "format":
        with sqlite3.connect(directory / FILE) as connection:
            connection.execute("PRAGMA user_version = 7")
    if fault == "read-only":
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigError) as caught:
        Spool(directory).check()
    assert str(caught.value).startswith(f"{directory}: events cannot be kept there: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_spool_that_was_removed_takes_nothing_into_a_file_that_nobody_sees(
    tmp_path: Path, is_replaced: bool, caplog: pytest.LogCaptureFixture
):
    spool = Spool(tmp_path / "spool")
    spool.check()
    spool.add([entry(1)])
    assert bodies(spool) == ['{"n":1}']
    turn = spool.turn(["a"])
    assert turn is not None
    assert turn.is_held()

    shutil.rmtree(tmp_path / "spool")
    assert not turn.is_held()
    if is_replaced:
        Spool(tmp_path / "spool").check()
        assert spool.add([entry(2)]) == []
        assert bodies(spool) == bodies(Spool(tmp_path / "spool")) == ['{"n":2}']
        assert spool.turn(["a"]) is not None
    else:
        with pytest.raises(SpoolError):
            spool.add([entry(2)])
        with pytest.raises(SpoolError):
            spool.is_full()
        with pytest.raises(SpoolError):
            spool.turn(["a"])
    assert "events.db was removed or replaced; the events that waited there are lost" in caplog.text


def test_which_events_are_on_the_disk_before_the_answer(tmp_path: Path):
    def synced(sync: str, action: str) -> str:
        spool = Spool(tmp_path / sync, sync=sync)
        spool.check()
        spool.add([entry(1, action)])
        writer = spool._writer()
        assert writer._connection is not None
        ((level,),) = writer._connection.execute("PRAGMA synchronous").fetchall()
        return {1: "NORMAL", 2: "FULL"}[level]

    found = {
        (sync, action): synced(sync, action)
        for sync in ("none", "changes", "all")
        for action in ("pull", "push")
    }
    assert [each for each, level in found.items() if level == "FULL"] == [
        ("changes", "push"),
        ("all", "pull"),
        ("all", "push"),
    ]
