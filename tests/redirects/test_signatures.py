"""How many signatures pulls cost: one for each blob in each of its windows, in each process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab import TESTS
from lab.apps import EDGE, KEY_PAIR_ID, key, wrap
from lab.clock import Clock
from lab.gunicorn_command import OWN
from lab.redirects import every_blob, listen_to, of_each_worker, path_of, redirect, sha256_of
from lab.servers import eventually, free_port, running
from lab.serving import ask

from cfmiddleware.digest import Digest
from cfmiddleware.signing.windows import ExpiryWindow

NOW = 1_800_000_000.0
BLOBS = [sha256_of(number) for number in range(5)]
THREADS = 16


def pull_at_once(wrapped, addresses: list[str], rounds: int = 3) -> set[tuple[Digest, str, str]]:
    """Pull every blob from each address in many threads, which begin together; return where they were sent.

    All begin with the same blob, so that they meet there, and go on in an order of their own.
    """
    barrier = threading.Barrier(THREADS)

    def pull(number: int) -> set[tuple[Digest, str, str]]:
        pulls = [(digest, address) for digest in BLOBS for address in addresses]
        further = pulls * (rounds - 1)
        random.Random(number).shuffle(further)
        barrier.wait(10)
        return {(digest, address, redirect(wrapped, digest, address)) for digest, address in pulls + further}

    with ThreadPoolExecutor(THREADS) as threads:
        return set().union(*threads.map(pull, range(THREADS)))


@contextlib.contextmanager
def eager_threads() -> Iterator[None]:
    """Let threads take turns a hundred times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 100)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


@pytest.mark.parametrize("probe", ["get", "head", "none"])
def test_a_blob_is_signed_once_in_a_window_whatever_the_number_of_pulls_and_threads(probe: str):
    clock, grid = Clock(NOW), ExpiryWindow(1200, 300)
    wrapped = wrap(every_blob, clock=clock, duration=1200, window=300, probe=probe)
    signed = listen_to(wrapped.keys.current().key, pause=0.002)
    expected = set()
    with eager_threads():
        # Three times in each window: one signature serves its beginning, its middle and its end.
        for _ in range(3 * 4):
            expected |= {(digest, grid.expires(digest.hex, clock.now)) for digest in BLOBS}
            locations = pull_at_once(wrapped, ["192.0.2.7"])
            assert len(locations) == len(BLOBS)  # the same URL for everybody
            clock.now += 100
    assert len(expected) in range(4 * len(BLOBS), 5 * len(BLOBS) + 1)
    assert Counter(signed).most_common(1)[0][1] == 1
    assert len(signed) == len(expected)


def test_a_bound_url_is_signed_once_for_each_address():
    clock = Clock(NOW)
    wrapped = wrap(every_blob, clock=clock, bindip=True)
    signed = listen_to(wrapped.keys.current().key, pause=0.002)
    addresses = ["192.0.2.7", "192.0.2.8", "::ffff:192.0.2.8", "198.51.100.1"]
    with eager_threads():
        for windows in (1, 2):
            locations = pull_at_once(wrapped, addresses)
            assert len({location for *_, location in locations}) == len(BLOBS) * 3
            assert len(signed) == len(set(signed)) == windows * len(BLOBS) * 3
            clock.now += 300


def test_a_clock_that_goes_back_over_the_end_of_a_window_costs_no_further_signature():
    clock = Clock(NOW)
    wrapped = wrap(every_blob, clock=clock, duration=1200, window=300)
    signed = listen_to(wrapped.keys.current().key)
    clock.now = float(ExpiryWindow(1200, 300).expires(BLOBS[0].hex, NOW) - 1200 + 300)
    for _ in range(20):
        clock.now -= 0.5
        before = redirect(wrapped, BLOBS[0])
        clock.now += 0.5
        assert redirect(wrapped, BLOBS[0]) != before
    assert len(signed) == 2


def test_a_key_that_takes_over_signs_once_what_the_one_before_signed(tmp_path: Path, monkeypatch):
    (tmp_path / "pk-KFIRST.pem").write_text(key(1).private_pem)
    os.utime(tmp_path / "pk-KFIRST.pem", (1_600_000_000, 1_600_000_000))
    wrapped = wrap(every_blob, clock=Clock(NOW), privatekey=str(tmp_path), keypairid=None)
    signing = type(wrapped.keys.current().key)
    monkeypatch.setattr(signing, "sign", signing.sign)  # so that it is itself again after the test
    signed = listen_to(signing)
    assert all("KFIRST" in location for *_, location in pull_at_once(wrapped, ["192.0.2.7"]))
    (tmp_path / "pk-KSECOND.pem").write_text(key(2).private_pem)
    assert eventually(lambda: "KSECOND" in redirect(wrapped, BLOBS[0]))
    assert all("KSECOND" in location for *_, location in pull_at_once(wrapped, ["192.0.2.7"]))
    assert list(Counter(signed).values()) == [2] * len(BLOBS)


@pytest.mark.parametrize("backend", ["cryptography", "rsa"])
def test_each_worker_signs_a_blob_once_in_a_window(tmp_path: Path, backend: str):
    """As its own threads see it, in processes that take hundreds of pulls at the same time."""
    if backend == "cryptography":
        pytest.importorskip("cryptography")
    options = {"baseurl": EDGE, "privatekey": key(1).private_pem, "keypairid": KEY_PAIR_ID}
    variables = {"TEST_WRAPPERS": json.dumps({"wrapped": options}), "TEST_BACKEND": backend}
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "lab.redirects:counted()", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--graceful-timeout", "1"]
    command += [*OWN, "--pythonpath", str(TESTS)]
    url = f"http://127.0.0.1:{port}"
    pulled: Counter[int] = Counter()

    def pull(number: int) -> None:
        answer = ask("GET", f"{url}/wrapped{path_of(BLOBS[number % len(BLOBS)])}")
        assert answer.status == 307
        pulled[int(answer.headers["X-Process"])] += 1

    with (
        running(command, tmp_path, ports=[port], env=variables),
        ThreadPoolExecutor(THREADS) as threads,
    ):
        assert backend.encode() in ask("GET", f"{url}/backend").body
        for _ in range(20):
            list(threads.map(pull, range(20 * len(BLOBS))))
            signed = of_each_worker(f"{url}/signed", 2)
            # The kernel chooses who takes which connection.
            seen = [_blobs(policies) for policies in signed.values()]
            if sum(pulled.values()) >= 400 and seen == [len(BLOBS)] * 2:
                break
    assert len(signed) == len(pulled) == 2
    for policies in signed.values():
        assert _blobs(policies) == len(BLOBS)
        assert len(policies) == len(set(policies))  # a second one of a blob is another window's
        assert len(policies) <= 2 * len(BLOBS)


def _blobs(policies: list[str]) -> int:
    """Return of how many blobs there is a policy."""
    return len({json.loads(policy)["Statement"][0]["Resource"] for policy in policies})
