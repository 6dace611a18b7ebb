"""When a file is read again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cfmiddleware.process import watchedfile
from cfmiddleware.process.watchedfile import FileWatch, UnfitFileError

#: Seconds ago, long before what file systems round their times to.
LONG_AGO = 3600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "watched"
    write(file, b"one")
    return file


def write(file: Path, content: bytes, ago: float = LONG_AGO) -> None:
    """Write the file in place, with times that say it was so long ago."""
    file.write_bytes(content)
    then = time.time() - ago
    os.utime(file, (then, then))


def test_a_file_is_read_once_and_again_when_it_changes(file: Path):
    watch = FileWatch(file)
    assert [watch.read_if_changed(), watch.read_if_changed()] == [b"one", None]
    write(file, b"three")
    assert [watch.read_if_changed(), watch.read_if_changed()] == [b"three", None]


def test_an_empty_file_is_read_too(file: Path):
    write(file, b"")
    assert FileWatch(file).read_if_changed() == b""


def test_a_file_rewritten_in_place_with_its_size_and_times_is_read_again(file: Path):
    watch = FileWatch(file)
    watch.read_if_changed()
    before = file.stat()
    time.sleep(0.02)  # more than the kernel's tick, which the change time cannot tell apart
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watch.read_if_changed() == b"two"


class TestWhereTimesTellNothing:
    """As on a file system whose times are so coarse that two changes look like one."""

    @pytest.fixture(autouse=True)
    def one_stamp(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watchedfile, "_stamp", lambda status: (1,))

    @pytest.mark.parametrize("ago", [0, 1, -1])
    def test_a_file_that_has_just_changed_is_read_once_more(self, file: Path, ago: float):
        watch = FileWatch(file)
        write(file, b"one", ago)
        assert watch.read_if_changed() == b"one"
        write(file, b"two", ago)
        assert watch.read_if_changed() == b"two"

    def test_a_file_that_has_settled_is_not(self, file: Path):
        watch = FileWatch(file)
        assert watch.read_if_changed() == b"one"
        write(file, b"two")
        assert watch.read_if_changed() is None


def test_a_failure_is_raised_at_every_look_until_it_is_mended(file: Path):
    watch = FileWatch(file)
    file.unlink()
    file.mkdir()
    for _ in range(2):
        with pytest.raises(UnfitFileError, match="it is not a regular file"):
            watch.read_if_changed()
    file.rmdir()
    write(file, b"two")
    assert watch.read_if_changed() == b"two"


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnfitFileError):
        FileWatch(tmp_path / "pipe").read_if_changed()


def test_there_is_an_end_to_what_is_read(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watchedfile, "_MAX_SIZE", 3)
    assert FileWatch(file).read_if_changed() == b"one"
    write(file, b"more")
    with pytest.raises(UnfitFileError, match="it has more than 3 bytes"):
        FileWatch(file).read_if_changed()
