"""What a server does beside its requests: in one process at a time, and never in the way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfmiddleware.process import chores
from cfmiddleware.process.chores import Chores, lock_file


class Counted:
    """A chore that counts how often it is looked at.

    :param fails: whether each look ends with an error.
    """

    name = "counted"

    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails
        self.looks = 0
        self.looked = threading.Event()

    def look(self, ended: threading.Event) -> None:
        self.looks += 1
        self.looked.set()
        if self._fails:
            raise RuntimeError("the chore fails")


class Long:
    """A chore that goes on until its process ends."""

    name = "long"

    def __init__(self) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()

    def look(self, ended: threading.Event) -> None:
        self.begun.set()
        ended.wait(30)
        self.ended.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chores, "_TAKE_OVER", 0.01)
    monkeypatch.setattr(chores, "_LOOK", 0.01)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_nothing_is_opened_and_no_thread_started_before_the_start(tmp_path: Path):
    before = threading.active_count()
    Chores([Counted()], "config.yml").stop()
    assert threading.active_count() == before
    assert not list(tmp_path.iterdir())


def test_a_chore_is_looked_at_again_and_again_until_the_stop():
    chore = Counted()
    own = Chores([chore], "")
    own.start()
    own.start()
    assert chore.looked.wait(5)
    chore.looked.clear()
    assert chore.looked.wait(5)
    own.stop()


def test_one_of_those_with_the_same_name_looks_and_another_one_takes_over():
    first, second, other = Counted(), Counted(), Counted()
    one, two, elsewhere = Chores([first], "a"), Chores([second], "a"), Chores([other], "b")
    one.start()
    assert first.looked.wait(5)
    two.start()
    elsewhere.start()
    assert other.looked.wait(5)
    assert not second.looks
    one.stop()
    assert second.looked.wait(5)
    two.stop()
    elsewhere.stop()


def test_a_long_chore_keeps_no_other_waiting_and_is_told_to_end():
    long, short = Long(), Counted()
    own = Chores([long, short], "")
    own.start()
    assert long.begun.wait(5)
    assert short.looked.wait(5)
    own.stop()
    assert long.ended.wait(5)


def test_a_chore_that_fails_is_logged_seldom_and_tried_again(caplog: pytest.LogCaptureFixture):
    chore = Counted(fails=True)
    own = Chores([chore], "")
    own.start()
    for _ in range(3):
        assert chore.looked.wait(5)
        chore.looked.clear()
    own.stop()
    assert [record.getMessage() for record in caplog.records] == ["counted failed"]


@pytest.fixture
def held_open() -> Iterator[contextlib.ExitStack]:
    """Files that stay open until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("obstacle", ["a link elsewhere", "no directory", "somebody else's file"])
def test_without_a_place_for_the_lock_each_process_looks(
    obstacle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_open: contextlib.ExitStack
):
    if obstacle == "no directory":
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    elif obstacle == "a link elsewhere":
        lock_file("a").symlink_to(tmp_path / "elsewhere")
    else:
        if os.getuid():
            pytest.skip("only root can make it")
        held = held_open.enter_context(lock_file("a").open("w"))
        fcntl.flock(held, fcntl.LOCK_EX)
        os.chown(lock_file("a"), 65533, -1)
    found = [Counted(), Counted()]
    both = [Chores([chore], "a") for chore in found]
    for own in both:
        own.start()
    assert all(chore.looked.wait(5) for chore in found)
    for own in both:
        own.stop()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_process_that_was_forked_begins_by_itself():
    chore = Counted()
    own = Chores([chore], "")
    own.start()
    assert chore.looked.wait(5)
    child = os.fork()
    if child == 0:
        chore.looked.clear()
        own.start()
        os._exit(0 if chore.looked.wait(5) else 1)
    _, status = os.waitpid(child, 0)
    own.stop()
    assert status == 0
