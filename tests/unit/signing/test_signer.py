"""One signature for many pulls."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.clock import Clock
from lab.examples import examples
from lab.signing_material import in_a_fork, pair, public, rsa_key, rsa_pem

from cfmiddleware.signing.keyring import KeyRing
from cfmiddleware.signing.keys import KeyPair
from cfmiddleware.signing.signer import URLSigner
from cfmiddleware.signing.url import sign
from cfmiddleware.signing.verify import Verifier
from cfmiddleware.signing.windows import ExpiryWindow

HOST = "https://d111111abcdef8.cloudfront.net"
DIGEST = "0" * 64
NOW = 1_800_000_000.0


class FakeKey:
    """A key that signs at once, or waits for its gate, or fails once."""

    algorithm = "rsa"
    fingerprint = "f" * 64
    public_pem = ""

    def __init__(self):
        self.signed = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.error = None

    def sign(self, message, hash):
        self.signed.append((message, hash))
        self.entered.release()
        assert self.gate.wait(10)
        error, self.error = self.error, None
        if error is not None:
            raise error
        return b"signature"


def until_waiting(count):
    """Return when *count* threads wait for a signature that another one makes."""
    for _ in range(1000):
        waiting = 0
        for frame in sys._current_frames().values():
            inner: FrameType | None = frame
            while inner is not None:
                waiting += inner.f_code is Future.result.__code__
                inner = inner.f_back
        if waiting >= count:
            return
        time.sleep(0.01)
    pytest.fail("the threads do not wait")


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def key():
    return FakeKey()


def signer(key, clock, id="K1", **options):
    made = URLSigner(KeyRing(KeyPair(id, key)), ExpiryWindow(1200, 300), clock=clock, **options)
    if isinstance(key, FakeKey):
        key.signed.clear()  # the trial at start
        assert key.entered.acquire(timeout=10)
    return made


def test_the_url_is_signed_until_the_end_of_its_window(clock):
    ours = signer(rsa_key(), clock)
    expires = ExpiryWindow(1200, 300).expires(DIGEST, NOW)
    url = ours.url(f"{HOST}/a", DIGEST)
    assert url == sign(f"{HOST}/a", expires, pair("K1"))
    Verifier({"K1": public(rsa_key())}).check(url, NOW, None)


@pytest.mark.parametrize("address", [None, "192.0.2.7"])
def test_hash_and_address_reach_the_url(clock, address):
    url = signer(rsa_key(), clock, hash="sha256").url(f"{HOST}/a", DIGEST, address)
    assert url.endswith("&Hash-Algorithm=SHA256")
    assert ("?Policy=" in url) == (address is not None)
    Verifier({"K1": public(rsa_key())}).check(url, NOW, address)


def test_a_url_is_signed_once_in_a_window(key, clock):
    ours = signer(key, clock)
    clock.now = ExpiryWindow(1200, 300).expires(DIGEST, NOW) - 1200
    first = ours.url(f"{HOST}/a", DIGEST)
    clock.now += 299.9
    assert ours.url(f"{HOST}/a", DIGEST) is first
    clock.now += 0.1
    assert ours.url(f"{HOST}/a", DIGEST) != first
    assert ours.signatures == len(key.signed) == 2


def test_url_digest_and_address_are_kept_apart(key, clock):
    ours = signer(key, clock)
    asked = [
        (f"{HOST}/a", DIGEST, None),
        (f"{HOST}/b", DIGEST, None),
        (f"{HOST}/a", "00000001" + "0" * 56, None),
        (f"{HOST}/a", DIGEST, "192.0.2.7"),
        (f"{HOST}/a", DIGEST, "192.0.2.8"),
    ]
    urls = [ours.url(*question) for question in asked]
    assert len(set(urls)) == len(asked) == ours.signatures
    assert [ours.url(*question) for question in asked] == urls
    assert ours.signatures == len(asked)


def test_a_new_key_signs_at_once(tmp_path, clock):
    (tmp_path / "pk-K1.pem").write_text(rsa_pem(1))
    (tmp_path / "current.pem").symlink_to("pk-K1.pem")
    ring = KeyRing.from_options(str(tmp_path / "current.pem"), interval=0.0)
    ours = URLSigner(ring, ExpiryWindow(1200), clock=clock)
    assert "&Key-Pair-Id=K1" in ours.url(f"{HOST}/a", DIGEST)
    (tmp_path / "pk-K2.pem").write_text(rsa_pem(2))
    (tmp_path / "new.pem").symlink_to("pk-K2.pem")
    (tmp_path / "new.pem").rename(tmp_path / "current.pem")
    url = ours.url(f"{HOST}/a", DIGEST)
    Verifier({"K2": public(rsa_key(2))}).check(url, NOW, None)


def test_the_least_recently_used_url_is_forgotten_first(key, clock):
    ours = signer(key, clock, cache_size=2)
    for name in ("a", "b", "a", "c"):
        ours.url(f"{HOST}/{name}", DIGEST)
    assert ours.signatures == 3
    ours.url(f"{HOST}/a", DIGEST)
    ours.url(f"{HOST}/c", DIGEST)
    assert ours.signatures == 3
    ours.url(f"{HOST}/b", DIGEST)
    assert ours.signatures == 4


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 4), st.lists(st.sampled_from("abcdef"), max_size=40))
def test_the_memory_behaves_as_a_list_of_the_last_used_since_half_of_it_was_taken(size, names):
    key, kept, signed = FakeKey(), [], 0
    ours = signer(key, Clock(NOW), cache_size=size)
    for name in names:
        ours.url(f"{HOST}/{name}", DIGEST)
        if name in kept:
            if len(kept) > size // 2:
                kept = [*(one for one in kept if one != name), name]
            continue
        signed += 1
        kept = [*kept, name][-size:] if size else []
        assert ours.signatures == signed


def test_threads_that_ask_for_the_same_url_share_one_signature(key, clock):
    ours = signer(key, clock)
    key.gate.clear()
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ours.url, f"{HOST}/a", DIGEST) for _ in range(8)]
        until_waiting(7)
        key.gate.set()
        urls = {future.result(10) for future in asked}
    assert len(urls) == len(key.signed) == ours.signatures == 1


def test_a_slow_signature_keeps_no_other_url_waiting(key, clock):
    ours = signer(key, clock)
    ours.url(f"{HOST}/remembered", DIGEST)
    key.entered.acquire()
    key.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(ours.url, f"{HOST}/a", DIGEST)
        assert key.entered.acquire(timeout=10)
        assert ours.url(f"{HOST}/remembered", DIGEST)
        other = threads.submit(ours.url, f"{HOST}/b", DIGEST)
        assert key.entered.acquire(timeout=10)
        assert not slow.done()
        key.gate.set()
        assert slow.result(10) != other.result(10)


def test_a_failure_reaches_all_who_wait_and_is_not_remembered(key, clock):
    ours = signer(key, clock)
    key.gate.clear()
    error = key.error = OSError("the key is gone")
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ours.url, f"{HOST}/a", DIGEST) for _ in range(4)]
        until_waiting(3)
        key.gate.set()
        failures = [future.exception(10) for future in asked]
    assert len(key.signed) == 1
    assert all(failure is error for failure in failures)
    assert ours.signatures == 0
    assert ours.url(f"{HOST}/a", DIGEST)


def test_who_waits_for_a_thread_that_is_stopped_signs_itself(key, clock):
    ours = signer(key, clock)
    key.gate.clear()
    key.error = SystemExit()
    with ThreadPoolExecutor(2) as threads:
        stopped = threads.submit(ours.url, f"{HOST}/a", DIGEST)
        assert key.entered.acquire(timeout=10)
        waiter = threads.submit(ours.url, f"{HOST}/a", DIGEST)
        until_waiting(1)
        key.gate.set()
        assert isinstance(stopped.exception(10), SystemExit)
        assert waiter.result(10).startswith(f"{HOST}/a?Expires=")
    assert len(key.signed) == 2


def test_a_child_of_a_fork_signs_what_its_parent_was_signing(key, clock):
    ours = signer(key, clock)
    key.gate.clear()
    thread = threading.Thread(target=ours.url, args=(f"{HOST}/a", DIGEST))
    thread.start()
    assert key.entered.acquire(timeout=10)

    def in_the_child():
        key.gate = threading.Event()
        key.gate.set()
        key.entered = threading.Semaphore(0)
        return ours.url(f"{HOST}/a", DIGEST)

    try:
        assert in_a_fork(in_the_child).startswith(f"{HOST}/a?Expires=")
    finally:
        key.gate.set()
        thread.join()


def test_a_url_that_cannot_be_signed_is_an_error_each_time(key, clock):
    ours = signer(key, clock)
    for _ in range(2):
        with pytest.raises(ValueError, match="percent-encoded"):
            ours.url(f"{HOST}/a b", DIGEST)
    assert ours.signatures == 0


def test_another_hash_is_an_error_at_start(clock):
    with pytest.raises(ValueError, match="sha1 or sha256"):
        signer(rsa_key(), clock, hash="md5")


class Switching:
    """A ring whose key a test chooses."""

    def __init__(self, *pairs):
        self.pairs = pairs
        self.index = 0

    def current(self):
        return self.pairs[self.index]


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-3000, 3000),
            st.sampled_from(["0" * 64, "f" * 64]),
            st.sampled_from([None, "192.0.2.7", "192.0.2.8"]),
            st.integers(0, 1),
        ),
        max_size=40,
    )
)
def test_what_is_remembered_is_what_would_be_signed_now(steps):
    # Whatever the clock does, and whichever key signs.
    pairs, clock, window = (
        [KeyPair("K1", FakeKey()), KeyPair("K2", FakeKey())],
        Clock(NOW),
        ExpiryWindow(1200, 300),
    )
    ring = Switching(*pairs)
    ours = URLSigner(ring, window, clock=clock)
    for seconds, digest, address, index in steps:
        clock.now, ring.index = NOW + seconds, index
        expires = window.expires(digest, clock.now)
        expected = sign(f"{HOST}/a", expires, pairs[index], "sha1", address)
        assert ours.url(f"{HOST}/a", digest, address) == expected


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(st.integers(-700, 700), st.booleans()), min_size=1, max_size=20),
    st.text("0123456789abcdef", min_size=8, max_size=8),
    st.integers(1, 60),
)
def test_a_url_that_lasts_is_the_same_for_as_long_as_its_term_holds(moves, digest, window):
    clock, ring = Clock(NOW), Switching(KeyPair("K1", FakeKey()), KeyPair("K2", FakeKey()))
    signer = URLSigner(ring, ExpiryWindow(120, window), clock=clock)
    url, term = signer.lasting(f"{HOST}/data", digest)
    for seconds, switches in moves:
        clock.now += seconds / 10
        ring.index ^= switches
        assert signer.holds(term) == (signer.url(f"{HOST}/data", digest) == url)
        if not signer.holds(term):
            url, term = signer.lasting(f"{HOST}/data", digest)
            assert signer.holds(term)


def test_a_new_key_waits_for_no_signature_of_the_old_one(clock):
    old, new = FakeKey(), FakeKey()
    ring = Switching(KeyPair("K1", old), KeyPair("K2", new))
    ours = URLSigner(ring, ExpiryWindow(1200, 300), clock=clock)
    assert old.entered.acquire(timeout=10)
    old.gate.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(ours.url, f"{HOST}/a", DIGEST)
        assert old.entered.acquire(timeout=10)
        ring.index = 1
        second = threads.submit(ours.url, f"{HOST}/a", DIGEST)
        assert "&Key-Pair-Id=K2" in second.result(10)
        old.gate.set()
        assert "&Key-Pair-Id=K1" in first.result(10)
