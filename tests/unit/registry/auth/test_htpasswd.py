"""Users and passwords in an htpasswd file: who gets in, what becomes of the file, what is remembered."""

from __future__ import annotations

import base64
import logging
import multiprocessing
import os
import threading
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.auth_material import basic, htpasswd, htpasswd_client
from lab.clock import Clock
from lab.examples import examples
from lab.registry_client import RegistryClient, error_code
from lab.servers import eventually

from cfmiddleware.errors import ConfigError
from cfmiddleware.process import watchedfile
from cfmiddleware.registry.auth.credentials import MAX_LENGTH, parse_basic, parse_bearer
from cfmiddleware.registry.auth.htpasswd import HtpasswdAuth, Users, parse_users
from cfmiddleware.registry.auth.logincache import LINE, LoginCache
from cfmiddleware.storage.memory import MemoryDriver

USERS = {"alice": "open sesame", "bob": "p:ss:wörd"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_bytes(htpasswd(USERS))
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(file: Path, clock: Clock) -> RegistryClient:
    return htpasswd_client(file, clock=clock)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that passwords were checked against, one for each time that bcrypt ran."""
    seen: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, stored: bytes) -> bool:
        seen.append(stored)
        return real(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return seen


def status(client: RegistryClient, headers: dict[str, str] | None = None) -> int:
    return client.get("/v2/", headers=headers).status_code


def rewrite(file: Path, content: bytes) -> None:
    """Replace a file as editors do: by another one of its name."""
    other = file.with_suffix(".new")
    other.write_bytes(content)
    os.replace(other, file)


@pytest.mark.parametrize("user", USERS)
def test_a_user_with_the_right_password_gets_in(client: RegistryClient, user: str):
    assert status(client, basic(user, USERS[user])) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("alice", "open sesam"),
        basic("alice", ""),
        basic("bob", USERS["alice"]),
        basic("carol", USERS["alice"]),
        basic("", ""),
        {"Authorization": "Bearer YTpi"},
    ],
)
def test_anybody_else_is_asked_for_a_password(client: RegistryClient, headers: dict[str, str]):
    answer = client.get("/v2/", headers=headers)
    assert (answer.status_code, error_code(answer)) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="the registry"'
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "log in first"),
        (basic("", ""), "log in first"),
        (basic("alice", ""), "the user or the password is wrong"),
        (basic("", "x"), "the user or the password is wrong"),
    ],
)
def test_who_has_sent_no_credential_is_not_told_that_it_is_wrong(
    client: RegistryClient, headers: dict[str, str], said: str
):
    (error,) = client.get("/v2/", headers=headers).json["errors"]
    assert error["message"] == said


def test_quotes_in_the_realm_stay_inside_of_it(file: Path):
    client = RegistryClient(MemoryDriver(), auth=HtpasswdAuth(realm='a "b" \\c', path=file))
    assert client.get("/v2/").headers["WWW-Authenticate"] == 'Basic realm="a \\"b\\" \\\\c"'


@pytest.mark.parametrize("prefix", [b"$2y$", b"$2a$", b"$2b$"])
def test_every_name_of_bcrypt_is_the_same(tmp_path: Path, prefix: bytes):
    (tmp_path / "htpasswd").write_bytes(htpasswd({"alice": "x"}).replace(b"$2b$", prefix))
    assert status(htpasswd_client(tmp_path / "htpasswd"), basic("alice", "x")) == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize("path", ["", "_catalog", "a/tags/list", "a/blobs/uploads/", "a/blobs/uploads/x"])
def test_nothing_at_all_is_done_for_who_does_not_log_in(client: RegistryClient, method: str, path: str):
    assert client.open("/v2/" + path, method=method).status_code == 401
    assert client.objects() == set()


def test_the_body_of_a_push_is_not_read_before_the_client_has_logged_in(client: RegistryClient):
    class Untouchable:
        def read(self, *_: object) -> bytes:
            raise AssertionError("the body was read")

        readline = read

    overrides = {"wsgi.input": Untouchable(), "CONTENT_LENGTH": "5"}
    answer = client.post("/v2/a/blobs/uploads/?digest=sha256:" + "0" * 64, environ_overrides=overrides)
    assert answer.status_code == 401


@pytest.mark.parametrize("password", ["x" * 73, "x" * 72 + "y", "x\0", "x\0x"])
def test_a_password_that_bcrypt_would_take_for_another_is_nobodys(tmp_path: Path, password: str):
    users = {"alice": "x" * 72, "bob": "x"}
    (tmp_path / "htpasswd").write_bytes(htpasswd(users))
    client = htpasswd_client(tmp_path / "htpasswd")
    for user in users:
        assert status(client, basic(user, users[user])) == 200
        assert status(client, basic(user, password)) == 401


def test_bcrypt_is_paid_again_a_minute_after_the_last_use(
    client: RegistryClient, clock: Clock, checks: list[bytes]
):
    for seconds in (0, 0, 0, 59, 59, 29, 29, 29):
        clock.now += seconds
        assert status(client, basic("alice", USERS["alice"])) == 200
    assert len(checks) == 1
    clock.now += 61
    assert status(client, basic("alice", USERS["alice"])) == 200
    assert len(checks) == 2


def test_a_wrong_password_is_never_remembered(client: RegistryClient, checks: list[bytes]):
    assert status(client, basic("alice", USERS["alice"])) == 200
    for _ in range(2):
        assert status(client, basic("alice", "wrong")) == 401
    assert len(checks) == 3


@pytest.mark.parametrize("name", ["cheap", "usual", "dear", "broken", "left-out", "nobody", ""])
@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_costs_the_same_for_every_name(
    tmp_path: Path, checks: list[bytes], name: str, password: str
):
    lines = [htpasswd({user: "x"}, cost) for user, cost in (("cheap", 4), ("usual", 5), ("dear", 7))]
    broken, left_out = htpasswd({"broken": "x"}), b"left-out:" + b"$2y$04$" + b"!" * 53 + b"\n"
    # The last character of its salt is one that no salt can have.
    broken = broken[: len("broken:") + 28] + b"z" + broken[len("broken:") + 29 :]
    (tmp_path / "htpasswd").write_bytes(b"".join((*lines, broken, left_out)))

    assert status(htpasswd_client(tmp_path / "htpasswd"), basic(name, password)) == 401

    assert sum(2 ** int(stored[4:6]) for stored in checks) == 2**7


def test_a_salt_with_more_bits_than_bcrypt_uses_is_taken_as_without_them(tmp_path: Path):
    (line,) = htpasswd({"alice": "x"}).splitlines()
    place = len("alice:") + 28
    for last in b"zZ9/":
        (tmp_path / "htpasswd").write_bytes(line[:place] + bytes([last]) + line[place + 1 :])
        hashes = parse_users((tmp_path / "htpasswd").read_bytes(), "f")
        stored = bcrypt.hashpw(b"x", hashes[b"alice"])
        (tmp_path / "htpasswd").write_bytes(b"alice:" + stored[:28] + bytes([last]) + stored[29:])
        assert status(htpasswd_client(tmp_path / "htpasswd"), basic("alice", "x")) == 200


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path):
    (tmp_path / "htpasswd").write_bytes(b"\xef\xbb\xbf" + htpasswd(USERS))
    for user, password in USERS.items():
        assert status(htpasswd_client(tmp_path / "htpasswd"), basic(user, password)) == 200


def test_a_changed_file_counts_after_a_second(client: RegistryClient, file: Path, clock: Clock):
    assert status(client, basic("alice", USERS["alice"])) == 200
    rewrite(file, htpasswd({"alice": "new", "carol": "x"}))
    assert status(client, basic("alice", USERS["alice"])) == 200
    clock.now += 1.1
    assert status(client, basic("alice", USERS["alice"])) == 401  # what was remembered is forgotten
    assert status(client, basic("alice", "new")) == 200
    assert status(client, basic("carol", "x")) == 200


def test_a_change_that_leaves_size_and_time_as_they_were_is_seen(file: Path, clock: Clock):
    client = htpasswd_client(file, clock=clock)
    before = file.stat()
    rewrite(file, htpasswd({"alice": "an other!!", "bob": "new"}))
    assert file.stat().st_size == before.st_size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.now += 1.1
    assert status(client, basic("alice", "an other!!")) == 200


def test_a_second_change_within_one_tick_of_the_file_systems_clock_is_seen(
    client: RegistryClient, file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watchedfile, "_stamp", lambda status: same)
    same = (1, 1, 1, 1)
    for password in ("first", "second"):
        file.write_bytes(htpasswd({"alice": password}))
        clock.now += 1.1
        assert status(client, basic("alice", password)) == 200


@pytest.mark.parametrize("broken", [b"alice:{SHA}secret-hash\n", b"\xff\xfe\0", None])
def test_a_broken_or_vanished_file_leaves_the_last_good_one_in_force(
    client: RegistryClient,
    file: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    broken: bytes | None,
):
    if broken is None:
        file.unlink()
    else:
        rewrite(file, broken)
    for _ in range(3):
        clock.now += 1.1
        assert status(client, basic("alice", USERS["alice"])) == 200
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(file) in record.getMessage()
    assert "secret-hash" not in caplog.text
    rewrite(file, htpasswd({"carol": "x"}))
    clock.now += 1.1
    assert status(client, basic("carol", "x")) == 200
    assert status(client, basic("alice", USERS["alice"])) == 401


def test_a_file_that_comes_back_as_it_was_is_taken(client: RegistryClient, file: Path, clock: Clock):
    content = file.read_bytes()
    file.unlink()
    clock.now += 1.1
    assert status(client, basic("alice", USERS["alice"])) == 200
    file.write_bytes(content)
    clock.now += 1.1
    assert status(client, basic("bob", USERS["bob"])) == 200


def test_a_file_that_was_emptied_lets_nobody_in(client: RegistryClient, file: Path, clock: Clock):
    file.write_bytes(b"")
    clock.now += 1.1
    assert status(client, basic("alice", USERS["alice"])) == 401


def test_lines_of_other_kinds_are_left_out_and_named(caplog: pytest.LogCaptureFixture):
    good = htpasswd({"alice": "x"})
    content = b"# users\n\nold:$apr1$salt$secret-hash\nno-colon\n:" + good.partition(b":")[2] + good
    assert set(parse_users(content, "users.txt")) == {b"alice"}
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" is no")[0] for line in lines] == [f"users.txt: line {n}" for n in (3, 4, 5)]
    assert "secret-hash" not in caplog.text


def test_the_last_of_a_users_lines_counts():
    content = htpasswd({"alice": "old"}) + htpasswd({"alice": "new"})
    users = Users(parse_users(content, "f"))
    assert [users.know(parse_basic(basic("alice", word)["Authorization"])) for word in ("old", "new")] == [
        False,
        True,
    ]


def test_a_hash_that_would_take_minutes_is_left_out():
    with pytest.raises(ConfigError, match="f: line 1 is not a user and a bcrypt hash of cost 4 to 16"):
        parse_users(htpasswd({"a": "x"}).replace(b"$04$", b"$17$"), "f")


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read_is_told_at_the_start(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=r"cannot be read|not a regular file"):
        htpasswd_client(tmp_path / name)


@settings(max_examples=examples(200))
@given(st.binary(max_size=200))
def test_whatever_a_file_holds_it_is_users_or_one_line(content: bytes):
    try:
        users = parse_users(content, "f")
    except ConfigError as error:
        message, users = str(error), {}
    else:
        message = ""
    assert len(message.splitlines()) <= 1
    assert all(name and stored.startswith(b"$2") for name, stored in users.items())


@pytest.fixture(scope="module")
def anybodys(tmp_path_factory: pytest.TempPathFactory) -> RegistryClient:
    path = tmp_path_factory.mktemp("users") / "htpasswd"
    path.write_bytes(htpasswd(USERS))
    return htpasswd_client(path)


_header_text = st.text(st.characters(max_codepoint=255), max_size=60)
_schemes = st.sampled_from(["Basic", "basic", "Bearer", "Basic ", "Negotiate", "", "Basic Basic"])
_encoded = st.binary(max_size=120).map(lambda raw: base64.b64encode(raw).decode())


@settings(max_examples=examples(150), deadline=None)
@given(_header_text | st.tuples(_schemes, _header_text | _encoded).map(" ".join))
def test_no_header_but_a_right_one_gets_in_or_makes_a_failure(anybodys: RegistryClient, header: str):
    overrides = {"HTTP_AUTHORIZATION": header}
    assert anybodys.get("/v2/", environ_overrides=overrides).status_code == 401


def test_a_huge_header_is_not_looked_at(anybodys: RegistryClient):
    for header in ("Basic " + "QUJD" * 1_000_000, " " * 5_000_000, "Basic" + " " * 5_000_000 + "QTpC"):
        overrides = {"HTTP_AUTHORIZATION": header}
        assert anybodys.get("/v2/", environ_overrides=overrides).status_code == 401
    assert parse_bearer("Bearer " + "a" * (MAX_LENGTH - 7)) is not None
    assert parse_bearer("Bearer " + "a" * (MAX_LENGTH - 6)) is None


@given(st.binary(max_size=40).filter(lambda user: b":" not in user), st.binary(max_size=40))
def test_a_name_and_a_password_arrive_as_they_were_sent(user: bytes, password: bytes):
    encoded = base64.b64encode(user + b":" + password).decode()
    assert parse_basic(f"bAsIc  {encoded} ") == (user, password)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 3, 4]), st.sampled_from([0.0, 1.0, 30.0, 61.0])), max_size=30
    )
)
def test_what_is_remembered_is_what_was_added_last_and_lately(steps: list[tuple[int, float]]):
    clock = Clock()
    remembered = LoginCache(seconds=60, most=3, clock=clock)
    added: dict[int, float] = {}
    for number, wait in steps:
        clock.now += wait
        remembered.add(remembered.key(b"user", b"%d" % number))
        added.pop(number, None)
        added[number] = clock.now + 60
        lately = list(added)[-3:]
        for one in range(5):
            expected = one in lately and added[one] > clock.now
            assert (remembered.key(b"user", b"%d" % one) in remembered) == expected
        assert len(remembered) <= 3


def test_a_name_and_a_password_are_not_mixed_up_in_what_is_remembered():
    remembered = LoginCache()
    remembered.add(remembered.key(b"a", b"bc"))
    assert remembered.key(b"ab", b"c") not in remembered


def test_what_is_kept_of_a_credential_is_no_hash_that_anybody_could_make():
    key = LoginCache().key(b"alice", b"secret")
    assert key != LoginCache().key(b"alice", b"secret")
    assert b"secret" not in key


class Held:
    """Checks that go on until they are let go."""

    def __init__(self, remembered: LoginCache, outcome: bool = False) -> None:
        self.remembered, self.outcome = remembered, outcome
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        self.answers: list[bool | None] = []
        self.threads: list[threading.Thread] = []

    def check(self) -> bool:
        self.begun.release()
        assert self.go.wait(30)
        return self.outcome

    def ask(self, key: bytes, client: str) -> None:
        def ask() -> None:
            self.answers.append(self.remembered.check(key, client, key, 30, self.check))

        self.threads.append(threading.Thread(target=ask))
        self.threads[-1].start()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        for thread in self.threads:
            thread.join(30)


def _waiting(remembered: LoginCache) -> int:
    waiting = remembered._state().waiting
    return sum(number for key, number in waiting.items() if isinstance(key, str))


def _in_child(remembered: LoginCache, key: bytes, found: multiprocessing.Queue) -> None:
    before = key in remembered
    remembered.add(key)
    found.put((before, key in remembered, remembered.check(b"k", "a", b"u", 1, lambda: True)))


def test_a_forked_process_waits_for_nobody_and_begins_anew():
    remembered = LoginCache(at_once=1)
    key = remembered.key(b"a", b"b")
    remembered.add(key)
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    with Held(remembered) as held:
        held.ask(b"k", "a")
        assert held.begun.acquire(timeout=30)
        state = remembered._state()
        with state.lock, remembered._until._memory().lock:  # as another thread may hold them at the fork
            child = context.Process(target=_in_child, args=(remembered, key, found), daemon=True)
            child.start()
            assert found.get(timeout=20) == (False, True, True)
            child.join(30)


def test_who_waits_too_long_for_a_turn_is_told_so():
    remembered = LoginCache(at_once=1)
    with Held(remembered) as held:
        held.ask(b"k", "a")
        assert held.begun.acquire(timeout=30)
        assert remembered.check(b"l", "a", b"u", 0.01, lambda: True) is None
        assert remembered.check(b"k", "a", b"u", 0.01, lambda: True) is None
    assert held.answers == [False]
    assert remembered.check(b"l", "a", b"u", 0.01, lambda: True) is True


def test_one_address_leaves_room_in_the_line_for_others_and_the_line_has_an_end():
    remembered = LoginCache(at_once=1)
    with Held(remembered) as held:
        held.ask(b"0", "attacker")
        assert held.begun.acquire(timeout=30)
        for number in range(1, LINE // 2):
            held.ask(b"%d" % number, "attacker")
        assert eventually(lambda: _waiting(remembered) == LINE // 2)
        assert remembered.check(b"more", "attacker", b"u", 30, held.check) is None  # at once
        for number in range(LINE // 2 + 1):
            held.ask(b"other %d" % number, f"10.0.0.{number}")
        assert eventually(lambda: remembered._state().turns.waiting == LINE)
        assert remembered.check(b"late", "10.1.1.1", b"u", 30, held.check) is None
        assert remembered.recall(b"late") is False
    assert len(held.answers) == LINE + 1
    assert set(held.answers) == {False}
    assert _waiting(remembered) == 0


def test_one_user_leaves_room_in_the_line_for_others_of_its_address():
    remembered = LoginCache(at_once=1)
    with Held(remembered) as held:
        for number in range(LINE // 4):
            key, check = b"%d" % number, held.check
            held.threads.append(
                threading.Thread(target=remembered.check, args=(key, "proxy", b"alice", 30, check))
            )
            held.threads[-1].start()
        assert eventually(lambda: _waiting(remembered) == LINE // 4)
        assert remembered.check(b"more", "proxy", b"alice", 30, held.check) is None  # at once
        held.ask(b"bob", "proxy")
        assert eventually(lambda: _waiting(remembered) == LINE // 4 + 1)
    assert held.answers == [False]


def test_those_who_wait_with_the_same_credential_are_checked_once():
    remembered = LoginCache(at_once=1)
    with Held(remembered, outcome=True) as held:
        for _ in range(3 * LINE):
            held.ask(b"k", "a")
        assert held.begun.acquire(timeout=30)
    assert held.answers == [True] * (3 * LINE)
    assert not held.begun.acquire(blocking=False)


def test_a_check_that_fails_leaves_nobody_waiting():
    remembered = LoginCache(at_once=1)

    def fail() -> bool:
        raise ValueError("bcrypt")

    for _ in range(2):
        with pytest.raises(ValueError, match="bcrypt"):
            remembered.check(b"k", "a", b"u", 1, fail)
    assert _waiting(remembered) == 0
