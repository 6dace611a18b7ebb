"""A file that changes is read again, and a change that is no good leaves the last good value in force."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from lab.clock import Clock

from cfmiddleware.errors import ConfigError
from cfmiddleware.process import watchedfile
from cfmiddleware.process.watchedfile import SETTLING, ChangingFile, WatchedFiles

LONG_AGO = 1_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    return path


def settled(path: Path, **more: int) -> ChangingFile:
    """Return a file that was read long after its last change."""
    changing = ChangingFile(path, clock=lambda: path.stat().st_ctime + 60, **more)
    assert changing.read_if_changed() == b"one"
    return changing


class TestChangingFile:
    def test_what_has_not_changed_is_none(self, file: Path):
        changing = settled(file)
        assert changing.read_if_changed() is None

    def test_a_settled_file_is_not_read_again(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        changing = settled(file)
        monkeypatch.setattr(watchedfile, "_read", None)
        assert changing.read_if_changed() is None

    @pytest.mark.parametrize("age", [-SETTLING, -1, 0, 1, SETTLING])
    def test_one_that_changed_just_now_is_read_again_whatever_its_times_say(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, age: float
    ):
        monkeypatch.setattr(watchedfile, "_stamp", lambda status: (1,))  # a disk with coarse times
        changed = file.stat().st_ctime
        changing = ChangingFile(file, clock=lambda: changed + age)
        changing.read_if_changed()
        file.write_bytes(b"two")
        assert changing.read_if_changed() == b"two"

    def test_one_that_changed_longer_ago_is_known_by_its_times(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(watchedfile, "_stamp", lambda status: (1,))
        changed = file.stat().st_ctime
        changing = ChangingFile(file, clock=lambda: changed + SETTLING + 0.1)
        changing.read_if_changed()
        file.write_bytes(b"two")
        assert changing.read_if_changed() is None

    def test_the_time_of_the_status_tells_where_size_and_times_are_kept(self, file: Path):
        os.utime(file, (LONG_AGO, LONG_AGO))
        changing = settled(file)
        with file.open("r+b") as stream:
            stream.write(b"two")
        os.utime(file, (LONG_AGO, LONG_AGO))
        assert changing.read_if_changed() == b"two"

    def test_a_file_that_took_its_place_is_another(self, file: Path, tmp_path: Path):
        changing = settled(file)
        (tmp_path / "new").write_bytes(b"two")
        (tmp_path / "new").rename(file)
        assert changing.read_if_changed() == b"two"

    def test_a_touched_file_says_what_it_said(self, file: Path):
        changing = settled(file)
        os.utime(file)
        assert changing.read_if_changed() is None

    def test_what_comes_back_after_it_was_gone_is_a_change(self, file: Path):
        changing = settled(file)
        file.unlink()
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                changing.read_if_changed()
        file.write_bytes(b"one")
        assert changing.read_if_changed() == b"one"

    def test_a_directory_and_a_pipe_are_refused_without_waiting(self, tmp_path: Path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(OSError, match="it is not a regular file"):
                ChangingFile(path).read_if_changed()

    def test_a_file_beyond_the_limit_is_refused(self, file: Path):
        assert ChangingFile(file, limit=3).read_if_changed() == b"one"
        with pytest.raises(OSError, match="it is longer than 2 bytes"):
            ChangingFile(file, limit=2).read_if_changed()


class Watched:
    """A value made of two files, and the lines that were logged about them."""

    def __init__(self, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.clock, self._caplog = Clock(), caplog
        self.first, self.second = directory / "first", directory / "second"
        self.first.write_bytes(b"1")
        self.second.write_bytes(b"2")
        caplog.set_level(logging.INFO)
        self._files = WatchedFiles(
            [self.first, self.second],
            self._load,
            log=logging.getLogger("test"),
            prefix="tls: ",
            interval=5,
            clock=self.clock,
        )

    def _load(self, first: bytes, second: bytes) -> bytes:
        if b"bad" in (first, second):
            raise ConfigError("a file is bad")
        return first + second

    def now(self) -> bytes:
        return self._files.current()

    def later(self) -> bytes:
        self.clock.now += 5
        return self._files.current()

    def log(self) -> list[tuple[str, str]]:
        lines = [(record.levelname, record.getMessage()) for record in self._caplog.records]
        self._caplog.clear()
        return lines


@pytest.fixture
def watched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Watched:
    return Watched(tmp_path, caplog)


class TestWatchedFiles:
    def test_a_change_is_in_force_after_the_interval_and_logged(self, watched: Watched):
        watched.second.write_bytes(b"3")
        assert (watched.now(), watched.log()) == (b"12", [])
        assert watched.later() == b"13"
        assert watched.log() == [("INFO", f"tls: {watched.second} has changed and is in force")]
        assert (watched.later(), watched.log()) == (b"13", [])

    @pytest.mark.parametrize("content", [b"bad", None])
    def test_what_is_no_good_is_logged_once_and_the_last_good_value_stays(
        self, watched: Watched, content: bytes | None
    ):
        watched.first.unlink() if content is None else watched.first.write_bytes(content)
        assert [watched.later() for _ in range(3)] == [b"12"] * 3
        ((level, line),) = watched.log()
        assert level == "ERROR"
        assert line.startswith("tls: what was in force before stays in force: ")
        watched.first.write_bytes(b"4")
        assert watched.later() == b"42"
        assert [level for level, _ in watched.log()] == ["INFO"]

    def test_the_same_fault_is_logged_again_after_it_was_mended(self, watched: Watched):
        for content in (b"bad", b"1", b"bad"):
            watched.first.write_bytes(content)
            watched.later()
        assert [level for level, _ in watched.log()] == ["ERROR", "INFO", "ERROR"]

    def test_a_change_of_one_file_is_not_lost_while_another_cannot_be_read(self, watched: Watched):
        watched.first.write_bytes(b"5")
        watched.second.unlink()
        assert watched.later() == b"12"
        watched.second.write_bytes(b"2")
        assert watched.later() == b"52"

    def test_what_is_no_good_to_begin_with_is_an_error(self, tmp_path: Path):
        with pytest.raises(ConfigError, match=r"none: cannot be read: No such file"):
            WatchedFiles([tmp_path / "none"], bytes, log=logging.getLogger("test"))
