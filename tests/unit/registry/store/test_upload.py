"""Uploads as chains of immutable pieces, without HTTP."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.registry_client import DRIVERS

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectExists, ObjectNotFound
from cfmiddleware.registry.store.upload import DigestMismatch, Piece, State, Upload, UploadUnknown
from cfmiddleware.registry.store.uploadticket import Ticket
from cfmiddleware.storage.memory import MemoryDriver

LIMIT = 10


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path):
    return DRIVERS[request.param](tmp_path)


def begin(driver, limit=LIMIT, algorithm="sha256"):
    """Begin an upload that is kept in the storage."""
    upload = Upload(driver, "app", str(uuid4()), limit, Ticket(int(time.time()), algorithm))
    upload.keep()
    return upload


@pytest.fixture
def upload(driver):
    return begin(driver)


def names(driver, upload):
    return driver.list(f"/docker/registry/v2/repositories/app/_uploads/{upload.uuid}/")


def add(upload, *chunks):
    before = upload.state()
    state = upload.extend(before, chunks)
    upload.install(state, before)
    return state


def test_an_upload_is_there_from_its_beginning(driver, upload):
    assert upload.state() == State()
    assert names(driver, upload) == ["startedat"]


def test_small_bytes_lie_in_the_state_itself_with_their_digest(driver, upload):
    add(upload, b"ab", b"cd")
    assert names(driver, upload) == ["startedat", "state-00000001"]
    assert upload.state() == State(1, (), b"abcd", Digest.of(b"abcd"))


def test_more_bytes_are_a_piece_that_begins_with_the_small_ones(driver, upload):
    add(upload, b"small")
    add(upload, b"larger than that")
    state = upload.state()
    ((name, size),) = state.pieces
    assert (size, state.size, state.inline) == (21, 21, b"")
    assert state.digest == Digest.of(b"smalllarger than that")
    assert name in names(driver, upload)


def test_no_piece_but_the_last_is_smaller_than_the_limit(upload):
    for size in (3, 3, 3, 3, 1, 1, 30, 5, 5, 5, 5):
        add(upload, b"x" * size)
    state = upload.state()
    assert all(piece.size > LIMIT for piece in state.pieces)
    assert (state.size, len(state.inline)) == (64, 5)


def test_the_digest_of_more_than_one_piece_is_unknown_until_it_is_read_back(upload):
    add(upload, b"a" * 20)
    add(upload, b"b" * 20)
    add(upload, b"c")
    state = upload.state()
    assert state.digest is None
    upload.check(state, Digest.of(b"a" * 20 + b"b" * 20 + b"c", "sha512"))
    with pytest.raises(DigestMismatch):
        upload.check(state, Digest.of(b"other"))


def test_what_is_not_installed_has_no_effect_and_can_be_discarded(driver, upload):
    before = add(upload, b"a" * 20)
    lost = upload.extend(before, [b"b" * 20])
    assert upload.state() == before
    upload.discard(lost, before)
    assert len(names(driver, upload)) == 3
    assert upload.state() == before


def test_only_one_of_two_goes_on_from_the_same_state(upload):
    before = upload.state()
    first, second = upload.extend(before, [b"first"]), upload.extend(before, [b"second"])
    upload.install(first, before)
    with pytest.raises(ObjectExists):
        upload.install(second, before)
    assert upload.state() == first


class Killed(BaseException):
    """The end of the process."""


class WatchedDriver(MemoryDriver):
    """A driver that says how many bytes it holds after each change, and dies at one of them."""

    def __init__(self, dies_at=None):
        super().__init__()
        self.held = [0]
        self.left = dies_at

    def _change(self, change, *arguments):
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1
        change(*arguments)
        self.held.append(sum(stat.size for _, stat in self.walk("/")))

    def write(self, path, content):
        self._change(super().write, path, content)

    def create(self, path, content):
        self._change(super().create, path, content)

    def compose(self, path, sources):
        self._change(super().compose, path, sources)

    def delete(self, paths):
        self._change(super().delete, list(paths))


# What the states say besides bytes: a few hundred bytes, of which there are never more than three that count.
HEADS = 1500


@pytest.mark.parametrize(
    "sizes", [[9_000, *[1] * 300], [1000] * 70, [9_999, 1, 1, 1, 1, 9_000, 5, 25_000, 7]]
)
def test_an_upload_never_takes_more_than_four_times_its_bytes(sizes):
    driver = WatchedDriver()
    upload = begin(driver, 10_000)
    content = b""
    for number, size in enumerate(sizes):
        chunk = bytes([number % 251]) * size
        content += chunk
        driver.held.clear()
        add(upload, chunk)
        assert max(driver.held) <= 4 * len(content) + HEADS
    driver.held.clear()
    upload.check(upload.state(), Digest.of(content))
    upload.assemble(upload.state(), "/blob")
    assert max(driver.held) <= 4 * len(content) + HEADS
    assert driver.read("/blob") == content
    upload.end()
    assert [path for path, _ in driver.walk("/")] == ["/blob"]


def test_a_kill_between_any_two_steps_leaves_what_was_acknowledged():
    chunks = [b"aaa", b"bbb", b"ccc", b"d" * 12, b"e", b"f", b"g"]
    for dies_at in range(100):
        driver = WatchedDriver(dies_at)
        acknowledged = -1
        try:
            upload = begin(driver)
            acknowledged = 0
            for chunk in chunks:
                add(upload, chunk)
                acknowledged += 1
        except Killed:
            driver.left = None
        else:
            assert dies_at > 10
            break
        if acknowledged < 0:
            continue
        upload = Upload(driver, "app", upload.uuid, LIMIT)  # of another process
        size = upload.state().size
        done = next(n for n in range(len(chunks) + 1) if len(b"".join(chunks[:n])) == size)
        assert done in (acknowledged, acknowledged + 1)
        for chunk in chunks[done:]:
            add(upload, chunk)
        upload.check(upload.state(), Digest.of(b"".join(chunks)))
    else:
        raise AssertionError("it was killed every time")


def test_one_that_goes_on_from_an_old_state_changes_nothing(driver, upload):
    add(upload, b"a")
    old = upload.state()
    late = upload.extend(old, [b"late"])
    for chunk in (b"b", b"c", b"d"):
        add(upload, chunk)
    with pytest.raises(ObjectExists):
        upload.install(late, old)
    assert upload.state().inline == b"abcd"
    assert upload.first_state(Digest.of(b"a")) is None


def test_a_state_that_others_empty_while_it_is_looked_at_is_looked_for_again(driver, upload):
    add(upload, b"a")
    add(upload, b"b")
    other = Upload(driver, "app", upload.uuid, LIMIT)
    read = driver.read

    def busy(path):
        driver.read = read
        for chunk in (b"c", b"d"):
            add(other, chunk)
        return read(path)

    driver.read = busy
    assert upload.state().inline == b"abcd"


def test_one_that_the_upload_ends_under_leaves_nothing(driver, upload):
    for chunk in (b"a", b"b", b"c"):
        add(upload, chunk)
    before = upload.state()
    late = upload.extend(before, [b"late"])
    Upload(driver, "app", upload.uuid, LIMIT).end()
    with pytest.raises(UploadUnknown):
        upload.install(late, before)
    assert names(driver, upload) == []


def test_two_requests_never_write_the_same_state(upload):
    state = upload.extend(upload.state(), [b"same"])
    assert state.encode() != state.encode()


def test_a_source_of_bytes_that_breaks_leaves_nothing(driver, upload):
    def breaking():
        yield b"x" * 50
        raise ConnectionError

    with pytest.raises(ConnectionError):
        upload.extend(upload.state(), breaking())
    assert names(driver, upload) == ["startedat"]


def test_an_upload_is_assembled_from_what_its_state_names(driver, upload):
    for data in (b"a" * 20, b"b" * 20, b"tail"):
        add(upload, data)
    upload.assemble(upload.state(), "/docker/result")
    assert driver.read("/docker/result") == b"a" * 20 + b"b" * 20 + b"tail"


def test_an_upload_that_ended_leaves_nothing(driver, upload):
    add(upload, b"a" * 20)
    add(upload, b"tail")
    upload.end()
    assert names(driver, upload) == []
    with pytest.raises(UploadUnknown):
        upload.state()


def test_a_put_that_another_was_faster_than_leaves_nothing(driver, upload):
    add(upload, b"a" * 20)
    add(upload, b"tail")
    slower = Upload(driver, "app", upload.uuid, LIMIT)
    state = slower.state()
    upload.end()
    with pytest.raises(ObjectNotFound):
        slower.assemble(state, "/docker/result")
    assert names(driver, upload) == []


def test_a_piece_that_a_crash_left_behind_goes_with_the_upload(driver, upload):
    upload.extend(upload.state(), [b"x" * 20])
    Upload(driver, "app", upload.uuid, LIMIT).end()
    assert names(driver, upload) == []


class Composing:
    """A driver that takes no more than three sources, as S3 takes no more than 10,000 parts."""

    def __init__(self, driver):
        self._driver = driver

    def __getattr__(self, name):
        return getattr(self._driver, name)

    def compose(self, path, sources):
        assert len(sources) <= 3
        self._driver.compose(path, sources)


@pytest.mark.parametrize("more", [b"", b"end"])
@pytest.mark.parametrize("pieces", [3, 4, 11])
def test_more_pieces_than_the_storage_joins_at_once_are_joined_in_steps(driver, monkeypatch, pieces, more):
    monkeypatch.setattr("cfmiddleware.registry.store.upload._MOST_SOURCES", 3)
    upload = begin(Composing(driver))
    sent = [bytes([number]) * (LIMIT + 1 + number) for number in range(pieces)] + [more]
    for content in sent:
        add(upload, content)

    upload.assemble(upload.state(), "/blob")

    assert driver.read("/blob") == b"".join(sent)
    upload.end()
    assert names(driver, upload) == []


def test_what_was_joined_in_steps_goes_when_the_upload_ended_meanwhile(driver, monkeypatch):
    monkeypatch.setattr("cfmiddleware.registry.store.upload._MOST_SOURCES", 3)
    upload = begin(driver)
    for _ in range(7):
        add(upload, b"x" * (LIMIT + 1))
    state = upload.state()
    driver.delete([f"/docker/registry/v2/repositories/app/_uploads/{upload.uuid}/{state.pieces[-1].name}"])
    left = names(driver, upload)

    with pytest.raises(ObjectNotFound):
        upload.assemble(state, "/blob")

    assert names(driver, upload) == left


def test_a_state_written_after_the_end_brings_no_upload_back(upload):
    late = upload.extend(upload.state(), [b"late"])
    upload.end()
    with pytest.raises(UploadUnknown):
        upload.install(late, State())
    with pytest.raises(UploadUnknown):
        upload.state()


def test_the_algorithm_is_remembered(driver):
    upload = begin(driver, algorithm="sha512")
    add(upload, b"a" * 20)
    assert upload.state().digest == Digest.of(b"a" * 20, "sha512")


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b"[]\n", b'{"pieces": [], "size": 0, "digest": null}', b"\xff\n"]
)
def test_a_state_that_is_not_whole_is_not_taken_for_one(content):
    with pytest.raises(ValueError, match="state"):
        State.decode(1, "sha256", content)


@given(
    pieces=st.lists(st.builds(Piece, st.text(max_size=5), st.integers(0, 2**50)), max_size=5).map(tuple),
    inline=st.binary(max_size=50),
    digest=st.none() | st.builds(Digest.of, st.binary(max_size=3)),
)
def test_a_state_is_read_as_it_was_written(pieces, inline, digest):
    state = State(3, pieces, inline, digest, follows_bytes=bool(inline))
    assert State.decode(3, "sha256", state.encode()) == state
