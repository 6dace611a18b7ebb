"""Redirects of several processes: the same URL of the same blob, whoever is asked."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import TESTS
from lab.apps import EDGE, KEY_PAIR_ID, key
from lab.gunicorn_command import OWN
from lab.redirects import end_of, path_of, sha256_of
from lab.servers import free_port, running
from lab.serving import ask
from lab.signing_material import in_a_fork

from cfmiddleware.signing.keys import load_public_key
from cfmiddleware.signing.verify import Refused, Verifier
from cfmiddleware.signing.windows import ExpiryWindow
from cfmiddleware.storage.s3 import S3Options
from cfmiddleware.storage.s3.connection import ClientPerProcess, connect
from cfmiddleware.storage.s3.presign import Presigner, find_place

BACKENDS = ["cryptography", "rsa"]
#: Options by the names that the tests give the wrappers.
WRAPPERS: dict[str, dict[str, Any]] = {
    "sha1": {},
    "sha256": {"hash": "sha256"},
    "sha1-bound": {"bindip": True},
    "sha256-bound": {"bindip": True, "hash": "sha256"},
}
BLOBS = [sha256_of(number) for number in range(3)]


def options(more: dict[str, Any]) -> dict[str, Any]:
    return {"baseurl": EDGE, "privatekey": key(1).private_pem, "keypairid": KEY_PAIR_ID, **more}


PRINT_LOCATIONS = """
import json, sys
given = json.load(sys.stdin)
if given["backend"] == "rsa":
    sys.modules["cryptography"] = None
from lab.redirects import every_blob, redirect, sha256_of
from cfmiddleware.middleware import CloudFrontMiddleware
found = {}
for name, options in given["wrappers"].items():
    wrapped = CloudFrontMiddleware(every_blob, clock=lambda: given["now"], **options)
    found[name] = [redirect(wrapped, sha256_of(number)) for number in range(given["blobs"])]
    module = type(wrapped.keys.current().key).__module__
    assert module == f"cfmiddleware.signing.{given['backend']}_backend", module
print(json.dumps(found))
"""


def started(backend: str, now: float) -> subprocess.Popen[str]:
    """Start an interpreter of its own, whose clock stands still and which signs with *backend*."""
    given = {
        "backend": backend,
        "now": now,
        "blobs": len(BLOBS),
        "wrappers": {name: options(more) for name, more in WRAPPERS.items()},
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PRINT_LOCATIONS],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(given))
    process.stdin.close()
    return process


def printed(process: subprocess.Popen[str]) -> dict[str, list[str]]:
    assert process.stdout is not None
    with process.stdout:
        text = process.stdout.read()
    assert process.wait(20) == 0
    return dict(json.loads(text))


def test_interpreters_started_apart_make_the_same_urls_within_a_window():
    """Two that were started one after the other, on two machines perhaps, whose clocks differ."""
    pytest.importorskip("cryptography")
    grid = ExpiryWindow(1200)
    # The first minute in which no blob's window ends.
    now = 1_800_000_000
    while any(grid.expires(blob.hex, now) != grid.expires(blob.hex, now + 60) for blob in BLOBS):
        now += 1
    later = max(grid.expires(blob.hex, now) for blob in BLOBS)
    asked = [(backend, moment) for backend in BACKENDS for moment in (now, math.nextafter(now + 61, 0))]
    first, *others = [printed(process) for process in [started(*question) for question in asked]]
    for other in others:
        assert other == first
    assert first.keys() == WRAPPERS.keys()
    assert len({url for urls in first.values() for url in urls}) == len(WRAPPERS) * len(BLOBS)
    verifier = Verifier({KEY_PAIR_ID: load_public_key(key(1).public_pem, "key of the test")})
    for name, urls in first.items():
        for url in urls:
            verifier.check(url, now, "192.0.2.7")
            assert ("&Hash-Algorithm=SHA256" in url) == name.startswith("sha256")
            with pytest.raises(Refused):
                verifier.check(url, later, "192.0.2.7")
    next_window = printed(started("cryptography", now + 300))
    assert all(set(urls).isdisjoint(next_window[name]) for name, urls in first.items())


@contextlib.contextmanager
def workers(directory: Path, backend: str, *arguments: str) -> Iterator[str]:
    """Serve the wrappers from a gunicorn of two workers, and yield its URL."""
    variables = {
        "TEST_WRAPPERS": json.dumps({name: options(more) for name, more in WRAPPERS.items()}),
        "TEST_BACKEND": backend,
    }
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "lab.redirects:counted()", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--workers", "2", "--threads", "4", "--graceful-timeout", "1"]
    command += [*OWN, "--pythonpath", str(TESTS), *arguments]
    with running(command, directory, ports=[port], env=variables):
        yield f"http://127.0.0.1:{port}"


def test_the_workers_of_two_gunicorns_make_the_same_urls_within_a_window(tmp_path: Path):
    """One of which loads the app before it forks, and signs with the other library."""
    pytest.importorskip("cryptography")
    processes: defaultdict[tuple[str, str, int], set[int]] = defaultdict(set)
    urls: defaultdict[tuple[str, str, int], set[str]] = defaultdict(set)
    with (
        workers(tmp_path / "cryptography", "cryptography") as one,
        workers(tmp_path / "rsa", "rsa", "--preload") as another,
    ):
        for server, backend in ((one, "cryptography"), (another, "rsa")):
            assert ask("GET", f"{server}/backend").body.decode() == f"cfmiddleware.signing.{backend}_backend"
        deadline = time.monotonic() + 30
        # Each window of each blob, until all of the four have been asked in one.
        while time.monotonic() < deadline:
            for server in (one, another):
                for name in WRAPPERS:
                    for blob in BLOBS:
                        answer = ask("GET", f"{server}/{name}{path_of(blob)}")
                        assert answer.status == 307
                        url = answer.headers["Location"]
                        urls[name, blob.hex, end_of(url)].add(url)
                        processes[name, blob.hex, end_of(url)].add(int(answer.headers["X-Process"]))
            complete = {key[:2] for key, seen in processes.items() if len(seen) == 4}
            if len(complete) == len(WRAPPERS) * len(BLOBS):
                break
    assert len(complete) == len(WRAPPERS) * len(BLOBS)
    assert [found for found in urls.values() if len(found) != 1] == []


@pytest.mark.parametrize(
    "step",
    ["storage.s3.presign.find_place", "storage.s3.connection.connect"],
    ids=["the bucket's place", "the client"],
)
def test_a_process_forked_while_another_thread_presigns_its_first_url_does_not_wait_for_it(monkeypatch, step):
    """It does not have that thread, which would never let it go on."""
    entered, gate = threading.Event(), threading.Event()
    built = S3Options(bucket="registry", region="us-west-2", accesskey="AKIDTEST", secretkey="secret")
    presign = Presigner(built, ClientPerProcess(built).connection, lambda: 1_800_000_000)
    quick = {"storage.s3.presign.find_place": find_place, "storage.s3.connection.connect": connect}[step]

    def slow(options: S3Options, *rest: Any) -> Any:
        entered.set()
        assert gate.wait(20)
        return quick(options, *rest)

    monkeypatch.setattr(f"cfmiddleware.{step}", slow)
    thread = threading.Thread(target=presign, args=("a", 1_800_001_200))
    thread.start()

    def in_the_child() -> str:
        gate.set()
        return presign("a", 1_800_001_200)[0]

    try:
        assert entered.wait(20)
        forked = in_a_fork(in_the_child)
    finally:
        gate.set()
        thread.join()
    assert forked == presign("a", 1_800_001_200)[0]
    assert forked.startswith("https://registry.s3.us-west-2.amazonaws.com/a?")
