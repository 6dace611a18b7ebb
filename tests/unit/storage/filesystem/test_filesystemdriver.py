"""What the filesystem driver promises beyond the contract."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cfmiddleware.errors import (
    ConfigError,
    ObjectNotFound,
    StorageError,
    StorageFull,
    StorageReadOnly,
    StorageUnavailable,
)
from cfmiddleware.storage.filesystem import durable
from cfmiddleware.storage.filesystem.durable import TEMPORARY
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver

BLOB = "/docker/registry/v2/blobs/sha256/ab/" + "ab" * 32 + "/data"


@pytest.fixture
def driver(tmp_path):
    return FilesystemDriver(tmp_path)


def unfinished(root):
    directory = Path(root) / TEMPORARY
    return sorted(directory.iterdir()) if directory.exists() else []


def test_objects_lie_where_distribution_looks_for_them(driver, tmp_path):
    driver.write(BLOB, b"content")

    assert (tmp_path / BLOB[1:]).read_bytes() == b"content"
    assert driver.key(BLOB) == BLOB[1:]


def test_what_distribution_wrote_is_found(driver, tmp_path):
    file = tmp_path / BLOB[1:]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"content")

    assert driver.read(BLOB) == b"content"
    assert driver.list("/docker/registry/v2/blobs/sha256/") == ["ab/"]


def test_files_are_as_readable_as_the_umask_says(driver, tmp_path):
    before = os.umask(0o027)
    try:
        driver.write("/a/b", b"content")
    finally:
        os.umask(before)

    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750


def test_building_a_driver_makes_nothing(tmp_path):
    FilesystemDriver(tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_checking_makes_the_directory_and_leaves_nothing_in_it(tmp_path):
    driver = FilesystemDriver(tmp_path / "new")
    driver.check()

    assert driver.list("/") == []
    assert unfinished(tmp_path / "new") == []


def test_a_directory_that_cannot_be_used_is_one_line_that_names_the_option(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"^storage\.filesystem\.rootdirectory: .*: Not a directory$"):
        FilesystemDriver(tmp_path / "file" / "below").check()


def test_deleting_takes_empty_directories_along_but_never_the_root(driver, tmp_path):
    driver.write("/a/b/c/d", b"")
    driver.write("/a/x", b"")

    driver.delete(["/a/b/c/d"])
    assert os.listdir(tmp_path / "a") == ["x"]
    driver.delete(["/a/x"])
    assert os.listdir(tmp_path) == [TEMPORARY]


def test_directories_without_a_file_are_not_there(driver, tmp_path):
    (tmp_path / "empty/deeper").mkdir(parents=True)
    driver.write("/full/a/b/c", b"")

    assert driver.list("/") == ["full/"]
    assert list(driver.walk("/empty/")) == []
    driver.delete_prefix("/empty/")
    assert not (tmp_path / "empty").exists()


def test_an_empty_directory_gives_way_to_an_object(driver, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    driver.write("/a", b"written")
    driver.create("/b", b"created")

    assert (driver.read("/a"), driver.read("/b")) == (b"written", b"created")


def test_an_object_and_a_directory_cannot_have_one_name(driver, tmp_path):
    driver.write("/a/b", b"")

    for attempt in (driver.write, driver.create):
        with pytest.raises(StorageUnavailable, match=r"^cannot write /a: there is a directory of that name$"):
            attempt("/a", b"")
        with pytest.raises(StorageUnavailable, match=r"^cannot write /a/b/c: Not a directory$"):
            attempt("/a/b/c", b"")
    assert unfinished(tmp_path) == []


def test_a_name_that_is_too_long_is_no_object(driver):
    path = "/" + "x" * 300
    with pytest.raises(ObjectNotFound):
        driver.read(path)
    with pytest.raises(StorageUnavailable, match=r"File name too long$"):
        driver.write(path, b"")
    driver.delete([path])


def test_unfinished_files_are_no_objects(driver):
    with driver.writer("/a") as writer:
        writer.write(b"content")
        assert list(driver.walk("/")) == []
        assert driver.list("/") == []
        for path in (f"/{TEMPORARY}", f"/{TEMPORARY}/x"):
            with pytest.raises(StorageError):
                driver.write(path, b"")
        driver.delete_prefix("/")
        writer.commit()

    assert driver.read("/a") == b"content"


def test_composing_of_one_object_copies_no_bytes_and_shares_its_file(driver, tmp_path):
    driver.write("/piece", b"content")
    driver.write("/blob", b"replaced")

    driver.compose("/blob", ["/piece"])

    assert (tmp_path / "blob").stat().st_ino == (tmp_path / "piece").stat().st_ino
    driver.compose("/blob", ["/piece"])
    driver.compose("/blob", ["/blob"])
    assert driver.read("/blob") == b"content"
    assert unfinished(tmp_path) == []


def test_a_composed_object_is_as_new_as_its_composition(driver, tmp_path):
    driver.write("/piece", b"content")
    os.utime(tmp_path / "piece", (1000, 1000))

    driver.compose("/blob", ["/piece"])

    assert driver.stat("/blob").modified > time.time() - 60


def test_where_files_cannot_be_linked_composing_copies(driver, tmp_path, monkeypatch):
    def refuse(existing, new):
        raise PermissionError(1, "Operation not permitted", existing, None, new)

    driver.write("/piece", b"content")
    monkeypatch.setattr(os, "link", refuse)

    driver.compose("/blob", ["/piece"])

    assert driver.read("/blob") == b"content"
    assert (tmp_path / "blob").stat().st_nlink == 1
    with pytest.raises(ConfigError, match="cannot link files in"):
        driver.check()


def test_where_the_kernel_cannot_copy_between_files_composing_does(driver, monkeypatch):
    driver.write("/a", b"one, ")
    driver.write("/b", b"two")
    monkeypatch.delattr(os, "copy_file_range")

    driver.compose("/c", ["/a", "/b"])

    assert driver.read("/c") == b"one, two"


def test_a_reader_reads_to_the_end_of_what_was_deleted(driver):
    driver.write("/a", bytes(1_000_000))
    reader = driver.open("/a")
    first = next(reader)
    driver.delete(["/a"])

    assert len(first) + len(b"".join(reader)) == 1_000_000
    reader.close()


@pytest.mark.parametrize("method", ["write", "create"])
def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_answer(
    driver, tmp_path, monkeypatch, method
):
    done = []
    fsync, names = os.fsync, {"write": "replace", "create": "link"}
    place = getattr(os, names[method])

    def spy_on_fsync(descriptor):
        fsync(descriptor)
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).relative_to(tmp_path)}")

    def spy_on_place(old, new):
        place(old, new)
        done.append(f"name {Path(new).relative_to(tmp_path)}")

    monkeypatch.setattr(os, "fsync", spy_on_fsync)
    monkeypatch.setattr(os, names[method], spy_on_place)

    getattr(driver, method)("/a/b/c", b"content")

    assert done.pop(0).startswith(f"sync {TEMPORARY}/")
    # Two new directories, each in the one above it, then the name, then the directory that holds it.
    assert done == ["sync .", "sync a", "name a/b/c", "sync a/b"]


_CREATES = """
import os, sys
from cfmiddleware.errors import ObjectExists
from cfmiddleware.storage.filesystem import FilesystemDriver
driver = FilesystemDriver(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    try:
        driver.create(f"/race/{number}", b"%d" % os.getpid())
        print(number)
    except ObjectExists:
        pass
"""


def test_of_many_processes_that_create_an_object_one_wins(driver, tmp_path):
    command = [sys.executable, "-c", _CREATES, str(tmp_path)]
    with contextlib.ExitStack() as all_of_them:
        processes = [
            all_of_them.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(3)
        ]
        for process in processes:
            all_of_them.callback(process.kill)
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        won = {
            process.pid: list(map(int, process.communicate(timeout=60)[0].split())) for process in processes
        }

    assert sorted(number for numbers in won.values() for number in numbers) == list(range(40))
    for pid, numbers in won.items():
        assert all(driver.read(f"/race/{number}") == b"%d" % pid for number in numbers)


_WRITES_AND_WAITS = """
import sys
from cfmiddleware.storage.filesystem import FilesystemDriver
writer = FilesystemDriver(sys.argv[1]).writer("/a/b")
writer.write(bytes(100_000))
print("written", flush=True)
sys.stdin.read()
"""


def test_a_process_that_dies_before_the_commit_leaves_nothing_to_see(driver, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", _WRITES_AND_WAITS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)

    assert list(driver.walk("/")) == []
    assert driver.list("/") == []
    assert len(unfinished(tmp_path)) == 1


def test_what_dead_processes_left_is_removed_after_a_day(tmp_path, monkeypatch):
    FilesystemDriver(tmp_path).check()
    left = tmp_path / TEMPORARY / "1-dead"
    left.write_bytes(b"")

    FilesystemDriver(tmp_path).check()
    assert unfinished(tmp_path) == [left]

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 90_000)
    FilesystemDriver(tmp_path).check()
    assert unfinished(tmp_path) == []


_FILLS_THE_DISK = """
import resource, sys
from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.storage.filesystem import FilesystemDriver
driver = FilesystemDriver(sys.argv[1])
driver.write("/small", bytes(40_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
def stream():
    with driver.writer("/a") as writer:
        for _ in range(100):
            writer.write(bytes(1000))
for attempt in (
    stream,
    lambda: driver.writer("/a").write(bytes(100_000)),
    lambda: driver.write("/a", bytes(100_000)),
    lambda: driver.create("/a", bytes(100_000)),
    lambda: driver.compose("/a", ["/small", "/small"]),
):
    try:
        attempt()
    except StorageUnavailable as error:
        print(error)
"""


def test_a_full_disk_is_one_clear_line_and_leaves_nothing_behind(driver, tmp_path):
    # A limit on the size of files stands for the full disk: both fail in the middle of a write.
    said = subprocess.run(
        [sys.executable, "-c", _FILLS_THE_DISK, str(tmp_path)], check=True, capture_output=True, text=True
    ).stdout

    assert said.splitlines() == ["cannot write /a: File too large"] * 5
    assert driver.list("/") == ["small"]
    assert unfinished(tmp_path) == []


NOBODY = 65534


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of a user who may not do everything: root becomes nobody for as long as a test runs."""
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() != 0:
            yield Path(directory)
            return
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(directory)
        finally:
            os.seteuid(0)


def test_what_may_not_be_read_or_written_is_unavailable_and_not_missing(unprivileged):
    driver = FilesystemDriver(unprivileged)
    driver.write("/a/b", b"content")
    (unprivileged / "a/b").chmod(0)
    (unprivileged / "a").chmod(0o500)
    try:
        with pytest.raises(StorageUnavailable, match=r"^cannot read /a/b: Permission denied$"):
            driver.read("/a/b")
        with pytest.raises(StorageUnavailable, match=r"^cannot delete /a/b: Permission denied$"):
            driver.delete(["/a/b"])
        with pytest.raises(StorageUnavailable, match=r"^cannot write /a/c: Permission denied$"):
            driver.write("/a/c", b"")
    finally:
        (unprivileged / "a").chmod(0o700)
    assert unfinished(unprivileged) == []


def test_a_write_survives_deletes_that_take_its_directory_away(driver, tmp_path):
    done = threading.Event()

    def delete():
        while not done.is_set():
            driver.delete(["/a/b/c/other"])
            driver.delete_prefix("/a/b/c/d/")

    def write(number):
        driver.create(f"/a/b/c/{number}", b"created")
        driver.write(f"/a/b/{number}/x", b"written")
        driver.delete([f"/a/b/c/{number}", f"/a/b/{number}/x"])

    with ThreadPoolExecutor(3) as pool:
        deleting = pool.submit(delete)
        try:
            for _ in pool.map(write, range(60)):
                pass
        finally:
            done.set()
        deleting.result()

    assert unfinished(tmp_path) == []
    assert list(driver.walk("/")) == []


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, StorageFull, "make room on the disk"),
        (errno.EDQUOT, StorageFull, "make room, or raise the quota"),
        (errno.EROFS, StorageReadOnly, "mount the disk for writing"),
        (errno.EIO, StorageUnavailable, ""),
    ],
)
@pytest.mark.parametrize("step", ["write_all", "rename"])
def test_a_disk_that_takes_nothing_is_named_with_what_helps(
    tmp_path, monkeypatch, number, kind, advice, step
):
    driver = FilesystemDriver(tmp_path)

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(durable, step, fail)
    with pytest.raises(kind) as raised:
        driver.write("/a", b"content")
    assert type(raised.value) is kind
    assert str(raised.value).endswith(f"{os.strerror(number)}; {advice}" if advice else os.strerror(number))
