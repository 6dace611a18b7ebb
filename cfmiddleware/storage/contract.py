"""What every storage driver promises, as tests that the author of a driver inherits.

This module needs pytest and hypothesis (``cfmiddleware[test]``); nothing else of the package imports it. A
test file gives the class a fixture ``driver``, which returns a new and empty driver::

    from cfmiddleware.storage.contract import DriverContract

    class TestMyDriver(DriverContract):
        @pytest.fixture
        def driver(self, tmp_path):
            return MyDriver(tmp_path)
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cfmiddleware.errors import ObjectExists, ObjectNotFound, StorageError

from .driver import LARGEST_CHUNK, Driver

_few_examples = settings(
    max_examples=25,
    deadline=None,
    # One driver serves all examples of a test, and each driver's class inherits the same tests.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)

# Around 1000, 2000 and 3000 bytes, where a driver under test may change its ways (parts, copies): give it
# such limits.
_sizes = st.one_of(
    st.integers(0, 20), st.integers(0, 7000), st.sampled_from([999, 1000, 1001, 2000, 3000, 4000, 6000])
)


def _content_of(size: int, seed: int = 0) -> bytes:
    """Return bytes of which no two stretches look alike."""
    return b"".join(b"%d:%d;" % (seed, number) for number in range(size // 4 + 1))[:size]


class DriverContract:
    """The tests. Each takes the fixture ``driver``, which the inheriting class defines."""

    #: Whether ``/a`` and ``/a/b`` can be objects at the same time, as they can in a bucket. A class for a
    #: driver that keeps directories sets False.
    object_and_prefix_may_share_a_name = True

    @pytest.fixture
    def driver(self) -> Driver:
        """Return a new and empty driver."""
        raise NotImplementedError("define the fixture 'driver'")

    def test_an_object_that_was_written_is_read_back(self, driver: Driver) -> None:
        driver.write("/a/b", b"content")

        assert driver.read("/a/b") == b"content"
        assert driver.stat("/a/b").size == 7

    def test_it_works_after_it_was_made_ready_as_before(self, driver: Driver) -> None:
        driver.preload()
        driver.prepare()
        driver.write("/a", b"content")

        assert driver.read("/a") == b"content"

    def test_an_object_may_be_empty(self, driver: Driver) -> None:
        driver.write("/written", b"")
        driver.create("/created", b"")
        driver.compose("/composed", [])

        for path in ("/written", "/created", "/composed"):
            assert driver.read(path) == b""
            assert list(driver.open(path)) == []
            assert driver.stat(path).size == 0

    def test_a_reader_gives_no_chunk_that_is_large(self, driver: Driver) -> None:
        content = _content_of(3 * LARGEST_CHUNK + 1)
        driver.write("/a", content)
        with contextlib.closing(driver.open("/a", 1)) as reader:
            chunks = list(reader)

        assert b"".join(chunks) == content[1:]
        assert max(map(len, chunks)) <= LARGEST_CHUNK

    def test_writing_again_replaces(self, driver: Driver) -> None:
        driver.write("/a", b"first and longer")
        driver.write("/a", b"second")

        assert driver.read("/a") == b"second"

    def test_the_time_of_an_object_is_when_it_was_written(self, driver: Driver) -> None:
        driver.write("/old", b"")
        before = driver.stat("/old").modified
        driver.write("/new", b"")

        assert driver.stat("/new").modified >= before > 1_600_000_000

    @pytest.mark.parametrize("size", [10, 5000])
    def test_nothing_is_seen_of_an_object_before_it_is_committed(self, driver: Driver, size: int) -> None:
        with driver.writer("/a/b") as writer:
            writer.write(_content_of(size))
            with pytest.raises(ObjectNotFound):
                driver.stat("/a/b")
            assert driver.list("/") == []
            writer.commit()

        assert driver.read("/a/b") == _content_of(size)

    @pytest.mark.parametrize("size", [10, 5000])
    def test_an_object_that_is_not_committed_never_appears(self, driver: Driver, size: int) -> None:
        driver.write("/a", b"before")
        with driver.writer("/a") as writer:
            writer.write(_content_of(size))
        with driver.writer("/b") as writer:
            writer.write(_content_of(size))

        assert driver.read("/a") == b"before"
        assert driver.list("/") == ["a"]

    def test_a_writer_counts_what_it_took(self, driver: Driver) -> None:
        with driver.writer("/a") as writer:
            writer.write(b"123")
            writer.write(b"")
            writer.write(b"4567")

            assert writer.size == 7

    def test_a_writer_is_used_once(self, driver: Driver) -> None:
        with driver.writer("/a") as writer:
            writer.write(b"content")
            writer.commit()
            writer.abort()
            with pytest.raises(ValueError, match="before"):
                writer.write(b"more")
            with pytest.raises(ValueError, match="before"):
                writer.commit()

        assert driver.read("/a") == b"content"

    @_few_examples
    @given(chunks=st.lists(_sizes.map(_content_of), max_size=5))
    def test_however_content_is_split_into_writes_the_object_is_the_same(
        self, driver: Driver, chunks: list[bytes]
    ) -> None:
        with driver.writer("/split") as writer:
            for chunk in chunks:
                writer.write(chunk)
            writer.commit()

        assert driver.read("/split") == b"".join(chunks)

    @_few_examples
    @given(size=_sizes, offset=st.integers(0, 8000), length=st.none() | st.integers(0, 8000))
    def test_any_range_can_be_read(self, driver: Driver, size: int, offset: int, length: int | None) -> None:
        driver.write("/ranged", _content_of(size))

        reader = driver.open("/ranged", offset, length)
        found = b"".join(reader)
        reader.close()

        end = None if length is None else offset + length
        assert found == _content_of(size)[offset:end]
        assert reader.size == len(found)

    @pytest.mark.parametrize("arguments", [(-1, None), (0, -1)])
    def test_a_range_is_not_negative(self, driver: Driver, arguments: tuple[int, int | None]) -> None:
        driver.write("/a", b"content")
        with pytest.raises(ValueError, match="negative"):
            driver.open("/a", *arguments)

    @pytest.mark.parametrize("path", ["/nothing", "/a", "/a/b/c"])
    @pytest.mark.parametrize("method", ["stat", "read", "open"])
    def test_what_is_not_there_is_not_found_at_once(self, driver: Driver, method: str, path: str) -> None:
        driver.write("/a/b", b"content")

        with pytest.raises(ObjectNotFound):
            getattr(driver, method)(path)

    @pytest.mark.parametrize("length", [None, 0, 5])
    def test_no_range_of_what_is_not_there_can_be_opened(self, driver: Driver, length: int | None) -> None:
        with pytest.raises(ObjectNotFound):
            driver.open("/nothing", 3, length)

    def test_a_reader_can_be_closed_early_and_twice_and_gives_back_its_descriptor(
        self, driver: Driver
    ) -> None:
        driver.write("/large", bytes(3_000_000))
        driver.open("/large").close()
        before = len(os.listdir("/proc/self/fd"))
        readers = [driver.open("/large") for _ in range(20)]
        for reader in readers:
            next(reader)
            reader.close()
            reader.close()
            assert next(reader, None) is None

        # The S3 server's own sockets are in this process too, and it may notice late that they were closed.
        deadline = time.monotonic() + 5
        while len(os.listdir("/proc/self/fd")) >= before + 10 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(os.listdir("/proc/self/fd")) < before + 10

    def test_creating_refuses_and_spares_what_is_there(self, driver: Driver) -> None:
        driver.create("/a", b"first")
        with pytest.raises(ObjectExists):
            driver.create("/a", b"second")
        with pytest.raises(ObjectExists):
            driver.create("/a", b"first")

        assert driver.read("/a") == b"first"

    def test_of_many_that_create_an_object_one_wins(self, driver: Driver) -> None:
        start = threading.Barrier(6)

        def race(content: bytes) -> bytes | None:
            start.wait()
            try:
                driver.create(path, content)
            except ObjectExists:
                return None
            return content

        with ThreadPoolExecutor(6) as pool:
            for number in range(8):
                path = f"/race/{number}"
                winners = [won for won in pool.map(race, [b"%d" % n for n in range(6)]) if won is not None]

                assert winners == [driver.read(path)]

    def test_names_are_sorted_by_name_and_not_by_key(self, driver: Driver) -> None:
        for tag in ("v10", "v1", "v1.0", "v1-alpine"):
            driver.write(f"/tags/{tag}/current/link", b"")
        for path in ("/a", "/a-b", "/c/b", "/c-d"):
            driver.write(f"/mixed{path}", b"")

        assert driver.list("/tags/") == ["v1/", "v1-alpine/", "v1.0/", "v10/"]
        assert driver.list("/mixed/") == ["a", "a-b", "c/", "c-d"]
        assert driver.list("/") == ["mixed/", "tags/"]

    def test_an_object_and_a_prefix_have_one_name_or_are_refused(self, driver: Driver) -> None:
        driver.write("/a", b"/a")
        driver.write("/a-b", b"/a-b")
        if self.object_and_prefix_may_share_a_name:
            driver.write("/a/b", b"/a/b")
            assert driver.list("/") == ["a", "a/", "a-b"]
        else:
            driver.write("/dir/object", b"")
            for path in ("/a/b", "/a/b/c", "/dir"):
                with pytest.raises(StorageError):
                    driver.write(path, b"")
                with pytest.raises(StorageError):
                    driver.create(path, b"")
            assert sorted(path for path, _ in driver.walk("/")) == ["/a", "/a-b", "/dir/object"]
            assert driver.list("/") == ["a", "a-b", "dir/"]
        assert driver.read("/a") == b"/a"

    def test_below_nothing_is_nothing(self, driver: Driver) -> None:
        driver.write("/a", b"")

        assert driver.list("/b/") == []
        assert driver.list("/a/") == []
        assert list(driver.walk("/b/")) == []
        driver.delete_prefix("/b/")

    def test_walking_finds_every_object_below_and_no_other(self, driver: Driver) -> None:
        for path in ("/x/1", "/x/y/2", "/x/y/z/3", "/xx/4", "/x-y"):
            driver.write(path, path.encode())

        found = {path: stat.size for path, stat in driver.walk("/x/")}

        assert found == {"/x/1": 4, "/x/y/2": 6, "/x/y/z/3": 8}
        assert len(list(driver.walk("/"))) == 5

    def test_deleting_takes_what_is_there_and_forgives_what_is_not(self, driver: Driver) -> None:
        for path in ("/a", "/b/c", "/b/d"):
            driver.write(path, b"")

        driver.delete(["/b/c"])
        assert driver.list("/b/") == ["d"]
        driver.delete(iter(["/a", "/b", "/b/d", "/b/d", "/nothing", "/a/below"]))
        assert driver.list("/") == []
        driver.delete([])

    def test_deleting_a_prefix_spares_its_neighbours(self, driver: Driver) -> None:
        for path in ("/a/1", "/a/b/2", "/ab", "/a-b/3"):
            driver.write(path, b"")

        driver.delete_prefix("/a/")

        assert sorted(path for path, _ in driver.walk("/")) == ["/a-b/3", "/ab"]

    @_few_examples
    @given(pieces=st.lists(_sizes, max_size=6), target=st.sampled_from(["/composed", "/piece/0"]))
    def test_composing_joins_any_objects_in_their_order(
        self, driver: Driver, pieces: list[int], target: str
    ) -> None:
        paths = [f"/piece/{number}" for number in range(len(pieces))]
        for number, path in enumerate(paths):
            driver.write(path, _content_of(pieces[number], number))

        driver.compose(target, paths)

        assert driver.read(target) == b"".join(
            _content_of(size, number) for number, size in enumerate(pieces)
        )
        assert all(driver.stat(path).size == size for path, size in zip(paths[1:], pieces[1:], strict=True))

    @pytest.mark.parametrize("size", [10, 5000])
    def test_an_object_may_be_composed_of_one_several_times(self, driver: Driver, size: int) -> None:
        driver.write("/a", _content_of(size))

        driver.compose("/b", ["/a", "/a", "/a"])

        assert driver.read("/b") == _content_of(size) * 3

    @pytest.mark.parametrize(
        "sources", [["/a"], ["/missing"], ["/a", "/missing"], ["/missing", "/a"], ["/dir"]]
    )
    def test_composing_with_a_source_that_is_missing_makes_nothing(
        self, driver: Driver, sources: list[str]
    ) -> None:
        driver.write("/dir/object", b"")
        if "/missing" in sources:
            driver.write("/a", _content_of(4000))

        with pytest.raises(ObjectNotFound):
            driver.compose("/new/object", sources)

        with pytest.raises(ObjectNotFound):
            driver.stat("/new/object")
        assert driver.list("/new/") == []

    def test_a_composed_object_does_not_change_with_its_sources(self, driver: Driver) -> None:
        driver.write("/source", b"as it was")
        driver.compose("/composed", ["/source"])
        driver.compose("/composed", ["/source"])

        driver.write("/source", b"different")
        assert driver.read("/composed") == b"as it was"
        driver.write("/composed", b"new")
        assert driver.read("/source") == b"different"
        driver.delete(["/source"])
        assert driver.read("/composed") == b"new"

    def test_names_may_hold_any_character(self, driver: Driver) -> None:
        paths = [
            "/a b/ü+ß",
            "/a b/%25%2F",
            "/a b/x&y=z?#",
            "/a b/'\"<>*|",
            "/a b/日本",
            "/a b/.hidden",
            "/a b/...",
        ]
        for path in paths:
            driver.write(path, path.encode())
            driver.compose(path + ".copy", [path])

        assert driver.list("/a b/") == sorted(
            [path[5:] for path in paths] + [path[5:] + ".copy" for path in paths]
        )
        assert {path for path, _ in driver.walk("/")} == {*paths, *(path + ".copy" for path in paths)}
        assert all(driver.read(path + ".copy") == path.encode() for path in paths)
        driver.delete(paths)
        assert len(driver.list("/a b/")) == len(paths)

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "a",
            "/",
            "/a/",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/./a",
            "/a\0b",
            "/a\nb",
            "/a\x7f",
            "/\udcff",
            "../a",
        ],
    )
    def test_a_path_that_could_lead_elsewhere_is_refused(self, driver: Driver, path: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: driver.key(path),
            lambda: driver.stat(path),
            lambda: driver.open(path),
            lambda: driver.read(path),
            lambda: driver.write(path, b""),
            lambda: driver.create(path, b""),
            lambda: driver.writer(path),
            lambda: driver.compose(path, []),
            lambda: driver.compose("/target", [path]),
            lambda: driver.delete([path]),
            lambda: driver.list(path + "/" if path else "a"),
            lambda: driver.delete_prefix(path + "/" if path else "a"),
            lambda: list(driver.walk(path + "/" if path else "a")),
        ]
        for call in calls if path != "" else calls[:-3]:
            with pytest.raises(StorageError):
                call()
            with pytest.raises(ValueError, match="is not a"):
                call()
        assert list(driver.walk("/")) == []

    @pytest.mark.parametrize("prefix", ["", "a/", "/a", "//", "/../"])
    def test_a_prefix_begins_and_ends_in_a_slash(self, driver: Driver, prefix: str) -> None:
        with pytest.raises(ValueError, match="is not a"):
            driver.list(prefix)

    def test_a_driver_that_can_be_used_says_nothing(self, driver: Driver) -> None:
        driver.check()

        assert driver.list("/") == []

    def test_keys_have_no_slash_in_front(self, driver: Driver) -> None:
        assert not driver.key("/a/b").startswith("/")
        assert driver.key("/a/b").endswith("a/b")
