"""Which key signs, how a new one takes over, and what keeps a bad one from it."""

from __future__ import annotations

import logging
import os
import shutil
import threading

import pytest
from lab.clock import Clock
from lab.signing_material import ec_pem, in_a_fork, needs_cryptography, pkcs1, rsa_key, rsa_pem

from cfmiddleware.errors import ConfigError
from cfmiddleware.process import watchedfile
from cfmiddleware.signing.keyfiles import KeyFile, id_of
from cfmiddleware.signing.keyring import KeyRing
from cfmiddleware.signing.keywatch import KeyWatch
from cfmiddleware.signing.pem import armour

BROKEN = "-----BEGIN PRIVATE KEY-----\nMIIE\n"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(caplog):
    """Return what the log said since this was last called."""
    caplog.set_level(logging.INFO, "cfmiddleware.signing")

    def lines():
        found = [(record.levelname, record.getMessage()) for record in caplog.records]
        secrets = [rsa_pem(number)[900:920] for number in (1, 2, 3)]
        assert not any(secret in message for _, message in found for secret in secrets)
        caplog.clear()
        return found

    return lines


def after_a_while(ring, clock):
    """Return the key pair that signs when the files are looked at the next time."""
    clock.now += 1.0
    pair = ring.current()
    return pair.id, pair.key.fingerprint


def key(id, number):
    return id, rsa_key(number).fingerprint


def replace(path, text):
    """Put *text* at *path* as a careful program does: in one step."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)


def link(path, target):
    new = path.with_name(path.name + ".new")
    new.symlink_to(target)
    new.rename(path)


def error_of(*options):
    with pytest.raises(ConfigError) as caught:
        KeyRing.from_options(*map(str, options))
    message = str(caught.value)
    assert "\n" not in message
    return message


# PEM text


def test_pem_text_signs_under_the_given_id():
    pair = KeyRing.from_options(rsa_pem(), "K1").current()
    assert (pair.id, pair.key.fingerprint) == key("K1", 1)


def test_pem_text_without_an_id_is_an_error():
    assert error_of(rsa_pem()).startswith("keypairid: ")


def test_broken_pem_text_is_an_error_that_names_the_option():
    assert error_of(BROKEN, "K1").startswith("privatekey: is broken")


@pytest.mark.parametrize("id", ["", "K 1", "K1&a=b", "K1\n", "é", "../K1"])
def test_an_id_that_does_not_belong_in_a_url_is_an_error(id):
    assert error_of(rsa_pem(), id).startswith("keypairid: ")


def test_a_key_under_the_wrong_option_is_not_shown():
    body = "".join(rsa_pem().splitlines()[1:-1])
    for options in [("K1", rsa_pem()), (body, "K1"), ("\n".join(rsa_pem().splitlines()[1:-1]), "K1")]:
        with pytest.raises(ConfigError) as caught:
            KeyRing.from_options(*options)
        assert body[40:60] not in str(caught.value)


# One file


def test_a_file_signs_under_the_given_id(tmp_path):
    file = tmp_path / "cloudfront.pem"
    file.write_text(rsa_pem())
    assert KeyRing.from_options(str(file), "K1").current().id == "K1"


def test_the_given_id_counts_more_than_the_files_name(tmp_path):
    file = tmp_path / "pk-K1.pem"
    file.write_text(rsa_pem())
    assert KeyRing.from_options(str(file), "K9").current().id == "K9"


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("pk-K2JCJMDEHXQW5F.pem", "K2JCJMDEHXQW5F"),
        ("K2JCJMDEHXQW5F.pem", "K2JCJMDEHXQW5F"),
        ("pk-abc9.pem", "abc9"),
        ("pk-.pem", None),
        ("pk-K_1.pem", None),
        ("cloudfront.pem", None),
        ("2K.pem", None),
        ("K2.pem.new", None),
        (".pk-K2.pem", None),
        ("K2.PEM", None),
        ("K2.pem\n", None),
    ],
)
def test_a_files_name_says_the_id(name, id):
    assert id_of(name) == id


def test_a_file_whose_name_says_no_id_is_an_error_that_says_what_to_do(tmp_path):
    file = tmp_path / "cloudfront.pem"
    file.write_text(rsa_pem())
    assert error_of(file).startswith(f"{file}: ")
    assert "keypairid" in error_of(file)
    assert "pk-<id>.pem" in error_of(file)


@pytest.mark.parametrize("path", ["", "\0", "/nowhere/pk-K1.pem", "x" * 300])
def test_a_path_that_leads_nowhere_is_an_error(path):
    assert error_of(path)


def test_what_is_no_regular_file_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pk-K1.pem")
    assert "not a regular file" in error_of(tmp_path / "pk-K1.pem")


def test_a_file_without_a_good_key_is_an_error(tmp_path):
    file = tmp_path / "pk-K1.pem"
    file.write_text(BROKEN)
    assert error_of(file).startswith(f"{file}: is broken")


def test_another_key_under_the_given_id_is_refused_and_logged_once(tmp_path, clock, log):
    file = tmp_path / "cloudfront.pem"
    file.write_text(rsa_pem(1))
    ring = KeyRing.from_options(str(file), "K1", clock=clock)
    replace(file, rsa_pem(2))
    assert after_a_while(ring, clock) == key("K1", 1)
    ((level, message),) = log()
    assert level == "ERROR"
    assert str(file) in message
    assert "K1" in message
    assert "another key" in message
    assert after_a_while(ring, clock) == key("K1", 1)
    assert log() == []


def test_another_key_in_a_file_named_after_its_id_is_refused(tmp_path, clock, log):
    file = tmp_path / "pk-K1.pem"
    file.write_text(rsa_pem(1))
    ring = KeyRing.from_options(str(file), clock=clock)
    replace(file, rsa_pem(2))
    assert after_a_while(ring, clock) == key("K1", 1)
    assert len(log()) == 1


def test_the_same_key_in_another_encoding_is_nothing_to_speak_of(tmp_path, clock, log):
    file = tmp_path / "pk-K1.pem"
    file.write_text(rsa_pem())
    ring = KeyRing.from_options(str(file), clock=clock)
    replace(file, "The same key:\r\n" + rsa_pem().replace("\n", "\r\n"))
    assert after_a_while(ring, clock) == key("K1", 1)
    assert log() == []


@pytest.mark.parametrize("spoil", ["empty", "half", "remove", "folder", "small"])
def test_a_file_that_breaks_leaves_its_key_in_force_and_is_logged_once(tmp_path, clock, log, spoil):
    file = tmp_path / "pk-K1.pem"
    file.write_text(rsa_pem())
    ring = KeyRing.from_options(str(file), clock=clock)
    if spoil == "empty":
        file.write_text("")
    elif spoil == "half":
        file.write_text(rsa_pem(2)[:800])
    elif spoil == "small":
        replace(file, pkcs1(0, 1 << 1023 | 1, 65537, 3, 3, 3, 3, 3, 3))
    else:
        file.unlink()
        if spoil == "folder":
            file.mkdir()
    for _ in range(3):
        assert after_a_while(ring, clock) == key("K1", 1)
    ((level, message),) = log()
    assert level == "ERROR"
    assert str(file) in message
    assert "K1" in message


def test_each_change_to_the_worse_is_logged_anew(tmp_path, clock, log):
    file = tmp_path / "pk-K1.pem"
    file.write_text(rsa_pem())
    ring = KeyRing.from_options(str(file), clock=clock)
    for text in (rsa_pem(2)[:800], rsa_pem(2)[:900]):
        file.write_text(text)
        after_a_while(ring, clock)
        after_a_while(ring, clock)
        assert len(log()) == 1


# Links


def test_switching_a_link_changes_key_and_id_together(tmp_path, clock, log):
    (tmp_path / "pk-K1.pem").write_text(rsa_pem(1))
    (tmp_path / "K2.pem").write_text(rsa_pem(2))
    current = tmp_path / "current.pem"
    link(current, "pk-K1.pem")
    ring = KeyRing.from_options(str(current), clock=clock)
    link(current, "K2.pem")
    assert after_a_while(ring, clock) == key("K2", 2)
    ((level, message),) = log()
    assert level == "INFO"
    assert "K2" in message
    link(current, "pk-K1.pem")
    assert after_a_while(ring, clock) == key("K1", 1)


def test_a_volume_that_is_switched_as_a_whole_changes_key_and_id_together(tmp_path, clock):
    for version, id, number in (("1", "K1", 1), ("2", "K2", 2)):
        folder = tmp_path / f"..{version}"
        folder.mkdir()
        (folder / f"pk-{id}.pem").write_text(rsa_pem(number))
        (folder / "current.pem").symlink_to(f"pk-{id}.pem")
    link(tmp_path / "..data", "..1")
    (tmp_path / "current.pem").symlink_to("..data/current.pem")
    ring = KeyRing.from_options(str(tmp_path / "current.pem"), clock=clock)
    assert ring.current().id == "K1"
    link(tmp_path / "..data", "..2")
    assert after_a_while(ring, clock) == key("K2", 2)


@pytest.mark.parametrize("target", ["pk-K2.pem", "nothing.pem", "other.pem"])
def test_a_link_to_nothing_good_leaves_the_key_in_force(tmp_path, clock, log, target):
    (tmp_path / "pk-K1.pem").write_text(rsa_pem(1))
    (tmp_path / "pk-K2.pem").write_text(BROKEN)
    (tmp_path / "other.pem").write_text(rsa_pem(2))
    current = tmp_path / "current.pem"
    link(current, "pk-K1.pem")
    ring = KeyRing.from_options(str(current), clock=clock)
    link(current, target)
    assert after_a_while(ring, clock) == key("K1", 1)
    assert after_a_while(ring, clock) == key("K1", 1)
    ((level, message),) = log()
    assert (level, "K1" in message) == ("ERROR", True)


def test_a_key_that_comes_back_under_a_known_id_must_be_the_same(tmp_path, clock):
    for id, number in (("K1", 1), ("K2", 2)):
        (tmp_path / f"pk-{id}.pem").write_text(rsa_pem(number))
    current = tmp_path / "current.pem"
    link(current, "pk-K1.pem")
    ring = KeyRing.from_options(str(current), clock=clock)
    link(current, "pk-K2.pem")
    assert after_a_while(ring, clock) == key("K2", 2)
    (tmp_path / "pk-K1.pem").write_text(rsa_pem(3))
    link(current, "pk-K1.pem")
    assert after_a_while(ring, clock) == key("K2", 2)


# Directories


def put(folder, id, text, age):
    """Put a key file into *folder* that was modified *age* seconds ago."""
    file = folder / f"pk-{id}.pem"
    file.write_text(text)
    os.utime(file, ns=(0, (1_700_000_000 - age) * 1_000_000_000))
    return file


def test_the_newest_file_of_a_directory_signs(tmp_path, clock, log):
    put(tmp_path, "K2", rsa_pem(2), age=50)
    put(tmp_path, "K1", rsa_pem(1), age=10)
    (tmp_path / "README").write_text("Keys.")
    (tmp_path / "public-K3.pem").write_text(rsa_key(3).public_pem)
    (tmp_path / "K4.pem").mkdir()
    ring = KeyRing.from_options(str(tmp_path), clock=clock)
    assert ring.current().id == "K1"
    put(tmp_path, "K3", rsa_pem(3), age=5)
    assert after_a_while(ring, clock) == key("K3", 3)
    assert [level for level, _ in log()] == ["INFO"]


def test_of_files_of_the_same_time_the_last_by_name_signs(tmp_path):
    for id, number in (("K1", 1), ("K3", 3), ("K2", 2)):
        put(tmp_path, id, rsa_pem(number), age=10)
    assert KeyRing.from_options(str(tmp_path)).current().id == "K3"


def test_a_broken_newest_file_is_logged_and_passed_over(tmp_path, clock, log):
    put(tmp_path, "K1", rsa_pem(1), age=50)
    put(tmp_path, "K2", BROKEN, age=40)
    ring = KeyRing.from_options(str(tmp_path), clock=clock)
    assert ring.current().id == "K1"
    ((_, message),) = log()
    assert "pk-K2.pem" in message
    put(tmp_path, "K3", BROKEN, age=30)
    assert after_a_while(ring, clock) == key("K1", 1)
    assert after_a_while(ring, clock) == key("K1", 1)
    ((_, message),) = log()
    assert "pk-K3.pem" in message


def test_a_half_written_file_is_taken_when_it_is_whole(tmp_path, clock):
    put(tmp_path, "K1", rsa_pem(1), age=50)
    ring = KeyRing.from_options(str(tmp_path), clock=clock)
    with (tmp_path / "pk-K2.pem").open("w") as file:
        file.write(rsa_pem(2)[:900])
        file.flush()
        assert after_a_while(ring, clock) == key("K1", 1)
        file.write(rsa_pem(2)[900:])
    assert after_a_while(ring, clock) == key("K2", 2)


def test_breaking_the_file_in_force_does_not_bring_an_older_key_back(tmp_path, clock, log):
    put(tmp_path, "K1", rsa_pem(1), age=50)
    put(tmp_path, "K2", rsa_pem(2), age=40)
    ring = KeyRing.from_options(str(tmp_path), clock=clock)
    for text in (BROKEN, rsa_pem(3)):
        put(tmp_path, "K2", text, age=30)
        assert after_a_while(ring, clock) == key("K2", 2)
        assert len(log()) == 1


def test_removing_the_newest_file_brings_the_one_before_back(tmp_path, clock):
    put(tmp_path, "K1", rsa_pem(1), age=50)
    newest = put(tmp_path, "K2", rsa_pem(2), age=40)
    ring = KeyRing.from_options(str(tmp_path), clock=clock)
    newest.unlink()
    assert after_a_while(ring, clock) == key("K1", 1)


def test_a_directory_that_empties_or_goes_leaves_the_key_in_force(tmp_path, clock, log):
    folder = tmp_path / "keys"
    folder.mkdir()
    file = put(folder, "K1", rsa_pem(1), age=50)
    ring = KeyRing.from_options(str(folder), clock=clock)
    file.unlink()
    assert after_a_while(ring, clock) == key("K1", 1)
    assert len(log()) == 1
    shutil.rmtree(folder)
    assert after_a_while(ring, clock) == key("K1", 1)
    assert after_a_while(ring, clock) == key("K1", 1)
    assert len(log()) == 1


def test_a_directory_without_any_key_is_an_error(tmp_path):
    (tmp_path / "cloudfront.pem").write_text(rsa_pem())
    assert error_of(tmp_path).startswith(f"{tmp_path}: no file")


def test_a_directory_without_a_good_key_is_an_error_that_names_the_newest(tmp_path):
    put(tmp_path, "K1", armour("CERTIFICATE", b"\x30\x00"), age=50)
    newest = put(tmp_path, "K2", BROKEN, age=40)
    assert error_of(tmp_path).startswith(f"{newest}: is broken")


def test_a_directory_together_with_an_id_is_an_error(tmp_path):
    put(tmp_path, "K1", rsa_pem(1), age=50)
    assert error_of(tmp_path, "K1").startswith("keypairid: ")


@needs_cryptography
def test_an_ecdsa_key_may_follow_an_rsa_key(tmp_path, clock):
    put(tmp_path, "K1", rsa_pem(1), age=50)
    ring = KeyRing.from_options(str(tmp_path), clock=clock)
    put(tmp_path, "E2", ec_pem(), age=40)
    after_a_while(ring, clock)
    assert (ring.current().id, ring.current().key.algorithm) == ("E2", "ecdsa")


# When the disk is looked at


class Source:
    """A file, and how often it was looked for."""

    def __init__(self, path):
        self.file = KeyFile(str(path), str(path), "K1")
        self.looks = 0

    def files(self):
        self.looks += 1
        return [self.file]


def test_the_disk_is_looked_at_once_in_an_interval(tmp_path, clock):
    file = tmp_path / "pk-K1.pem"
    file.write_text(rsa_pem())
    watch = KeyWatch(source := Source(file))
    ring = KeyRing(watch.first(), watch, interval=5.0, clock=clock)
    for seconds in (0.0, 4.9, 0.2, 0.0, 4.8):
        clock.now += seconds
        ring.current()
    assert source.looks == 2
    clock.now += 0.3
    ring.current()
    assert source.looks == 3


@pytest.mark.parametrize(("age", "seen"), [(0.0, True), (1.0, True), (60.0, False)])
def test_a_file_that_changed_just_now_is_read_again_whatever_its_times_say(
    tmp_path, log, age, seen, monkeypatch
):
    monkeypatch.setattr(watchedfile, "_stamp", lambda status: (1,))  # a disk with coarse times
    file = tmp_path / "pk-K1.pem"
    file.write_text(rsa_pem())
    watch = KeyWatch(Source(file), clock=lambda: file.stat().st_ctime + age)
    pair = watch.first()
    file.write_text(BROKEN)
    assert watch.next(pair) is pair
    assert bool(log()) == seen


def test_a_file_that_cannot_be_read_is_tried_again_whatever_its_times_say(tmp_path, log):
    first, second = tmp_path / "pk-K1.pem", tmp_path / "pk-K2.pem"
    first.write_text(rsa_pem(1))
    source = Source(first)
    watch = KeyWatch(source)
    pair = watch.first()
    source.file = KeyFile(str(second), str(second), "K2")
    for _ in range(3):
        assert watch.next(pair) is pair
    ((level, message),) = log()
    assert level == "ERROR"
    assert message.endswith(f"{second}: cannot be read: No such file or directory")
    second.write_text(rsa_pem(2))
    assert watch.next(pair).id == "K2"


def test_no_thread_waits_while_another_looks(tmp_path, clock):
    file = tmp_path / "pk-K1.pem"
    file.write_text(rsa_pem())
    source, looking, go_on = Source(file), threading.Event(), threading.Event()
    watch = KeyWatch(source)
    ring = KeyRing(watch.first(), watch, clock=clock)

    def slow_disk():
        looking.set()
        assert go_on.wait(10)
        return [source.file]

    source.files = slow_disk
    clock.now += 1.0
    thread = threading.Thread(target=ring.current)
    thread.start()
    assert looking.wait(10)
    clock.now += 1.0
    try:
        assert ring.current().id == "K1"
    finally:
        go_on.set()
        thread.join()


def test_a_child_of_a_fork_looks_although_its_parent_was_looking(tmp_path, clock):
    put(tmp_path, "K1", rsa_pem(1), age=50)
    ring = KeyRing.from_options(str(tmp_path), clock=clock)
    looking, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    class SlowInTheParent(Clock):
        def __call__(self):
            # The second question for the time within a look is asked with the lock held.
            if os.getpid() == parent and threading.current_thread() is thread and ring._lock().locked():
                looking.set()
                assert go_on.wait(10)
            return super().__call__()

    slow = SlowInTheParent()
    thread = threading.Thread(target=ring.current)
    ring._clock = slow
    slow.now = clock.now + 1.0
    thread.start()
    assert looking.wait(10)
    put(tmp_path, "K2", rsa_pem(2), age=40)
    try:
        assert in_a_fork(lambda: ring.current().id) == "K2"
    finally:
        go_on.set()
        thread.join()
